"""Which rows a refit is fitted on: halves for tuning, balanced draws, the rows of the largest scores.

NumPy on the host alone, like `balancing`: a seed must choose the same rows on every machine.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.sampling.balancing import (
    BalanceMethod,
    draw_epoch,
    kept_rows,
    loss_weights,
    present_labels,
    present_ratio,
)
from penult_kernels.sampling.group_ratio import GroupRatio

DRAWN_WITH_REPLACEMENT = (BalanceMethod.UPSAMPLING, BalanceMethod.MIXTURE)
"""Methods that draw rows with replacement."""
DETERMINISTIC = (BalanceMethod.NONE, BalanceMethod.UPWEIGHTING)
"""Methods whose draws are all the same."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """Rows of one draw of a balancing."""

    rows: NDArray[np.int64]
    """(n,) ascending positions, each once."""
    weight: NDArray[np.float64]
    """(n,) how often each row was drawn, or its weight in the loss."""

    @property
    def key(self) -> bytes:
        """Equal for draws of the same rows and weights."""
        found = hashlib.blake2b(np.ascontiguousarray(self.rows).data, digest_size=16)
        found.update(np.ascontiguousarray(self.weight).data)
        return found.digest()


def balanced_draw(
    labels: NDArray[np.int64],
    n_labels: int,
    *,
    among: NDArray[np.int64],
    method: BalanceMethod,
    ratio: float,
    seed: int,
    repeat: int,
    may_be_absent: NDArray[np.bool_] | None = None,
    group_ratio: GroupRatio | None = None,
) -> Draw:
    """Draw `repeat` of a balancing over `labels`; it depends on (seed, repeat) alone.

    Subsetting and mixture draw the rows kept; upsampling and mixture then draw as many rows with replacement,
    which enter as whole-number weights; upweighting weighs by 1 / count. See `balancing`.

    Parameters
    ----------
    labels : array of shape (N,)
        Class or group of every row there is.
    among : array of shape (M,)
        Ascending positions of the rows that may be used.
    may_be_absent : array of shape (n_labels,), optional
        Labels that are left out where they have no row among these; none when left out.
    group_ratio : GroupRatio, optional
        How frequent minorities are to be; all groups are equal when left out.

    Raises
    ------
    EmptyLabelError
        When another label to be balanced has no row among them.
    """
    keeping, drawing = np.random.SeedSequence((seed, repeat)).generate_state(2, np.uint64)
    own, n_present = present_labels(labels[among], n_labels, method, may_be_absent)
    group_ratio = present_ratio(group_ratio, labels[among], n_labels, n_present)
    kept = kept_rows(own, n_present, method=method, ratio=ratio, seed=int(keeping), group_ratio=group_ratio)
    if method in DRAWN_WITH_REPLACEMENT:
        rng = np.random.default_rng(int(drawing))
        drawn = draw_epoch(own, n_present, kept, method=method, rng=rng, group_ratio=group_ratio)
        times = np.bincount(drawn, minlength=own.size)[kept].astype(np.float64)
        return Draw(rows=among[kept], weight=times)
    weight = loss_weights(own[kept], n_present, method=method, group_ratio=group_ratio)
    return Draw(rows=among[kept], weight=weight)


def halves(n_rows: int, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two random halves of 0 ... n_rows - 1, ascending: one to score on, one to fit on, the larger.

    Raises ValueError for fewer than two rows.
    """
    if n_rows < 2:
        raise ValueError(f"two halves need at least two rows, got {n_rows}")
    # The stream of its own keeps the halves apart from the draws of the same seed.
    order = np.random.default_rng((seed, 0x68616C66)).permutation(n_rows)
    return np.sort(order[: n_rows // 2]), np.sort(order[n_rows // 2 :])


def top_rows(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Ascending positions of the k largest scores; of equal ones the first.

    Raises ValueError when there are fewer than k, or a score is NaN.
    """
    if not 1 <= k <= scores.size:
        raise ValueError(f"top_k must lie in 1 ... {scores.size}, the rows there are to choose from; got {k}")
    if np.isnan(scores).any():
        raise ValueError("scores to rank rows by must not be NaN")
    return np.sort(np.argsort(-scores, kind="stable")[:k]).astype(np.int64)


def loss_ends(
    losses: NDArray[np.float64], is_error: NDArray[np.bool_], y: NDArray[np.int64], n_classes: int, k: int
) -> NDArray[np.int64]:
    """Ascending positions of each class's misclassified rows of largest loss and its correct rows of smallest loss.

    Of both equally many in a class: k, or all that the smaller side has. Of equal losses the first. Raises ValueError
    when a class has none on a side.
    """
    if k < 1:
        raise ValueError(f"top_k must be at least 1, got {k}")
    if np.isnan(losses).any():
        raise ValueError("losses to rank rows by must not be NaN")
    found: list[NDArray[np.intp]] = []
    for c in range(n_classes):
        wrong, right = (np.flatnonzero((y == c) & side) for side in (is_error, ~is_error))
        n = min(k, wrong.size, right.size)
        if n == 0:
            raise ValueError(
                f"class {c} has {wrong.size} misclassified and {right.size} correct rows, and needs one of each at "
                "least: fit on rows that the stored head was not fitted to"
            )
        found.append(wrong[np.argsort(-losses[wrong], kind="stable")[:n]])
        found.append(right[np.argsort(losses[right], kind="stable")[:n]])
    return np.sort(np.concatenate(found)).astype(np.int64)


def inverse_frequencies(
    labels: NDArray[np.int64],
    n_labels: int,
    *,
    method: BalanceMethod,
    may_be_absent: NDArray[np.bool_] | None = None,
    group_ratio: GroupRatio | None = None,
) -> NDArray[np.float64]:
    """(n,) weight of each row for draws with replacement in which every label is as frequent, or as `group_ratio` says.

    Raises EmptyLabelError when a label has no row, unless it may be absent.
    """
    own, n_present = present_labels(labels, n_labels, method, may_be_absent)
    group_ratio = present_ratio(group_ratio, labels, n_labels, n_present)
    upweighting = BalanceMethod.UPWEIGHTING if method in DRAWN_WITH_REPLACEMENT else BalanceMethod.NONE
    return loss_weights(own, n_present, method=upweighting, group_ratio=group_ratio)
