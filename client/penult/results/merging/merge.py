"""What a merge made, and the tree of what a checkpoint was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penult.display.html import Shown
from penult.display.names import one_line
from penult.results.merge_origin import MergeOrigin, MergeStep
from penult.results.notes import Notes
from penult.results.records import Checkpoint, FeatureSet, short
from penult.results.refits import Refit


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Merge(Shown):
    """A merged checkpoint and, where the call asked for them, its features and a refit on them."""

    checkpoint: Checkpoint
    """As every other: for extract, spectra, refits, export, and as a start of finetunings. Where its weights are those
    of a checkpoint that was stored before, such as one of its parents, it is that one."""
    origin: MergeOrigin
    """What it was merged of, and how."""
    merged: Checkpoint | None = None
    """What was merged, with the head of the first, where ``heads="refit"`` gave `checkpoint` a new one; else None."""
    head_refit: Refit | None = None
    """The refit whose head that is."""
    features: Mapping[str, FeatureSet] = field(default_factory=dict[str, FeatureSet])
    """By split, of ``then=dict(extract=...)``."""
    refit: Refit | None = None
    """By ``then=dict(refit=...)``."""

    @property
    def factors(self) -> Mapping[str, float]:
        """Numbers that the weights decided."""
        return self.origin.factors

    @property
    def selection(self) -> tuple[MergeStep, ...]:
        """What a greedy soup has tried, in that order; empty for other methods."""
        return self.origin.steps

    @property
    def notes(self) -> Notes:
        """What was left out or taken for what, and what became of running statistics."""
        return (self.merged or self.checkpoint).notes

    def __repr__(self) -> str:
        said = [repr(self.checkpoint)]
        if self.merged is not None:
            said.append(f"a new head on the merged {short(self.merged.digest)}")
        if self.features:
            said.append(f"features of {', '.join(self.features)}")
        if self.refit is not None:
            said.append(repr(self.refit))
        return f"Merge({'; '.join(said)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Lineage(Shown):
    """What a checkpoint was made of, and those in turn: prints as a tree."""

    digest: str
    checkpoint: Checkpoint | None
    """None where it was deleted."""
    role: str = ""
    """What it is to the one above: "parent", "base" or "start"; empty at the top."""
    children: tuple[Lineage, ...] = ()
    is_repeated: bool = False
    """Whether its own children stand at its first place in the tree."""

    def __repr__(self) -> str:
        return "\n".join(self._lines(""))

    def _lines(self, indent: str) -> list[str]:
        what = f"{short(self.digest)}, deleted" if self.checkpoint is None else repr(self.checkpoint).splitlines()[0]
        role = f"{self.role} " if self.role else ""
        above = " (see above)" if self.is_repeated else ""
        found = [f"{indent}{role}{one_line(what, 200)}{above}"]
        for child in self.children:
            found += child._lines(f"{indent}  ")
        return found
