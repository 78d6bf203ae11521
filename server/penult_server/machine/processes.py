"""What a process does, as the system sees it."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Activity:
    """What a process has done, and what it does now."""

    cpu_seconds: float
    """Time that it has computed, with all its threads."""
    is_held_up: bool = False
    """Whether its first thread waits for a core or a disk: it does all that it can."""


def activity(pid: int) -> Activity | None:
    """What a process does; None where there is no /proc to say so."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return Activity(ticks / os.sysconf("SC_CLK_TCK"), is_held_up=fields[0] in ("R", "D"))


def is_held_up(pid: int) -> bool:
    """Whether any thread of a process waits for a core or a disk, as all of a job do on a machine that is too busy."""
    try:
        threads = list(Path("/proc", str(pid), "task").iterdir())
    except OSError:
        return False
    return any(_state(thread) in ("R", "D") for thread in threads)


def _state(thread: Path) -> str:
    try:
        return (thread / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""  # it has ended
