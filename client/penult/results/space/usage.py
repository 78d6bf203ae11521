"""What a store takes on its disk."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from penult.display.html import Shown
from penult.results.frames import frame, text_table
from penult.results.space.deletion import size

if TYPE_CHECKING:
    import pandas as pd

    from penult.types import StoredKind

MOST_SHOWN = 10
"""Most runs that are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindUsage(Shown):
    """The files of one sort."""

    kind: str
    """``"checkpoints"``, ``"features"``, ``"datasets"``, ``"tokens"``, ``"runs"``, ``"training states"``, ``"logs"``,
    ``"registry"``, ``"leftovers"`` (of writers that died, or set aside as damaged) or ``"other"``."""
    count: int
    """Things of that sort."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUsage(Shown):
    """A finetuning: a run, or a job that has not made one."""

    run: str
    name: str
    user: str
    dataset: str
    finished: bool
    n_checkpoints: int
    checkpoint_bytes: int
    """Bytes of its checkpoints; a checkpoint of several runs counts for the oldest of them."""
    feature_bytes: int
    """Bytes of the feature sets extracted from those checkpoints."""
    training_state_bytes: int

    @property
    def bytes(self) -> int:
        """Bytes of all three."""
        return self.checkpoint_bytes + self.feature_bytes + self.training_state_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UserUsage(Shown):
    """Checkpoints, feature sets, datasets and runs of a user."""

    user: str
    """Empty where nobody is known."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThingUsage(Shown):
    """One thing of the store, and what the last ``penult store verify`` found of it."""

    kind: StoredKind
    """``"run"``, ``"checkpoint"``, ``"dataset"``, ``"features"`` or ``"grouping"``."""
    id: str
    """Digest; of a run its id."""
    bytes: int
    verified: datetime | None
    """When all its files were compared with their digests; None where that was not done since they were written."""
    damage: str
    """What differed then; empty where nothing did."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Usage(Shown):
    """Bytes of a store: sizes of files, each once however many links it has; directories count nothing."""

    kinds: tuple[KindUsage, ...]
    """Every file of the store is of one of these sorts."""
    runs: tuple[RunUsage, ...]
    """The largest first."""
    users: tuple[UserUsage, ...]
    """The largest first."""
    bytes: int
    """Bytes of all files."""
    free_bytes: int
    """Bytes that may still be written on the disk of the store."""
    disk_bytes: int
    """Bytes of that whole disk."""
    root: str
    """Directory of the store, on the server's machine."""
    verified: datetime | None = None
    """When everything was last compared with its digest, by ``penult store verify``; None where it never was."""
    n_damages: int = 0
    """Damages that were found then."""
    things: tuple[ThingUsage, ...] = ()
    """Every thing, where `Client.usage` was asked for them."""

    def of(self, kind: str) -> int:
        """Bytes of one of the `kinds`, such as ``"checkpoints"``. Raises KeyError."""
        return {one.kind: one.bytes for one in self.kinds}[kind]

    def to_frame(self) -> pd.DataFrame:
        """A row for each kind, run and user: of what ("kind", "run", "user"), which, count, bytes.

        Each of the three is a view of the same files: add up the rows of one of them alone.
        """
        rows = [("kind", one.kind, one.count, one.bytes) for one in self.kinds]
        rows += [("run", one.run, one.n_checkpoints, one.bytes) for one in self.runs]
        rows += [("user", one.user, 0, one.bytes) for one in self.users]
        columns = zip(*rows, strict=True)
        return frame(dict(zip(("of", "which", "count", "bytes"), map(list, columns), strict=True)))

    def verified_in_words(self) -> str:
        """When the store was last verified, and what came of it."""
        if self.verified is None:
            return "never verified: `penult store verify` compares everything with its digest"
        found = f"{self.n_damages} damaged" if self.n_damages else "all whole"
        return f"verified {self.verified:%Y-%m-%d %H:%M} UTC: {found}"

    def __repr__(self) -> str:
        kinds = [[one.kind, f"{one.count:,}", size(one.bytes)] for one in self.kinds if one.bytes or one.count]
        parts = [
            f"Usage({self.root}: {size(self.bytes)}, {size(self.free_bytes)} of {size(self.disk_bytes)} free)",
            text_table(["kind", "count", "bytes"], kinds),
            self.verified_in_words(),
        ]
        if self.runs:
            rows = [_row(one) for one in self.runs[:MOST_SHOWN]]
            parts.append(text_table(["run", "dataset", "checkpoints", "bytes", "features", "user"], rows))
            more = len(self.runs) - MOST_SHOWN
            parts += [f"... and {more} more runs"] if more > 0 else []
        if any(one.user for one in self.users):
            users = [[one.user or "(not known)", size(one.bytes)] for one in self.users]
            parts.append(text_table(["user", "bytes"], users))
        return "\n".join(parts)


def _row(one: RunUsage) -> list[str]:
    state = "" if one.finished else " (not finished)"
    return [
        f"{one.run}{f' {one.name}' if one.name else ''}{state}",
        one.dataset,
        f"{one.n_checkpoints}",
        size(one.checkpoint_bytes + one.training_state_bytes),
        size(one.feature_bytes),
        one.user,
    ]
