"""Resident memory of a server's compute worker: at rest, and at most while a query is answered."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

MODULE = b"penult_server.compute.worker"


def worker_of(server_pid: int) -> int:
    """The process id of the compute worker of a server; waits until there is one."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if _is_worker(Path("/proc", pid), str(server_pid)):
                return int(pid)
    raise AssertionError(f"server {server_pid} has no compute worker")


def fresh_worker(server_pid: int) -> int:
    """The process id of a new compute worker, in place of the one that a server has."""
    old = worker_of(server_pid)
    os.kill(old, signal.SIGKILL)
    deadline = time.monotonic() + 60.0
    while (new := worker_of(server_pid)) == old:
        assert time.monotonic() < deadline, f"worker {old} was killed and is still there"
    return new


def resident_bytes(pid: int, name: str = "VmRSS") -> int:
    """Bytes that a process has in memory; of "VmHWM" the most that it had."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def peak_bytes(pid: int, work: Callable[[], object]) -> int:
    """The most that a process has in memory while `work` is done."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    work()
    return resident_bytes(pid, "VmHWM")


def _is_worker(process: Path, parent: str) -> bool:
    try:
        state, ppid = (process / "stat").read_text().rsplit(")", 1)[1].split()[:2]
        return ppid == parent and state != "Z" and MODULE in (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
