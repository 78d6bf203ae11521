"""What several systems predict for the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult.errors import invalid
from penult.results.rows.predictions import Predictions

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """S systems on N rows in G groups."""

    names: tuple[str, ...]
    y: NDArray[np.int64]
    g: NDArray[np.int64]
    group_names: tuple[str, ...]
    probabilities: tuple[Floats, ...]
    """(N, C) of each."""
    correct: tuple[NDArray[np.bool_], ...]
    """(N,) of each."""
    n_left_out: int
    """Rows that some of the systems do not have."""
    selection: "Scored | None" = None
    """The same systems on the split that selection rules look at."""
    sizes: tuple[float, ...] | None = None
    """Parameters of each."""

    def parts(self) -> list[tuple[str, NDArray[np.bool_]]]:
        """All rows, then those of each group."""
        groups = [(name, self.g == index) for index, name in enumerate(self.group_names)]
        return [("all", np.ones(self.y.size, np.bool_)), *groups]

    def group_accuracies(self, correct: NDArray[np.bool_]) -> Floats:
        """(G,) NaN of an empty group."""
        count = np.bincount(self.g, minlength=len(self.group_names))
        right = np.bincount(self.g, weights=correct, minlength=len(self.group_names))
        return np.where(count > 0, right / np.maximum(count, 1), np.nan)

    def accuracies(self) -> Floats:
        """(S, G) group accuracies."""
        return np.stack([self.group_accuracies(one) for one in self.correct])

    def mean_probabilities(self) -> Floats:
        """(N, C) mean over the systems."""
        return np.mean(self.probabilities, axis=0)


def scored_together(predictions: Sequence[Predictions], names: Sequence[str]) -> Scored:
    """Predictions on the rows that all of them have, by row ids. Raises `InvalidRequest` where these are none, or other
    examples."""
    first = predictions[0]
    ids = first.row_id
    for one in predictions[1:]:
        if one.labels.classes != first.labels.classes or one.group_names != first.group_names:
            raise invalid("what is compared must have the same classes and groups, in the same order", argument="items")
        ids = np.intersect1d(ids, one.row_id)
    if not ids.size:
        raise invalid("no row id is common to all that is compared: they must score the same split", argument="items")
    places = [_places(one.row_id, ids) for one in predictions]
    for one, at in zip(predictions, places, strict=True):
        if not (np.array_equal(one.y[at], first.y[places[0]]) and np.array_equal(one.g[at], first.g[places[0]])):
            raise invalid(
                "equal row ids are of other examples: what is compared must score one split", argument="items"
            )
    return Scored(
        names=tuple(names),
        y=first.y[places[0]],
        g=first.g[places[0]],
        group_names=first.group_names,
        probabilities=tuple(one.probabilities[at] for one, at in zip(predictions, places, strict=True)),
        correct=tuple(one.correct[at] for one, at in zip(predictions, places, strict=True)),
        n_left_out=max(one.row_id.size for one in predictions) - ids.size,
    )


def _places(row_id: NDArray[np.uint64], ids: NDArray[np.uint64]) -> NDArray[np.int64]:
    order = np.argsort(row_id)
    return order[np.searchsorted(row_id, ids, sorter=order)]
