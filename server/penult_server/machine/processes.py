"""What a process does, as the system sees it."""

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float | None:
    """Time that a process has computed, with all its threads; None where there is no /proc to say so."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
