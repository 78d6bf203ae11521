"""Answers about spectra: eigenvalues, and the imbalance between the largest of them."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.display.names import and_more, one_line
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.notes import Notes, lines
from penult.results.records import Group, named, short
from penult.results.used_grouping import UsedGrouping
from penult.types import ImbalanceInference, SpectraWeights

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MOST_COMPARISONS = 3
"""Comparisons that one line has space for."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Imbalance(Shown):
    """Spectral imbalance: rho = lambda_1(minority) / lambda_1(majority).

    By group, minority and majority are the smallest and the largest non-empty group of one class (LaBonte et
    al. 2024, section 5); by class, every two classes are compared (Kaushik et al. 2024). lambda_1 of a sample
    covariance is biased upward when there are few rows, so that `ratio` exceeds 1 for small minorities of the
    same distribution: judge by `matched_ratio`, its interval and `p_adjusted`. They are NaN with ``replicates=0``,
    and where the minority has fewer than two rows.
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
    """Ends of the interval around `matched_ratio`, a studentised bootstrap or the normal interval: it covers, with the
    confidence asked for, the ratio that the two populations have in samples of the minority's size. An end may be 0
    or infinite for a handful of rows."""
    high: float
    p_value: float
    """Permutation test of "both have one covariance", or its normal limit; two-sided, means removed first."""
    p_adjusted: float
    """Adjusted for all the comparisons of this answer (Holm 1979)."""
    replicate_error: float
    """Largest certified relative error of a replicate's lambda_1; NaN without replicates."""
    inference: ImbalanceInference | Literal["none"] = "resampled"
    """How `matched_ratio`, interval and `p_value` were found: "resampled"; "asymptotic", by the influence function from
    all rows; or "none"."""

    @property
    def label(self) -> str:
        """What is compared: the class, or the two classes."""
        return self.class_name or f"{self.minority} / {self.majority}"

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import imbalance_html

        return imbalance_html(self)

    def __repr__(self) -> str:
        resampled = ""
        if not math.isnan(self.matched_ratio):
            resampled = (
                f"; at equal n {self.matched_ratio:.3f} [{self.low:.3f}, {self.high:.3f}], p={self.p_value:.3g}, "
                f"adjusted {self.p_adjusted:.3g}{', asymptotic' if self.inference == 'asymptotic' else ''}"
            )
        return (
            f"Imbalance({self.label!r}: {self.ratio:.3f} = {self.minority!r} (n={self.n_minority}) / "
            f"{self.majority!r} (n={self.n_majority}){resampled})"
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Spectra(Shown, Savable):
    """Eigenvalues of the covariance of each group or class."""

    digest: str
    feature_set: str
    """Digest of the feature set."""
    by: str
    """"group", "class" or "all"; with a grouping, what its values are called together."""
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
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups, and for classes."""
    weights: SpectraWeights = "uniform"
    """How rows were weighted; by "errors" the covariances, `trace` and ratios are of rows with weights."""
    gamma: float | None = None
    """Exponent of the weights by errors; None for uniform ones."""
    interval: NDArray[np.float64] | None = None
    """(G, 2) bootstrap interval of the largest eigenvalue of each part at `confidence`; None for uniform weights, and
    without replicates."""
    notes: Notes = ()
    """Said once: such as from which other answer a name was taken."""
    name: str = field(default="", compare=False)
    """The newest name that it was given; empty without one. A name moves to the newest thing it is given to."""
    tags: tuple[str, ...] = field(default=(), compare=False)
    note: str = field(default="", compare=False)
    user: str = field(default="", compare=False)
    """Who asked first, as the client said; empty when not known."""
    created: datetime | None = field(default=None, compare=False)
    """When it was computed; None when not known."""

    @property
    def inference(self) -> str:
        """How intervals and p-values were found: "asymptotic", "resampled", "asymptotic and resampled", or "none"."""
        found = sorted({entry.inference for entry in self.imbalance if not math.isnan(entry.matched_ratio)})
        return " and ".join(found) or "none"

    @property
    def is_by_class(self) -> bool:
        """Whether the parts are classes, not groups."""
        return self.by == "class" and self.grouping is None

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
        """One row per group and rank. Raises ImportError when pandas is missing.

        Columns: `group` (name), `y`, `a`, `n` (rows used), `rank` (from 1), `eigenvalue`, `residual` (an exact
        eigenvalue is no farther away), and `share_of_trace`, the fraction of the total variance.
        """
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
        """One row per comparison, with interval and p-values. Raises ImportError when pandas is missing.

        The columns are fields of `Imbalance`, and `label` what is compared.
        """
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
            "inference",
        )
        return frame({name: [getattr(entry, name) for entry in self.imbalance] for name in columns})

    def plot(self, top_k: int = 10) -> Figure:
        """The `top_k` largest eigenvalues of each group, one panel per class, and the imbalance with its interval.

        `penult.plot_spectra` says what is drawn. Of more than 8 groups of a class, the minority, the largest group and
        those with the largest eigenvalues have a colour; of more than 24 classes the first 24 are drawn.

        Raises ImportError when matplotlib is missing.
        """
        from penult.results.figures.spectra import spectra_figure

        return spectra_figure(self, top_k)

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import spectra_html

        return spectra_html(self)

    def __repr__(self) -> str:
        n_groups, n_kept = self.eigenvalues.shape
        # Of many comparisons, those that are least likely to be chance.
        clearest = sorted(
            self.imbalance, key=lambda e: (math.isnan(e.p_adjusted), e.p_adjusted, -abs(math.log(e.ratio or 1)))
        )
        kept = [entry for entry in self.imbalance if any(entry is one for one in clearest[:MOST_COMPARISONS])]
        said = and_more([_in_words(entry, self) for entry in kept], len(self.imbalance) - len(kept))
        what = f"{named(self.name)}{n_groups} by {self.by}, top {n_kept}, correction {self.correction}"
        how = f" ({self.inference})" if "asymptotic" in self.inference else ""
        return f"Spectra({short(self.digest)}, {what}{'; ' if said else ''}{said}{how}){lines(self.notes)}"

    def __str__(self) -> str:
        n_shown = min(5, self.eigenvalues.shape[1])
        rows = [
            (group.name, str(group.count), f"{trace:.4g}", *(f"{value:.4g}" for value in values[:n_shown]))
            for group, trace, values in zip(self.groups, self.trace, self.eigenvalues, strict=True)
        ]
        header = (self.by, "n", "trace", *(f"lambda_{rank}" for rank in range(1, n_shown + 1)))
        return "\n".join([text_table(header, rows), *imbalance_lines(self)])


def compared(entry: Imbalance, groups: tuple[Group, ...]) -> str:
    """What is compared: "gravel / grass" within a class, "boot / sneaker" of two classes."""
    of = {group.index: group.attribute_value or group.name for group in groups}
    return f"{one_line(of[entry.minority_index])} / {one_line(of[entry.majority_index])}"


def _in_words(entry: Imbalance, spectra: Spectra) -> str:
    """A comparison within a line: at equal n with interval and p where there are any, else as measured."""
    name = f"{one_line(entry.class_name)}: " if entry.class_name else ""
    pair = f"{name}{compared(entry, spectra.groups)}"
    if math.isnan(entry.matched_ratio):
        return f"{pair} {entry.ratio:.3g}"
    interval = f"[{entry.low:.3g}, {entry.high:.3g}]"
    return f"{pair} {entry.ratio:.3g}, at equal n {entry.matched_ratio:.3g} {interval} p={entry.p_adjusted:.2g}"


def p_text(value: float) -> str:
    """A p-value: three digits after the point, and no 0 where it is only small."""
    return f"{value:.0e}" if value < 0.001 else f"{value:.3f}"


def imbalance_lines(spectra: Spectra) -> list[str]:
    """The comparisons as a table of text; nothing when there are none."""
    if not spectra.imbalance:
        return []
    if spectra.inference == "none":
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
            p_text(entry.p_value),
            p_text(entry.p_adjusted),
        )
        for entry in spectra.imbalance
    ]
    how = [f"intervals and p: {spectra.inference}"] if "asymptotic" in spectra.inference else []
    return ["", text_table(header, rows), *how]
