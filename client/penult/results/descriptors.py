"""Eigenvectors, numbers read off spectra with their definitions, and angles between subspaces."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penult.display.html import Shown
from penult.files.savable import Savable
from penult.results.frames import frame, text_table
from penult.results.records import Group, short
from penult.results.used_grouping import UsedGrouping

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Eigenvectors(Shown, Savable):
    """The top K eigenvectors of the covariance of each of G groups or classes, in D features."""

    feature_set: str
    by: str
    """"group" or "class"; with a grouping, what its values are called together."""
    groups: tuple[Group, ...]
    eigenvalues: NDArray[np.float64]
    """(G, K) descending."""
    vectors: NDArray[np.float64]
    """(G, K, D), rows of unit length: vectors[g, k] belongs to eigenvalues[g, k]."""
    correction: int
    center: bool
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups, and for classes."""

    def to_frame(self) -> pd.DataFrame:
        """One row per group and rank: `group` (name), `rank` (from 1), `eigenvalue`, `vector` (an array (D,)).

        Raises ImportError when pandas is missing.
        """
        n_kept = self.eigenvalues.shape[1]
        return frame(
            {
                "group": [group.name for group in self.groups for _ in range(n_kept)],
                "rank": [rank for _ in self.groups for rank in range(1, n_kept + 1)],
                "eigenvalue": self.eigenvalues.reshape(-1).tolist(),
                "vector": list(self.vectors.reshape(-1, self.vectors.shape[2])),
            }
        )

    def __repr__(self) -> str:
        return f"Eigenvectors({short(self.feature_set)}, by={self.by!r}, (G, K, D) = {self.vectors.shape})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Descriptor(Shown):
    """One number of each group, and what it is."""

    id: str
    """Stable name of the formula."""
    formula: str
    source: str
    """The paper."""
    values: NDArray[np.float64]
    """(G,) one value for each group; NaN where it is not defined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceShare(Shown):
    """Fraction, in [0, 1], of the total variance that lies between the means of some parts of the rows."""

    id: str
    formula: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Descriptors(Shown, Savable):
    """What can be read off the spectra of a feature set's groups or classes."""

    digest: str
    feature_set: str
    by: str
    """"group" or "class"; with a grouping, what its values are called together."""
    groups: tuple[Group, ...]
    descriptors: Mapping[str, Descriptor]
    """Descriptors by id: participation_ratio, effective_rank, rank_me, power_law_exponent."""
    variance_shares: Mapping[str, VarianceShare]
    """Shares by id: class_share, attribute_share, group_share. Those of class and attribute may overlap."""
    reused: bool
    """Whether the answer was stored already."""
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups, and for classes."""

    def __getitem__(self, id: str) -> NDArray[np.float64]:
        """(G,) values of the descriptor `id`. Raises KeyError, listing those there are."""
        if id not in self.descriptors:
            raise KeyError(f"there is no descriptor {id!r}; there are {', '.join(self.descriptors)}")
        return self.descriptors[id].values

    def to_frame(self) -> pd.DataFrame:
        """One row per group. Raises ImportError when pandas is missing.

        Columns: `group` (name), `y`, `a`, `n`, and one for each descriptor, by its id.
        """
        columns: dict[str, list[object]] = {
            "group": [group.name for group in self.groups],
            "y": [group.y for group in self.groups],
            "a": [group.a for group in self.groups],
            "n": [group.count for group in self.groups],
        }
        return frame(columns | {id: one.values.tolist() for id, one in self.descriptors.items()})

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import descriptors_html

        return descriptors_html(self)

    def __repr__(self) -> str:
        said = ", ".join(f"{id} {_range_of(one.values)}" for id, one in self.descriptors.items())
        return f"Descriptors({short(self.digest)}, {len(self.groups)} by {self.by}: {said})"

    def __str__(self) -> str:
        rows = [
            (group.name, str(group.count), *(f"{one.values[position]:.3g}" for one in self.descriptors.values()))
            for position, group in enumerate(self.groups)
        ]
        shares = [f"{share.id} {share.value:.3f}" for share in self.variance_shares.values()]
        definitions = [f"{one.id} = {one.formula} ({one.source})" for one in self.descriptors.values()]
        return "\n".join([text_table((self.by, "n", *self.descriptors), rows), ", ".join(shares), *definitions])


def _range_of(values: NDArray[np.float64]) -> str:
    """From the smallest to the largest, what is not defined left out."""
    known = values[~np.isnan(values)]
    if not known.size:
        return "undefined"
    return f"{known.min():.3g} .. {known.max():.3g}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class PrincipalAngles(Shown, Savable):
    """Angles between the spans of the top K eigenvectors of two groups or classes."""

    digest: str
    first: Group
    second: Group
    feature_sets: tuple[str, str]
    """Digests of the feature sets of `first` and of `second`."""
    angles: NDArray[np.float64]
    """(K,) radians in [0, pi/2], ascending: all 0 for one subspace, all pi/2 for orthogonal ones."""
    formula: str
    reused: bool
    """Whether the answer was stored already."""
    grouping: UsedGrouping | None = None
    """The grouping whose groups these are; None for the stored groups, and for classes."""

    @property
    def overlap(self) -> float:
        """Mean squared cosine, in [0, 1]: the fraction of one subspace that lies in the other."""
        return float(np.mean(np.cos(self.angles) ** 2))

    def to_frame(self) -> pd.DataFrame:
        """One row per angle, ascending: `rank` (from 1), `radians`. Raises ImportError when pandas is missing."""
        return frame({"rank": list(range(1, len(self.angles) + 1)), "radians": self.angles.tolist()})

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        from penult.results.html.answers import angles_html

        return angles_html(self)

    def __repr__(self) -> str:
        angles = ", ".join(f"{angle:.3f}" for angle in self.angles[:5])
        return (
            f"PrincipalAngles({self.first.name!r} and {self.second.name!r}: {angles} rad, overlap {self.overlap:.3f})"
        )
