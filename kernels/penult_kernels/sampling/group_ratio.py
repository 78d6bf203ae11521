"""How frequent each group is to be where minorities are held at a ratio: between the data's own and balanced groups.

Hill et al. 2026 (arXiv 2512.01766): classes are equally frequent; in a class that has a minority its share is
q = r / (1 + r), for two groups, and in the other classes groups are equal. Their code names the minorities of each
dataset; here a class has one where its smallest group is at most half of every other (CelebA: blond men alone).
Host alone, as `balancing`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINORITY = 0.5
"""A smallest group of at most this fraction of every other group of its class is a minority."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupRatio:
    """A ratio of the minorities, and the class of each group.

    Raises ValueError for a ratio that is not above 0 and at most 1, or labels that lie in several classes.
    """

    ratio: float
    """A minority is this many times as frequent as each other group of its class; 1 balances the groups."""
    class_of: NDArray[np.int64]
    """(n_labels,) class of each group."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and 0 < self.ratio <= 1):
            raise ValueError(f"group_ratio must be above 0 and at most 1 (1 balances the groups), got {self.ratio}")

    def shares(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n_labels,) share of each group in what is drawn, sum 1; 0 for groups without a row (`counts`)."""
        found = np.zeros(counts.size)
        classes = np.unique(self.class_of[counts > 0])
        for one in classes.tolist():
            groups = np.flatnonzero((self.class_of == one) & (counts > 0))
            weight = np.ones(groups.size)
            smallest, *others = np.sort(counts[groups]).tolist()
            if others and smallest <= MINORITY * others[0]:
                weight[np.argmin(counts[groups])] = self.ratio
            found[groups] = weight / (weight.sum() * classes.size)
        return found

    def sizes(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n_labels,) rows of each group in a subset: of a class its number of groups times the smallest of all.

        Rounded up, as in the authors' code; no group needs more rows than it has.
        """
        shares, has_rows = self.shares(counts), counts > 0
        smallest = int(counts[has_rows].min(initial=np.iinfo(np.int64).max))
        n_classes = np.unique(self.class_of[has_rows]).size
        groups = np.array([np.count_nonzero(has_rows & (self.class_of == one)) for one in self.class_of])
        wanted = shares * n_classes * groups * smallest
        return np.minimum(np.ceil(wanted * (1 - 4 * np.finfo(np.float64).eps)).astype(np.int64), counts)


def classes_of(labels: NDArray[np.int64], y: NDArray[np.int64], n_labels: int) -> NDArray[np.int64]:
    """(n_labels,) class of each group's rows; -1 without a row. Raises ValueError for a group of several classes."""
    found = np.full(n_labels, -1)
    found[labels] = y
    if bool((found[labels] != y).any()):
        raise ValueError("group_ratio needs groups that lie within the classes, and one of these has rows of several")
    return found
