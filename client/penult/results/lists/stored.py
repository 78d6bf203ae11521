"""Stored answers in a line each."""

from dataclasses import dataclass
from datetime import datetime

from penult.display.html import Shown
from penult.results.records import short
from penult.types import ResultKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Shown):
    """How a refit did on one of the sets that it was evaluated on."""

    evaluated_on: str
    """The set's name in ``evaluate=``."""
    average_accuracy: float
    worst_group_accuracy: float
    worst_group: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ResultSummary(Shown):
    """A stored answer in a line; ``client.results.get(summary)`` reads all of it."""

    digest: str
    kind: ResultKind
    feature_sets: tuple[str, ...]
    """Digests of the sets that were fitted or looked at: two for principal angles, else one."""
    title: str
    """What it is, such as "dfr, l1 0.01" or "by group, top 50"."""
    preset: str
    """The preset of a refit; empty without one, and for other answers."""
    scores: tuple[Score, ...]
    """How a refit did, by the names of the sets; empty for other answers."""
    name: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    user: str = ""
    """Who asked first, as the client said."""
    created: datetime | None = None

    def __repr__(self) -> str:
        scores = "; ".join(f"{one.evaluated_on}: worst group {one.worst_group_accuracy:.3f}" for one in self.scores)
        named = f" {self.name!r}" if self.name else ""
        return f"ResultSummary({short(self.digest)}{named}, {self.kind}, {self.title}{'; ' if scores else ''}{scores})"
