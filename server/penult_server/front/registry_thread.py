"""The registry for an event loop: one thread owns its connection, so that no commit blocks a call."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from penult_proto.errors import ErrorKind
from penult_proto.v1.cards_pb2 import Card
from penult_server.errors import RegistryUnavailable
from penult_server.front.observed.metrics import REGISTRY_SECONDS
from penult_server.registry.catalog import Catalog, NewResult
from penult_server.registry.database import Database
from penult_server.registry.deletion import Deletions
from penult_server.registry.integrity.collecting import Collected, collect
from penult_server.registry.integrity.elsewhere import registered, store_owner
from penult_server.registry.integrity.starting import check_whole
from penult_server.registry.jobs import LEASE_SECONDS, JobTable
from penult_server.registry.usage import Facts, read_facts
from penult_server.users.tokens import TokenTable

MOST_TOGETHER = 64
"""Answers that one commit writes."""
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
        self._to_keep: list[tuple[NewResult, asyncio.Future[Card]]] = []
        self._keeping: asyncio.Task[None] | None = None

    async def open(self, path: Path, url: str = "", lease: float = LEASE_SECONDS) -> None:
        """Open or create the file, or the registry at a URL. Raises what `Database` and `check_whole` raise."""
        database = await self.run(Database, url or path)
        self._database = database
        await self.run(check_whole, database)
        self.jobs, self.catalog = JobTable(database, lease=lease), Catalog(database, path.parent)
        self.deletions = Deletions(database, path.parent, self.catalog, self.jobs)
        self.claim: Callable[[], bool] = database.claim
        self.is_file, self.place = database.is_file, database.place
        self.check_writable: Callable[[], None] = database.check_writable
        self.tokens = TokenTable(database)
        self.usage_facts: Callable[[], Facts] = lambda: read_facts(database, self.deletions.holdings)
        self.store_owner: Callable[[str], str] = lambda proposed: store_owner(database, proposed)
        self.registered: Callable[[], dict[str, list[str]]] = lambda: registered(database)
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
        written = database.n_transactions if database else 0
        try:
            return _done(function)
        finally:
            if database and not database.is_closed:
                operation = "read" if database.n_transactions == written else "commit"
                REGISTRY_SECONDS.labels(operation).observe(time.perf_counter() - started)

    async def keep(self, answer: NewResult) -> Card:
        """Keep the answer to a query, in one commit with those that come while another is written; returns its card.

        Raises what `Catalog.add_result` raises.
        """
        card: asyncio.Future[Card] = asyncio.get_running_loop().create_future()
        self._to_keep.append((answer, card))
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep_all())
        return await card

    async def _keep_all(self) -> None:
        while self._to_keep:
            answers, self._to_keep = self._to_keep[:MOST_TOGETHER], self._to_keep[MOST_TOGETHER:]
            await self._keep_together(answers)

    async def _keep_together(self, answers: "list[tuple[NewResult, asyncio.Future[Card]]]") -> None:
        """One commit for several answers; where that fails one for each, so that only what is at fault fails."""
        try:
            cards = await self.run(self.catalog.add_results, [one for one, _ in answers])
        except Exception as error:
            if len(answers) == 1:
                _end(answers[0][1], error)
            else:
                for one in answers:
                    await self._keep_together([one])
            return
        for (_, kept), card in zip(answers, cards, strict=True):
            _end(kept, card)

    async def is_writable(self) -> bool:
        """Whether a commit reaches the disk."""
        try:
            await self.run(self.check_writable)
        except RegistryUnavailable:
            return False
        return True

    async def run_when_full(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for what ends or frees something: on a full disk with the space that is kept back for that."""
        try:
            return await self.run(function, *args, **kwargs)
        except RegistryUnavailable as error:
            if error.kind is not ErrorKind.DISK_FULL or not await self.run(self.deletions.reserve.release):
                raise
        try:
            return await self.run(function, *args, **kwargs)
        finally:
            await self.run(self.deletions.reserve.keep)

    async def close(self) -> None:
        """Close the file."""
        if self._database:
            # Opened in part, or no space: it says little.
            with contextlib.suppress(AttributeError, RegistryUnavailable):
                await self.run(self.catalog.write_asked)
            await self.run(self._database.close)
        self._thread.shutdown()


def _end(kept: "asyncio.Future[Card]", what: Card | Exception) -> None:
    """Tell who waits; who has gone is told nothing."""
    if kept.done():
        return
    if isinstance(what, Exception):
        kept.set_exception(what)
    else:
        kept.set_result(what)


def _done(function: Callable[[], T]) -> T:
    """Call a function; once more where the connection was lost before anything was committed."""
    try:
        return function()
    except RegistryUnavailable as error:
        if not error.was_cut:
            raise
    return function()
