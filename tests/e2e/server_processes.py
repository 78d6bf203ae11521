"""The processes of a server on this machine, as /proc shows them; and waiting for what they do."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal, TypeAlias, TypeVar

T = TypeVar("T")
Kind: TypeAlias = Literal["compute", "forker", "jobs"]


def until(look: Callable[[], T], seconds: float = 100.0) -> T:
    """What `look` finds, as soon as that is anything."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"it did not come to that within {seconds:.0f} s"
        time.sleep(0.01)
    return found


def processes(server) -> dict[Kind, list[int]]:
    """Ids of a server's processes by what they do; of jobs those that have taken their order."""
    found: dict[Kind, list[int]] = {"compute": [], "forker": [], "jobs": []}
    parents = dict(_parents())
    for pid in parents:
        if server.process.pid in _ancestors(pid, parents) and (kind := _kind(pid)):
            found[kind].append(pid)
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Every process with the one that started it."""
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{entry}/stat") as stat:
            yield int(entry), int(stat.read().rsplit(")", 1)[1].split()[1])


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid := parents.get(pid, 0):
        yield pid


def _kind(pid: int) -> Kind | None:
    with suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
        command = file.read().split("\0")
        if "penult_server.compute.worker" in command:
            return "compute"
        if "penult_server.jobs.worker" in command:
            # A worker prints to the log that it shares with the forker, until it has its order.
            return "jobs" if "/logs/job-" in os.readlink(f"/proc/{pid}/fd/2") else "forker"
    return None


def computes(server) -> None:
    """Return once the compute worker has been busy for .3 s of processor time from now."""
    (worker,) = processes(server)["compute"]

    def ticks() -> int:
        with open(f"/proc/{worker}/stat") as stat:
            return sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))

    end = ticks() + 3 * os.sysconf("SC_CLK_TCK") // 10
    until(lambda: ticks() >= end)
