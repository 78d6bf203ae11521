"""Which rows are used, how often and with what weight: balancing over classes or over groups.

Labels and row positions are small and drawn by a seeded NumPy Generator, which devices do not reproduce. Since a seed
must give the same rows wherever the features are, this module is NumPy on the host alone.

The definitions are those of LaBonte et al. 2024 (arXiv 2407.13957, section 3) over any label, class or group.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import host_labels
from penult_kernels.sampling.group_ratio import GroupRatio

Labels = NDArray[np.int64]


class BalanceMethod(StrEnum):
    """How rare labels are balanced."""

    NONE = "none"
    """Nothing: every row once."""
    SUBSETTING = "subsetting"
    """As many rows of every label as the rarest has, drawn once without replacement."""
    UPSAMPLING = "upsampling"
    """All rows are drawn from with replacement, every label equally often."""
    UPWEIGHTING = "upweighting"
    """Every row once, with a loss weight proportional to 1 / (rows of its label)."""
    MIXTURE = "mixture"
    """Every label capped at ratio times the rarest, then upsampling among the rows kept."""


class BalanceBy(StrEnum):
    """Which label is balanced."""

    CLASS = "class"
    GROUP = "group"


class EmptyLabelError(ValueError):
    """A class or group that must be balanced, or fitted, has no row."""

    label: int
    n_labels: int
    """Labels there are: classes, or groups."""

    def __init__(self, label: int, n_labels: int) -> None:
        self.label = label
        self.n_labels = n_labels
        super().__init__(
            f"every label 0 ... {n_labels - 1} needs at least one row, label {label} has none: "
            "leave it out of the labels, use other rows, or balance with method 'none'"
        )


def present_labels(
    labels: Labels, n_labels: int, method: BalanceMethod, may_be_absent: NDArray[np.bool_] | None
) -> tuple[Labels, int]:
    """Labels (N,) numbered anew without those that have no row and need none, and how many there then are.

    Parameters
    ----------
    may_be_absent : array of shape (n_labels,), optional
        Labels that are left out where they have no row; none when left out.

    Raises
    ------
    EmptyLabelError
        When another label has no row and the method is not `none`.
    """
    if may_be_absent is None or method is BalanceMethod.NONE:
        return labels, n_labels
    is_absent = np.bincount(labels, minlength=n_labels) == 0
    if bool((is_absent & ~may_be_absent).any()):
        raise EmptyLabelError(int(np.argmax(is_absent & ~may_be_absent)), n_labels)
    return (np.cumsum(~is_absent) - 1)[labels], int(np.count_nonzero(~is_absent))


def present_ratio(group_ratio: GroupRatio | None, labels: Labels, n_labels: int, n_present: int) -> GroupRatio | None:
    """A group ratio for labels numbered anew by `present_labels`, of which `n_present` are left."""
    if group_ratio is None or n_present == n_labels:
        return group_ratio
    has_rows = np.bincount(labels, minlength=n_labels) > 0
    return GroupRatio(ratio=group_ratio.ratio, class_of=group_ratio.class_of[has_rows])


def kept_rows(
    labels: Labels,
    n_labels: int,
    *,
    method: BalanceMethod,
    ratio: float = 1.0,
    seed: int,
    group_ratio: GroupRatio | None = None,
) -> NDArray[np.int64]:
    """Positions of the rows that a balancing keeps, ascending.

    Subsetting keeps min_l n_l rows of every label, mixture at most floor(ratio * min_l n_l), each a uniform
    random subset; the other methods keep every row. With one seed the rows kept at a ratio are among
    those kept at every larger one: ratio 1 is subsetting, max_l n_l / min_l n_l or more is everything.

    Parameters
    ----------
    labels : array of shape (N,)
        Class or group of each row.
    n_labels : int
        Labels there are.
    method : BalanceMethod
        How to balance.
    ratio : float
        Of mixture, at least 1; no other method reads it.
    seed : int
        At least 0.
    group_ratio : GroupRatio, optional
        Subsetting then keeps its `sizes`; groups are equal when left out.

    Raises
    ------
    EmptyLabelError
        When a label has no row and the method is not `none`.
    ValueError
        When a label is out of range or the ratio is below 1 or not finite.
    """
    labels = host_labels(labels, len(labels), n_labels, name="labels")
    counts = _counts(labels, n_labels, method)
    if method not in (BalanceMethod.SUBSETTING, BalanceMethod.MIXTURE):
        return np.arange(labels.size, dtype=np.int64)
    cap = _cap(int(counts.min()), ratio if method is BalanceMethod.MIXTURE else 1.0)
    sizes = np.full(n_labels, cap) if group_ratio is None else group_ratio.sizes(counts)
    rng = np.random.default_rng(seed)
    # Whole permutations, cut afterwards: the cap then does not shift the random stream.
    kept = [rng.permutation(np.flatnonzero(labels == label))[: sizes[label]] for label in range(n_labels)]
    return np.sort(np.concatenate(kept))


def loss_weights(
    labels: Labels, n_labels: int, *, method: BalanceMethod, group_ratio: GroupRatio | None = None
) -> NDArray[np.float64]:
    """Weight of each row in the loss: N / (n_labels * n_label) for upweighting, else 1.

    The mean over the rows is 1, and every label has the same total weight; with a `group_ratio` its share of it.

    Raises
    ------
    EmptyLabelError
        When a label has no row and the method is not `none`.
    """
    labels = host_labels(labels, len(labels), n_labels, name="labels")
    counts = _counts(labels, n_labels, method)
    if method is not BalanceMethod.UPWEIGHTING:
        return np.ones(labels.size)
    if group_ratio is not None:
        return (labels.size * group_ratio.shares(counts) / counts)[labels]
    return (labels.size / (n_labels * counts))[labels]


def draw_epoch(
    labels: Labels,
    n_labels: int,
    rows: NDArray[np.int64],
    *,
    method: BalanceMethod,
    rng: np.random.Generator,
    group_ratio: GroupRatio | None = None,
) -> NDArray[np.int64]:
    """Row positions of one epoch, in random order, as many as `rows`.

    Upsampling and mixture draw with replacement, each row with probability proportional to
    1 / (rows of its label among `rows`), times the share of its label where there is a `group_ratio`; the other methods
    shuffle.

    Parameters
    ----------
    labels : array of shape (N,)
        Class or group of every row there is.
    n_labels : int
        Labels there are.
    rows : array of shape (M,)
        Positions kept by `kept_rows`.
    method : BalanceMethod
        How to balance.
    rng : Generator
        Advanced by the draw.

    Returns
    -------
    array of shape (M,)
        Entries of `rows`.

    Raises
    ------
    EmptyLabelError
        When a label has no row among `rows` and the method is not `none`.
    """
    among = host_labels(labels, len(labels), n_labels, name="labels")[rows]
    counts = _counts(among, n_labels, method)
    if method not in (BalanceMethod.UPSAMPLING, BalanceMethod.MIXTURE):
        return rng.permutation(rows)
    # A uniform label, then a uniform row of it: the same distribution, exactly and without N probabilities.
    by_label = rows[np.argsort(among, kind="stable")]
    first = np.cumsum(counts) - counts
    if group_ratio is None:
        label = rng.integers(n_labels, size=rows.size)
    else:
        label = rng.choice(n_labels, size=rows.size, p=group_ratio.shares(counts))
    return by_label[first[label] + rng.integers(counts[label])]


def _counts(labels: Labels, n_labels: int, method: BalanceMethod) -> NDArray[np.int64]:
    """(n_labels,) rows of each label, after the check that balancing is possible."""
    counts = np.bincount(labels, minlength=n_labels)
    if method is not BalanceMethod.NONE and not counts.all():
        raise EmptyLabelError(int(np.argmin(counts)), n_labels)
    return counts


def _cap(smallest: int, ratio: float) -> int:
    """floor(ratio * smallest), where a ratio computed as a / smallest gives back a despite its rounding."""
    if not (np.isfinite(ratio) and ratio >= 1):
        raise ValueError(f"ratio must be a finite number of at least 1 (1 is subsetting), got {ratio}")
    return int(np.floor(ratio * smallest * (1 + 4 * np.finfo(np.float64).eps)))
