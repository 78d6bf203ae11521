"""What the last look at all of a store found, kept beside it: `penult store verify` writes it, a server shows it."""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from penult_server.stores.disk.durable import write_file
from penult_server.stores.disk.sealed import read_sealed, sealed_text

VERIFIED = "verified.json"
MANIFEST = "manifest.json"
"""The file that every thing has from when it was made, or fetched, and that never changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLook:
    """The last look at everything, which is older than what was made since."""

    started: float
    """Seconds since 1970; what was changed later was perhaps not seen."""
    seen: frozenset[str]
    """Things that were compared with their digests, as "features/DIGEST"."""
    damages: Mapping[str, str] = field(default_factory=dict[str, str])
    """What is wrong, by thing; of the registry by its place there."""

    def of(self, root: Path, thing: str) -> tuple[float, str]:
        """When a thing of the store was seen, and what was wrong; 0 where its files were written since."""
        if thing not in self.seen:
            return 0.0, ""
        damage = self.damages.get(thing, "")
        try:
            is_of_today = (root / thing / MANIFEST).stat().st_mtime <= self.started
        except OSError:
            is_of_today = bool(damage)
        return (self.started, damage) if is_of_today else (0.0, "")


def note_look(root: Path, started: float, seen: Iterable[str], damages: Mapping[str, str]) -> None:
    """Keep what a look at everything has found, in the place of what an earlier one has. Raises OSError."""
    content = {
        # A copy of the directory is other files, which nobody has looked at.
        "root": str(root.resolve()),
        "started": started,
        "ended": time.time(),
        "penult": version("penult"),
        "seen": sorted(seen),
        "damages": dict(damages),
    }
    write_file(root / VERIFIED, sealed_text(content, indent=None).encode())


def last_look(root: Path) -> LastLook | None:
    """What the last look at everything has found; None without one, or where its file is damaged or of a copy."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = read_sealed(root / VERIFIED)
        if content["root"] == str(root.resolve()):
            return LastLook(
                started=float(content["started"]), seen=frozenset(content["seen"]), damages=dict(content["damages"])
            )
    return None
