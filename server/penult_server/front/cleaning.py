"""What killed servers and workers leave behind, each with the rule by which it is known to be left.

| what | where | is removed |
|---|---|---|
| folder with sockets of a server, `penult-...` | temporary folder | at once, when nobody holds its lock |
| other folders `penult-...` of workers | temporary folder | when untouched for two weeks |
| address file of a server, with its token | user's state folder | its process is gone and its root's lock is free |
| `.staging-...` of writers, `.tmp...` | store | at the start; later when nothing in it changed for a day |
| files in a bucket that no thing names | bucket | daily, when untouched for a day |

Also once a day a copy of the registry, for `penult store repair`; hourly, when answers were asked for last; and with
`--keep-days`, what `penult store gc` removes.
"""

import asyncio
import contextlib
import fcntl
import itertools
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.front.registry_thread import Registry
from penult_server.machine.folders import places, socket_folder
from penult_server.registry.integrity.copies import renew_copy
from penult_server.stores.disk.durable import staged
from penult_server.stores.places.opening import COLLECT_SECONDS, store_of
from penult_server.stores.removal import FOLDERS, remove

PREFIX = "penult-"
LOCK = "lock"
UNTOUCHED_SECONDS = 86400.0
FORGOTTEN_SECONDS = 14 * 86400.0
EVERY_SECONDS = 3600.0
log = logging.getLogger("penult")


class OwnFolder:
    """A temporary folder for sockets of this process, which another one can tell from a left one by its lock."""

    def __init__(self) -> None:
        """Raises what `socket_folder` raises."""
        self.path = socket_folder()
        self._lock: IO[bytes] = (self.path / LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove it and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


async def keep_clean(root: Path, registry: Registry, keep_days: int) -> None:
    """Clean now and then every hour, until cancelled. Nothing that fails here may end a server.

    `keep_days`: age at which answers that nobody asks for, and leftovers, go; 0 for never.
    """
    for hour in itertools.count():
        if hour % 24 == 0:
            try:
                await asyncio.to_thread(store_of(root).collect, COLLECT_SECONDS)
            except ServiceError as error:
                log.warning("what writers left in the bucket could not be looked for: %s", error)
        for step in (remove_left_folders, remove_left_addresses, lambda: remove_old_staging(root)):
            try:
                await asyncio.to_thread(step)
            except OSError as error:
                log.warning("what others left could not be cleaned: %s", error)
        try:
            await registry.run(registry.catalog.write_asked)
            if registry.is_file:
                await asyncio.to_thread(renew_copy, root)
            if keep_days:
                collected = await registry.run(registry.collect, keep_days * 86400.0)
                await asyncio.to_thread(remove, [root / name for name in collected.files])
                if collected.answers or collected.files:
                    log.info("%s", collected)
        except (RegistryUnavailable, OSError, ServiceError) as error:
            log.warning("the registry could not be looked after: %s", error)
        await asyncio.sleep(EVERY_SECONDS)


def remove_left_folders(parent: Path | None = None) -> list[Path]:
    """Remove temporary folders of processes that are gone. Returns them."""
    left: list[Path] = []
    parents = [parent] if parent else [Path(one) for one in {tempfile.gettempdir(), *places()}]
    for path in (path for one in parents for path in one.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if path.is_symlink() or not path.is_dir() or status.st_uid != os.getuid():
                continue
            lock = path / LOCK
            if is_free(lock) if lock.exists() else _is_old_of_a_worker(path):
                left.append(path)
    remove(left)
    return left


def _is_old_of_a_worker(path: Path) -> bool:
    """Folders without a lock: of ranks, and of servers before there were locks."""
    is_ours = path.name.startswith("penult-ranks-") or all(one.suffix == ".sock" for one in path.iterdir())
    return is_ours and time.time() - last_change(path) > FORGOTTEN_SECONDS


def remove_left_addresses(folder: Path | None = None) -> list[Path]:
    """Remove the address files, with tokens, of servers that are gone. Returns them."""
    state = Path(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"))
    left: list[Path] = []
    for path in (folder or state / "penult" / "servers").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            root = Path(record["root"])
            # A home may be shared with other machines, whose processes and roots are not seen here.
            is_here = root.is_dir() or time.time() - path.stat().st_mtime > 30 * UNTOUCHED_SECONDS
            if is_here and not _is_running(int(record["pid"])) and is_free(root / LOCK):
                left.append(path)
    remove(left)
    return left


def remove_old_staging(root: Path) -> list[Path]:
    """Remove what writers left that died while this server lives. Returns it."""
    left = [path for path in set(_staging(root)) if time.time() - last_change(path) > UNTOUCHED_SECONDS]
    remove(left)
    return left


def _staging(root: Path) -> Iterator[Path]:
    for folder in ("", "uploads", *FOLDERS):
        yield from staged(root / folder)


def is_free(lock: Path) -> bool:
    """Whether nobody holds the lock of a file; true of one that is not there."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def last_change(path: Path) -> float:
    """When anything in a tree was changed last."""
    times = [path.lstat().st_mtime]
    for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                times.append(os.lstat(os.path.join(parent, name)).st_mtime)
    return max(times)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
