"""Rows that are equal, or nearly: pairs of them, what they hang together in, and how many chance would give."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARE_OF_MEDIAN = 0.13
"""Threshold as a share of the median distance to the nearest neighbour (cleanlab's near duplicates)."""
SMALL_QUANTILE = 0.001
"""Share of the rows of a set without duplicates that are nearer to another row than the threshold between splits."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def row_hashes(rows: NDArray[Any]) -> NDArray[np.void]:
    """(N,) 16 bytes for each row (N, D) on the host, the same for rows that are equal in every entry, and for no other.

    0 and -0 are equal. Two of N different rows have one hash (BLAKE2b) with a probability of N^2 / 2^129.
    """
    # The sum with 0 makes -0 a 0.
    entries = np.ascontiguousarray(rows + rows.dtype.type(0))
    return np.array([blake2b(row.data, digest_size=16).digest() for row in entries], dtype="V16")


def equal_pairs(hashes: NDArray[Any], others: NDArray[Any] | None = None) -> Integers:
    """(P, 2) positions of equal rows by their hashes: the first row of those that are equal, and each of the others.

    With `others`, hashes of other rows: the first row that each of these equals, and its own position there.
    """
    known, first, kind = np.unique(hashes, return_index=True, return_inverse=True)
    if others is None:
        leader = first[kind]
        later = np.flatnonzero(leader != np.arange(leader.size))
        return np.stack([leader[later], later], axis=1)
    place = np.minimum(np.searchsorted(known, others), known.size - 1)
    found = np.flatnonzero(known[place] == others)
    return np.stack([first[place[found]], found], axis=1)


def leaders(n_rows: int, equal: Integers) -> Integers:
    """(n_rows,) the first of the rows that each row equals, from the pairs of `equal_pairs` within one set."""
    leader = np.arange(n_rows)
    leader[equal[:, 1]] = equal[:, 0]
    return leader


def threshold_within(nearest: Floats) -> float:
    """`SHARE_OF_MEDIAN` of the median of the distances (N,) to the nearest neighbours."""
    return SHARE_OF_MEDIAN * float(np.median(nearest))


def threshold_between(nearest: Floats) -> float:
    """`SMALL_QUANTILE` of the distances (N,) to the nearest neighbours of the rows that have no duplicate.

    A row of another split that is nearer to one of these rows than nearly all of them are to each other is hardly a
    distinct example; of distinct ones, a share of `SMALL_QUANTILE` is so near by chance. Rows with a duplicate are set
    aside: the quantile would be one of their distances as soon as there are more of them than that share.
    """
    within = threshold_within(nearest)
    distinct = nearest[nearest >= within]
    return float(np.quantile(distinct, SMALL_QUANTILE)) if distinct.size else within


def near_pairs(position: Integers, distance: Floats, threshold: float) -> tuple[Integers, Floats]:
    """(P, 2) positions of a row and a neighbour that is nearer than the threshold, and their distances (P,)."""
    row, place = np.nonzero((position >= 0) & (distance < threshold))
    return np.stack([row, position[row, place]], axis=1), distance[row, place]


def merged(pairs: Integers, distances: Floats, *, is_one_set: bool) -> tuple[Integers, Floats]:
    """The pairs, each once and at its first distance, ascending by distance, then by position.

    In one set (i, j) and (j, i) are one pair, written with the smaller position first.
    """
    ordered = np.sort(pairs, axis=1) if is_one_set else pairs
    # One number for each pair is sorted eight times as fast as a row of two.
    number = ordered[:, 0] * (int(ordered.max(initial=0)) + 1) + ordered[:, 1]
    _, first = np.unique(number, return_index=True)
    found = distances[first]
    by_distance = np.argsort(found, kind="stable")
    return ordered[first][by_distance], found[by_distance]


def components(pairs: Integers, n_nodes: int) -> Integers:
    """(n_nodes,) the smallest node that each node hangs together with through the pairs (P, 2)."""
    label = np.arange(n_nodes)
    while True:
        before = label.copy()
        lowest = np.minimum(label[pairs[:, 0]], label[pairs[:, 1]])
        np.minimum.at(label, pairs[:, 0], lowest)
        np.minimum.at(label, pairs[:, 1], lowest)
        # A node takes the label of its label, which halves the way to the smallest.
        label = label[label]
        if np.array_equal(label, before):
            return label


def shuffled_crossings(
    pairs: Integers,
    n_first: int,
    n_second: int,
    *,
    n_shuffles: int,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> Integers:
    """(n_shuffles,) pairs that lie across when n_first + n_second rows are split at random into as many.

    `pairs` (P, 2) are all pairs among these rows, numbered as one set. Only rows that are in a pair are drawn: how many
    of them fall to the first part is hypergeometric.
    """
    rng = np.random.default_rng(seed)
    nodes, place = np.unique(pairs, return_inverse=True)
    ends = place.reshape(pairs.shape)
    found = np.empty(n_shuffles, dtype=np.int64)
    for shuffle in range(n_shuffles):
        check()
        n_chosen = rng.hypergeometric(n_first, n_second, nodes.size) if nodes.size else 0
        is_first = rng.permutation(nodes.size) < n_chosen
        found[shuffle] = int(np.count_nonzero(is_first[ends[:, 0]] != is_first[ends[:, 1]]))
    return found
