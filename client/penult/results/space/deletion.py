"""What a deletion did, or would do."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penult.display.html import Shown
from penult.results.frames import frame, text_table

if TYPE_CHECKING:
    import pandas as pd

    from penult.types import StoredKind

MOST_SHOWN = 20
"""Most things of each list that are printed."""


def size(n_bytes: int) -> str:
    """Bytes for people: "12.3 MB", of 1,000 bytes each step."""
    value, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{n_bytes} B" if unit == "B" else f"{value:.3g} {unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredThing(Shown):
    """One thing of a store, and what becomes of it."""

    kind: StoredKind
    """``"run"``, ``"checkpoint"``, ``"dataset"``, ``"features"``, ``"job"`` or ``"result"``."""
    id: str
    """Digest; of a run or job its id; of a dataset its name."""
    names: tuple[str, ...]
    bytes: int
    """Bytes of its own files; parts and dependents are things of their own."""
    reason: str
    """Why it goes, stays, or stands in the way."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Deletion(Shown):
    """What went, or with ``dry_run=True`` would go, and what stays."""

    dry_run: bool
    """Whether nothing was deleted."""
    goes: tuple[StoredThing, ...]
    """First the thing itself, then its parts, then what depends on it."""
    stays: tuple[StoredThing, ...]
    """What is connected with it and stays."""
    in_the_way: tuple[StoredThing, ...]
    """What depends on it, or is working with it, so that a deletion would be refused; empty after one."""

    @property
    def bytes(self) -> int:
        """Bytes that are freed."""
        return sum(thing.bytes for thing in self.goes)

    @property
    def is_possible(self) -> bool:
        """Whether nothing is in the way."""
        return not self.in_the_way

    def to_frame(self) -> pd.DataFrame:
        """A row for each thing: what becomes of it ("goes", "stays", "in the way"), kind, id, names, bytes, reason."""
        rows = [(what, thing) for what, things in self._lists() for thing in things]
        return frame(
            {
                "what": [what for what, _ in rows],
                "kind": [thing.kind for _, thing in rows],
                "id": [thing.id for _, thing in rows],
                "names": [", ".join(thing.names) for _, thing in rows],
                "bytes": [thing.bytes for _, thing in rows],
                "reason": [thing.reason for _, thing in rows],
            }
        )

    def _lists(self) -> list[tuple[str, tuple[StoredThing, ...]]]:
        return [("goes", self.goes), ("stays", self.stays), ("in the way", self.in_the_way)]

    def __repr__(self) -> str:
        would = "would be freed" if self.dry_run else "freed"
        parts = [f"Deletion({size(self.bytes)} {would}{'' if self.is_possible else '; refused as it stands'})"]
        for what, things in self._lists():
            if things:
                rows = [_row(thing) for thing in things[:MOST_SHOWN]]
                parts.append(text_table([what, "", "bytes"], rows))
                parts += [f"... and {len(things) - MOST_SHOWN} more"] if len(things) > MOST_SHOWN else []
        return "\n".join(parts)


def _row(thing: StoredThing) -> list[str]:
    named = f" {', '.join(thing.names)}" if thing.names and thing.kind != "dataset" else ""
    which = thing.id if thing.kind == "dataset" else thing.id[:12]
    return [f"{thing.kind} {which}{named}", thing.reason, size(thing.bytes)]
