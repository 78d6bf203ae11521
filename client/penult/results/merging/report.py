"""Networks compared by what they have learned since their start, from weights and stored logits alone."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.errors import from_kind, shown
from penult.results.frames import frame
from penult.results.merge_origin import MergeOrigin
from penult.results.metrics import Metrics
from penult.results.notes import Notes, lines
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskVectorBlock(Shown):
    """The task vectors theta_i - theta_0 of K networks in the tensors of a block."""

    block: str
    """Empty for all blocks together."""
    n_entries: int
    base_norm: float
    """|theta_0| of the start."""
    norms: NDArray[np.float64]
    """(K,)"""
    cosines: NDArray[np.float64]
    """(K, K); NaN for a network that has not moved there."""
    variance_factor: float
    """By how much the standard deviation of the networks' entries, within each tensor, is larger than that of their
    mean's: what ``method="variance_corrected"`` would give back. 1 where nothing is lost."""

    @property
    def moved(self) -> NDArray[np.float64]:
        """(K,) norms relative to that of the start."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.norms / self.base_norm

    @property
    def mean_cosine(self) -> float:
        """The mean over pairs of networks."""
        return float(np.mean(self.cosines[np.triu_indices(len(self.norms), 1)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeGain(Shown):
    """Rows that all networks get right, or wrong, and the one that was made of them does not."""

    of: str
    """ "ensemble", the mean of the networks' probabilities, or "merged", the network of the further feature set."""
    group: int
    """Index of the group; -1 for all rows."""
    name: str
    """Its name; "all" for all rows."""
    count: int
    all_right: int
    all_wrong: int
    gained: int
    """Rows that all get wrong and it gets right (false-false-true, "FFT")."""
    lost: int
    """Rows that all get right and it gets wrong (true-true-false, "TTF")."""
    p_value: float
    """Two-sided, of McNemar's exact test between both."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class MergeReport(Shown):
    """What networks have learned since their start, block by block, and what is gained by making one of them."""

    networks: MergeOrigin
    """Which: `.parents`, in whose order all arrays are, and `.base`, the start."""
    blocks: tuple[TaskVectorBlock, ...]
    """In the order of their names."""
    total: TaskVectorBlock
    """All blocks together."""
    gains: tuple[MergeGain, ...] = ()
    """By what was made and group; none without feature sets."""
    metrics: tuple[Metrics, ...] = ()
    """(K,) of the networks; none without feature sets."""
    ensemble: Metrics | None = None
    """Metrics of the mean of the networks' probabilities."""
    merged: Metrics | None = None
    """Metrics of the network of the further feature set."""
    notes: Notes = ()

    def block(self, name: str) -> TaskVectorBlock:
        """One of them. Raises `NotFound`, listing all."""
        for one in self.blocks:
            if one.block == name:
                return one
        known = ", ".join(one.block for one in self.blocks)
        raise from_kind(ErrorKind.UNKNOWN_RESULT, f"no block {shown(name)}; known: {known}")

    def to_frame(self) -> pd.DataFrame:
        """One row per block and network, all blocks together first. Raises ImportError when pandas is missing.

        Columns: `block` (empty for all), `network` (digest), `n_entries`, `norm` of its task vector, `moved` (relative
        to the start's norm), `mean_cosine` with the other networks, and `variance_factor` of the block.
        """
        rows = [(one, index) for one in (self.total, *self.blocks) for index in range(len(self.networks.parents))]
        return frame(
            {
                "block": [one.block for one, _ in rows],
                "network": [self.networks.parents[index] for _, index in rows],
                "n_entries": [one.n_entries for one, _ in rows],
                "norm": [float(one.norms[index]) for one, index in rows],
                "moved": [float(one.moved[index]) for one, index in rows],
                "mean_cosine": [float(np.mean(np.delete(one.cosines[index], index))) for one, index in rows],
                "variance_factor": [one.variance_factor for one, _ in rows],
            },
            self.notes,
        )

    def plot(self) -> Figure:
        """Cosines between task vectors and how far they went, block by block; and what is gained and lost by group.

        Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.merge_report import merge_report_figure

        return merge_report_figure(self)

    def __repr__(self) -> str:
        least, most = self.total.moved.min(), self.total.moved.max()
        said = [
            f"{len(self.networks.parents)} networks, {len(self.blocks)} blocks",
            f"moved {100 * least:.2g} .. {100 * most:.2g} % of the start",
            f"mean cosine {self.total.mean_cosine:.3f}",
            f"variance factor {self.total.variance_factor:.4g}",
        ]
        said += [
            f"{one.of}: gains {one.gained} of {one.count} rows, loses {one.lost}, p = {one.p_value:.2g}"
            for one in self.gains
            if one.group < 0
        ]
        return f"MergeReport({'; '.join(said)}){lines(self.notes)}"

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.merge_report import merge_report_html

        return merge_report_html(self)
