"""Rows of the table that `device.sh` makes."""

import os
from pathlib import Path


def add_row(
    what: str,
    *,
    host: float | None = None,
    device: float | None = None,
    first: float | None = None,
    beside: str = "",
) -> None:
    """Print a row, and add it to the file that DEVICE_TABLE names, at once: a session may be cut off. Seconds."""
    cells = [
        what,
        *("" if one is None else f"{1e3 * one:,.1f}" for one in (host, device)),
        "" if first is None else f"{first:.2f}",
        beside,
    ]
    row = f"| {' | '.join(cells)} |"
    print(f"\n{row}", flush=True)
    if place := os.environ.get("DEVICE_TABLE"):
        with Path(place).open("a", encoding="utf-8") as table:
            table.write(f"{row}\n")
