"""What ``penult doctor`` looks at on the machine of a store: the disk, the clock, threads, and who can read secrets."""

import importlib
import importlib.util
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penult.connection.servers import read_record, root_file, state_file

SYNCS = 50
SLOW_SYNC = 0.1
"""Seconds; every commit waits for several flushes."""
LOW_SHARE, LOW_BYTES = 0.05, 10 * 2**30
"""Free space below which a store should not go: the smaller of the two."""
CLOCK_SECONDS = 2.0
"""How far the clocks of the machine and of its disk may differ."""
WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)
"""No right clock is before that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    said: str
    """What there is, and what to do where something is missing."""
    good: bool
    """Whether nothing has to be done about it."""
    serious: bool = False
    """Whether a server cannot do its work, or not safely, while it is not good."""


def look_at_store(root: Path) -> list[Finding]:
    """How the directory of a store stands, and its machine."""
    if not root.is_dir():
        return [Finding(topic="store", said=f"{root} is no directory yet: a server makes it", good=True)]
    return [*_sync_and_clock(root), _space(root), *_secrets(root)]


def threads() -> Finding:
    """How many threads the libraries of arrays will use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if importlib.util.find_spec("threadpoolctl") is None:
        return Finding(topic="threads", said=f"{cores} cores (threadpoolctl, which tells more, is missing)", good=True)
    importlib.import_module("numpy")
    pools: list[dict[str, Any]] = importlib.import_module("threadpoolctl").threadpool_info()
    told = [
        f"{one.get('internal_api')} {one.get('version') or ''} ({one.get('architecture', '-')}): {one['num_threads']}"
        for one in pools
    ]
    return Finding(topic="threads", said="; ".join([f"{cores} cores", *told]), good=True)


def _sync_and_clock(root: Path) -> list[Finding]:
    try:
        with tempfile.NamedTemporaryFile(dir=root, prefix=".doctor-", suffix=".tmp") as file:
            seconds = sorted(_sync(file.fileno()) for _ in range(SYNCS))
            now, written = time.time(), os.fstat(file.fileno()).st_mtime
    except OSError as error:
        said = f"nothing can be written below {root}: {error.strerror}; look at its owner, its mode and its disk"
        return [Finding(topic="disk", said=said, good=False, serious=True)]
    p99 = seconds[int(0.99 * (SYNCS - 1))]
    said = f"{SYNCS} flushes of 4 KiB: median {seconds[SYNCS // 2] * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms"
    if p99 > SLOW_SYNC:
        said += ": every commit waits for several; a local disk is faster than one of the network"
    return [Finding(topic="disk", said=said, good=p99 <= SLOW_SYNC), _clock(now, written)]


def _sync(descriptor: int) -> float:
    started = time.perf_counter()
    os.write(descriptor, b"\0" * 4096)
    os.fsync(descriptor)
    return time.perf_counter() - started


def _clock(now: float, written: float) -> Finding:
    time_here = datetime.fromtimestamp(now, UTC)
    said, apart = f"{time_here:%Y-%m-%d %H:%M:%S} UTC", abs(now - written)
    if time_here < WRITTEN:
        said += ": that is past; set it, or certificates and tokens count as not valid yet"
    elif apart > CLOCK_SECONDS:
        said += f", {apart:.0f} s apart from that of the store's disk: let both follow the same time server"
    return Finding(topic="clock", said=said, good=time_here >= WRITTEN and apart <= CLOCK_SECONDS)


def _space(root: Path) -> Finding:
    disk = shutil.disk_usage(root)
    least = min(LOW_SHARE * disk.total, LOW_BYTES)
    said = f"{disk.free / 2**30:.1f} GiB free of {disk.total / 2**30:.1f}"
    if disk.free < least:
        said += ": free some, as with penult delete"
    return Finding(topic="space", said=said, good=disk.free >= least, serious=disk.free < 2**20)


def _secrets(root: Path) -> list[Finding]:
    """Files with tokens that others than their owner can read."""
    record = read_record(root_file(root))
    port = record.address.rpartition(":")[2] if record is not None else ""
    files = [root / "token", root_file(root), *([state_file(port)] if port else [])]
    found = [path for path in files if path.is_file()]
    open_ones = [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_ones:
        names = " ".join(map(str, open_ones))
        said = f"others can read {names}: chmod 600 {names}, then change the token"
    else:
        said = f"{len(found)} files, readable by their owner alone" if found else "no token yet"
    return [Finding(topic="secrets", said=said, good=not open_ones, serious=True)]
