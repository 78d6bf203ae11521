"""The registry for an event loop: one thread owns the SQLite connection, so that no commit blocks a call."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from penult_server.front.observed.metrics import REGISTRY_SECONDS
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.deletion import Deletions
from penult_server.registry.integrity.collecting import Collected, collect
from penult_server.registry.integrity.starting import check_whole
from penult_server.registry.jobs import JobTable
from penult_server.registry.usage import Facts, read_facts
from penult_server.users.tokens import TokenTable

P = ParamSpec("P")
T = TypeVar("T")


class Registry:
    """`await registry.run(registry.jobs.get, "3f...")`."""

    jobs: JobTable
    catalog: Catalog
    deletions: Deletions
    tokens: TokenTable

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")
        self._database: Database | None = None

    async def open(self, path: Path) -> None:
        """Open or create the file. Raises what `Database` and `check_whole` raise."""
        database = await self.run(Database, path)
        self._database = database
        await self.run(check_whole, database)
        self.jobs, self.catalog = JobTable(database), Catalog(database, path.parent)
        self.deletions = Deletions(database, path.parent, self.catalog, self.jobs)
        self.check_writable: Callable[[], None] = database.check_writable
        self.tokens = TokenTable(database)
        self.usage_facts: Callable[[], Facts] = lambda: read_facts(database, self.deletions.holdings)
        self.collect: Callable[[float], Collected] = lambda older_than: collect(
            database, self.deletions, path.parent, older_than, dry_run=False
        )

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the registry on its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: self._timed(lambda: function(*args, **kwargs)))

    def _timed(self, function: Callable[[], T]) -> T:
        """Call a function, and note how long it held the thread and whether it wrote."""
        database, started = self._database, time.perf_counter()
        written = database.n_changes if database else 0
        try:
            return function()
        finally:
            if database and not database.is_closed:
                operation = "read" if database.n_changes == written else "commit"
                REGISTRY_SECONDS.labels(operation).observe(time.perf_counter() - started)

    async def is_writable(self) -> bool:
        """Whether a commit reaches the disk."""
        try:
            await self.run(self.check_writable)
        except sqlite3.Error:
            return False
        return True

    async def run_when_full(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for what ends or frees something: on a full disk with the space that is kept back for that."""
        try:
            return await self.run(function, *args, **kwargs)
        except sqlite3.OperationalError as error:
            if "full" not in str(error) or not await self.run(self.deletions.reserve.release):
                raise
        try:
            return await self.run(function, *args, **kwargs)
        finally:
            await self.run(self.deletions.reserve.keep)

    async def close(self) -> None:
        """Close the file."""
        if self._database:
            with contextlib.suppress(AttributeError, sqlite3.Error):  # opened in part, or no space: it says little
                await self.run(self.catalog.write_asked)
            await self.run(self._database.close)
        self._thread.shutdown()
