"""What methods that cluster each class by itself share: rows of a class, what is refused, how answers are joined."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.clustering.joint import head_arrays
from penult_server.errors import ServiceError

FEWEST_ROWS = 25
"""Rows that a group must have on average: with fewer, what is found says little."""
Assigned = tuple[Integers, NDArray[np.float64] | None]


class Partition(Protocol):
    """How rows of one class fall into groups."""

    @property
    def n_values(self) -> int:
        """Groups of the class."""
        ...

    def assign(self, rows: Rows, index: Integers) -> Assigned:
        """(m,) groups of the rows at `index`, and (m, n_values) how far each belongs to each."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What it takes to make it again, on the host; nothing where it cannot be."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTask:
    """One class that is to be clustered."""

    y: int
    name: str
    rows: Rows
    index: Integers
    """Positions of its rows, by ascending row id: the order of a set's rows does not matter."""
    rng: np.random.Generator
    """Of this class alone."""
    inputs: Inputs

    @property
    def n(self) -> int:
        """Rows."""
        return self.index.size

    def number(self, name: str) -> int:
        """A whole number of the question."""
        return int(self.inputs.numbers[name])

    def largest_k(self, wanted: int) -> int:
        """How many clusters a search goes up to: no more than leave each 25 rows on average, but at least 2."""
        return max(2, min(wanted, self.n // FEWEST_ROWS))

    def refused(self, why: str) -> ServiceError:
        """The error for a class in which there is nothing to find."""
        return ServiceError(ErrorKind.EMPTY_GROUP, f"class {self.name!r}: {why}", class_name=self.name)


Scores = dict[str, float]
FitClass = Callable[[ClassTask], tuple[Partition, Scores]]
"""Cluster one class."""


def find_by_class(inputs: Inputs, fit_class: FitClass, *, k: int, rule: str) -> Found:
    """Cluster the rows of every class of `fit`, and assign those of the source.

    `k` is the least number of clusters that a class is cut into. Raises ServiceError: INVALID_ARGUMENT for more groups
    than one for 25 rows, EMPTY_GROUP for a class that is too small, and what `fit_class` raises.
    """
    names = inputs.source.labels.classes
    counts = np.bincount(inputs.fit.y, minlength=len(names))
    present = np.flatnonzero(np.bincount(inputs.source.y, minlength=len(names)))
    check_groups(k * present.size, inputs.fit.y.size)
    count = inputs.progress.each("clustering", "classes", present.size)
    partitions: dict[int, Partition] = {}
    scores: Scores = {}
    for y in present.tolist():
        inputs.check()
        task = ClassTask(
            y=y,
            name=names[y],
            rows=inputs.fit,
            index=rows_of_class(inputs.fit, y),
            rng=np.random.default_rng([inputs.seed, y]),
            inputs=inputs,
        )
        if counts[y] < 2 * k:
            raise task.refused(f"{counts[y]} rows are too few for {k} clusters, which take {2 * k} at least")
        partitions[y], of_class = fit_class(task)
        scores |= {f"{name} of {task.name}": score for name, score in of_class.items()}
        count(1)
    value, soft = assign_by_class(partitions, inputs.source)
    arrays = {y: dict(partition.arrays()) for y, partition in partitions.items()}
    has_rule = all(arrays.values())
    return Found(
        value=value,
        names=cluster_names(max(partition.n_values for partition in partitions.values())),
        soft=soft,
        rule=rule if has_rule else "",
        rule_arrays={**prefixed(arrays), **head_arrays(inputs.head)} if has_rule else {},
        scores=scores,
    )


def check_groups(n_groups: int, n_rows: int) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for more groups than one for 25 rows."""
    if n_groups * FEWEST_ROWS > n_rows:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{n_groups} groups of {n_rows} rows would have fewer than {FEWEST_ROWS} rows each on average: ask for "
            "fewer clusters, or give more rows with fit=...",
            field="numbers",
        )


def rows_of_class(rows: Rows, y: int) -> Integers:
    """Positions of the rows of a class, by ascending row id."""
    index = np.flatnonzero(rows.y == y)
    return index[np.argsort(rows.row_id[index], kind="stable")]


def assign_by_class(partitions: Mapping[int, Partition], rows: Rows) -> tuple[Integers, NDArray[np.float32] | None]:
    """(N,) values of rows, -1 in a class without a partition; and (N, V) where every class has such numbers."""
    value = np.full(rows.y.size, -1, np.int64)
    width = max(partition.n_values for partition in partitions.values())
    soft = np.zeros((rows.y.size, width), np.float32)
    has_soft = True
    for y, partition in partitions.items():
        index = rows_of_class(rows, y)
        if index.size:
            value[index], shares = partition.assign(rows, index)
            has_soft = has_soft and shares is not None
            if shares is not None:
                soft[index, : shares.shape[1]] = shares
    return value, soft if has_soft else None


def cluster_names(n_values: int) -> tuple[str, ...]:
    """Names of V clusters."""
    return tuple(f"cluster {value}" for value in range(n_values))


def by_size(labels: Integers, n_labels: int) -> Integers:
    """(n_labels,) the rank of each label by its rows, the largest first; of equals that of the earlier first row."""
    count = np.bincount(labels, minlength=n_labels)
    first = np.full(n_labels, labels.size)
    np.minimum.at(first, labels, np.arange(labels.size))
    rank = np.empty(n_labels, np.int64)
    rank[np.lexsort((first, -count))] = np.arange(n_labels)
    return rank


def prefixed(arrays: Mapping[int, Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Arrays of each number as `NUMBER.NAME`."""
    return {f"{number}.{name}": array for number, of_one in arrays.items() for name, array in of_one.items()}


def split_prefixes(arrays: Mapping[str, NDArray[Any]]) -> dict[int, dict[str, NDArray[Any]]]:
    """The inverse of `prefixed`; names that do not begin with a number are left out."""
    found: dict[int, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        number, dot, rest = name.partition(".")
        if dot and number.isdecimal():
            found.setdefault(int(number), {})[rest] = array
    return found


def mean_of(scores: Sequence[float]) -> float:
    """The mean of those that are numbers."""
    known = [score for score in scores if not math.isnan(score)]
    return sum(known) / len(known) if known else math.nan
