"""One head of several, and which of them helps which group."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.results.frames import frame
from penult.results.heads import Head
from penult.results.metrics import Metrics
from penult.results.notes import Notes, lines
from penult.types import HeadSoupRule

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStep(Shown):
    """A head that a greedy soup has tried."""

    head: int
    """Its place among the heads that were given."""
    alone: float
    score: float
    """The worst group's accuracy, alone and of the soup with it."""
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class HeadSoup(Shown):
    """A soup of H heads on one feature set."""

    rule: HeadSoupRule
    head: Head
    """Its classes in the order of the set."""
    shares: NDArray[np.float64] | None
    """(H,) at least 0, with the sum 1; None for "fisher" and "moments", which weigh each entry by itself."""
    gap: float | None
    """The best shares have a cross-entropy, in nats, that is less by at most this, for "learned"; else None."""
    loss: float | None
    """The cross-entropy that "learned" has minimised; else None."""
    converged: bool
    """False where "learned" stopped before its gap was 1e-9."""
    metrics: Metrics
    """The soup's metrics on the set that it was made on; those of another set are `Client.evaluate`'s to find."""
    shapley: NDArray[np.float64] | None
    """(H, G) nats: what each head adds to the uniform soup for each group, over all orders in which the heads may come
    (Shapley 1953), exact; columns add up to log C less the soup's loss. None for more than 12 heads."""
    leave_one_out_loss: NDArray[np.float64]
    """(H, G) nats: by how much the loss of the uniform soup rises without each head; (1, G) zeros for one head."""
    leave_one_out_accuracy: NDArray[np.float64]
    """(H, G): by how much its accuracy falls."""
    steps: tuple[HeadStep, ...]
    """What "greedy" has tried, in that order."""
    notes: Notes = ()

    def to_frame(self) -> pd.DataFrame:
        """One row for each head and group. Raises ImportError when pandas is missing.

        Columns: `head` (its place), `share` (NaN where there is none), `group`, `n`, `shapley`, `leave_one_out_loss`,
        `leave_one_out_accuracy`.
        """
        groups = self.metrics.groups
        n_heads = len(self.leave_one_out_loss)
        cells = [(head, index) for head in range(n_heads) for index in range(len(groups))]
        shapley = np.full((n_heads, len(groups)), np.nan) if self.shapley is None else self.shapley
        return frame(
            {
                "head": [head for head, _ in cells],
                "share": [np.nan if self.shares is None else float(self.shares[head]) for head, _ in cells],
                "group": [groups[index].name for _, index in cells],
                "n": [groups[index].count for _, index in cells],
                "shapley": [float(shapley[cell]) for cell in cells],
                "leave_one_out_loss": [float(self.leave_one_out_loss[cell]) for cell in cells],
                "leave_one_out_accuracy": [float(self.leave_one_out_accuracy[cell]) for cell in cells],
            },
            self.notes,
        )

    def plot(self) -> Figure:
        """What each head adds for each group: Shapley shares, or with more than 12 heads the loss without it.

        Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.head_soup import head_soup_figure

        return head_soup_figure(self)

    def __repr__(self) -> str:
        said = [f"{len(self.leave_one_out_loss)} heads, {self.rule}"]
        if self.shares is not None:
            said.append("shares " + " ".join(f"{one:.2f}" for one in self.shares[:12]))
        if self.gap is not None:
            said.append(f"gap {self.gap:.0e}")
        said.append(f"average {self.metrics.average_accuracy:.3f}, worst group {self.metrics.worst_group_accuracy:.3f}")
        return f"HeadSoup({'; '.join(said)}){lines(self.notes)}"
