"""The processes of a server on this machine, as /proc shows them."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["compute", "forker", "jobs"]


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
