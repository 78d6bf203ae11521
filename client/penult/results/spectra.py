"""Answers about spectra: eigenvalues, and the imbalance between the largest of them."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.records import Group, short
from penult.types import By

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Imbalance:
    """Spectral imbalance: rho = lambda_1(minority) / lambda_1(majority).

    By group, minority and majority are the smallest and the largest non-empty group of one class (LaBonte et
    al. 2024, section 5); by class, every two classes are compared (Kaushik et al. 2024). lambda_1 of a sample
    covariance is biased upward when there are few rows, so that `ratio` exceeds 1 for small minorities of the
    same distribution: judge by `matched_ratio`, its interval and `p_adjusted`. They are NaN without replicates, and
    where the minority has fewer than two rows.
    """

    y: int
    """The class; -1 when two classes are compared."""
    class_name: str
    """Empty when two classes are compared."""
    minority: str
    """Name of the group or class."""
    majority: str
    minority_index: int
    majority_index: int
    n_minority: int
    n_majority: int
    ratio: float
    matched_ratio: float
    """lambda_1(minority) / median of lambda_1 over subsamples of the majority of the minority's size."""
    low: float
    """Ends of the interval around `matched_ratio`, a studentised bootstrap: it covers, with the confidence asked
    for, the ratio that the two populations have in samples of the minority's size. An end may be 0 or
    infinite for a handful of rows."""
    high: float
    p_value: float
    """Permutation test of "both have one covariance", two-sided, means removed first."""
    p_adjusted: float
    """Adjusted for all the comparisons of this answer (Holm 1979)."""
    replicate_error: float
    """Largest certified relative error of a replicate's lambda_1."""

    @property
    def label(self) -> str:
        """What is compared: the class, or the two classes."""
        return self.class_name or f"{self.minority} / {self.majority}"

    def __repr__(self) -> str:
        resampled = ""
        if not math.isnan(self.matched_ratio):
            resampled = (
                f"; at equal n {self.matched_ratio:.3f} [{self.low:.3f}, {self.high:.3f}], p={self.p_value:.3g}, "
                f"adjusted {self.p_adjusted:.3g}"
            )
        return (
            f"Imbalance({self.label!r}: {self.ratio:.3f} = {self.minority!r} (n={self.n_minority}) / "
            f"{self.majority!r} (n={self.n_majority}){resampled})"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Spectra(Savable):
    """Eigenvalues of the covariance of each group or class."""

    digest: str
    feature_set: str
    """Digest of the feature set."""
    by: By
    groups: tuple[Group, ...]
    """G groups, or C classes, with the number of rows used of each."""
    eigenvalues: NDArray[np.float64]
    """(G, K) descending. A row is NaN where the covariance does not exist (an empty group)."""
    residuals: NDArray[np.float64]
    """(G, K) certificate: each eigenvalue lies within this distance of an exact one of the stored features' covariance.
    It includes the rounding of the covariance itself, which grows with the distance of the mean from zero."""
    trace: NDArray[np.float64]
    """(G,) sum of all D eigenvalues, not only the K returned."""
    methods: tuple[str, ...]
    """(G,) how the eigenvalues were found: "full" decomposition, "lanczos" iteration, or "undefined"."""
    converged: NDArray[np.bool_]
    """(G,) False where an iteration stopped before its residuals were small enough."""
    imbalance: tuple[Imbalance, ...]
    """By group: one for each class with at least two non-empty groups. By class: one for every two classes."""
    correction: int
    """The divisor is n - correction."""
    center: bool
    """Second moments about the mean; about zero when False."""
    replicates: int
    """Replicates of each resampling."""
    confidence: float
    """Confidence level of the intervals."""
    seed: int
    n_rows: int
    """Rows used, out of `n_examples`."""
    n_examples: int
    rows_of_run: str
    """The run whose kept rows were used; empty otherwise."""
    reused: bool
    """Whether the answer was stored already."""

    def explained_variance(self) -> NDArray[np.float64]:
        """(G, K) fraction of the total variance in the first 1 ... K eigenvalues; NaN where there is none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.cumsum(self.eigenvalues, axis=1) / self.trace[:, None]

    def rank_ratios(self) -> NDArray[np.float64]:
        """(I, K) lambda_i(minority) / lambda_i(majority) of every entry of `imbalance`, rank by rank.

        Rank 1 is its `ratio`. NaN where the majority's eigenvalue is 0 or there is none.
        """
        position = {group.index: index for index, group in enumerate(self.groups)}
        of = [[position[e.minority_index], position[e.majority_index]] for e in self.imbalance]
        pairs = self.eigenvalues[np.asarray(of, dtype=np.int64).reshape(-1, 2)]
        ratios = np.full((len(of), self.eigenvalues.shape[1]), np.nan)
        return np.divide(pairs[:, 0], pairs[:, 1], out=ratios, where=pairs[:, 1] > 0)

    def to_frame(self) -> pd.DataFrame:
        """One row per group and rank (from 1). Raises ImportError when pandas is missing."""
        n_kept = self.eigenvalues.shape[1]
        groups = [group for group in self.groups for _ in range(n_kept)]
        with np.errstate(invalid="ignore", divide="ignore"):
            fraction = self.eigenvalues / self.trace[:, None]
        return frame(
            {
                "group": [group.name for group in groups],
                "y": [group.y for group in groups],
                "a": [group.a for group in groups],
                "n": [group.count for group in groups],
                "rank": [rank for _ in self.groups for rank in range(1, n_kept + 1)],
                "eigenvalue": self.eigenvalues.reshape(-1).tolist(),
                "residual": self.residuals.reshape(-1).tolist(),
                "share_of_trace": fraction.reshape(-1).tolist(),
            }
        )

    def imbalance_to_frame(self) -> pd.DataFrame:
        """One row per comparison, with interval and p-values. Raises ImportError when pandas is missing."""
        columns = (
            "y",
            "label",
            "minority",
            "majority",
            "n_minority",
            "n_majority",
            "ratio",
            "matched_ratio",
            "low",
            "high",
            "p_value",
            "p_adjusted",
        )
        return frame({name: [getattr(entry, name) for entry in self.imbalance] for name in columns})

    def plot(self, top_k: int = 10) -> Figure:
        """The `top_k` largest eigenvalues of each group, and the imbalance with its interval.

        Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures import spectra_figure

        return spectra_figure(self, top_k)

    def __repr__(self) -> str:
        n_groups, n_kept = self.eigenvalues.shape
        return f"Spectra({short(self.digest)}, {n_groups} by {self.by}, top {n_kept}, correction {self.correction})"

    def __str__(self) -> str:
        n_shown = min(5, self.eigenvalues.shape[1])
        rows = [
            (group.name, str(group.count), f"{trace:.4g}", *(f"{value:.4g}" for value in values[:n_shown]))
            for group, trace, values in zip(self.groups, self.trace, self.eigenvalues, strict=True)
        ]
        header = (self.by, "n", "trace", *(f"lambda_{rank}" for rank in range(1, n_shown + 1)))
        return "\n".join([text_table(header, rows), *imbalance_lines(self)])


def imbalance_lines(spectra: Spectra) -> list[str]:
    """The comparisons as a table of text; nothing when there are none."""
    if not spectra.imbalance:
        return []
    if not spectra.replicates:
        return ["", *(repr(entry) for entry in spectra.imbalance)]
    header = (
        "minority / majority",
        "n",
        "ratio",
        "at equal n",
        f"{spectra.confidence:.0%} interval",
        "p",
        "adjusted p",
    )
    rows = [
        (
            f"{entry.minority} / {entry.majority}",
            f"{entry.n_minority} / {entry.n_majority}",
            f"{entry.ratio:.3f}",
            f"{entry.matched_ratio:.3f}",
            f"{entry.low:.3f} .. {entry.high:.3f}",
            f"{entry.p_value:.3f}",
            f"{entry.p_adjusted:.3f}",
        )
        for entry in spectra.imbalance
    ]
    return ["", text_table(header, rows)]
