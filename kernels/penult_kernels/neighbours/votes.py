"""k-nearest-neighbour classification: the votes of a row's neighbours for each class."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SMALLEST_SHARE = 2.0**-52
"""Shares of votes are clipped here before their logarithm is taken: the loss of a class without a vote is finite."""


def vote_shares(
    classes: NDArray[np.int64],
    distances: Floats,
    n_classes: int,
    ks: Sequence[int],
    *,
    temperature: float,
    weights: Floats | None = None,
) -> Iterator[tuple[int, Floats]]:
    """For each k, ascending, the share (N, C) of the votes that each class has; all in one pass over the neighbours.

        s_ic = sum over the k nearest neighbours j of row i of  w_ij exp(cos_ij / T) 1[y_j = c],    share = s / sum_c s

    (DINO's weighted kNN, Caron et al. 2021, arXiv 2104.14294; T = 0.07 there.) Since cos = 1 - distance, a vote is
    exp(-distance / T) but for a factor that all votes of a row have; it is taken relative to the nearest neighbour's,
    so that small T do not make all votes of a row vanish.

    Parameters
    ----------
    classes : integer array of shape (N, K)
        Class of each neighbour, nearest first; -1 where there is none.
    distances : array of shape (N, K)
        Cosine distances; whatever stands where there is no neighbour is not read.
    ks : sequence of int
        Numbers of neighbours, 1 to K.
    temperature : float
        T, positive.
    weights : array of shape (N, K), optional
        w_ij, at least 0; 1 when left out.

    Yields
    ------
    k, and the shares: NaN in the rows of which no neighbour has a vote.
    """
    is_there = classes >= 0
    near = np.min(distances, axis=1, keepdims=True, initial=np.inf, where=is_there)
    beyond = np.where(is_there, distances - np.where(np.isinf(near), 0.0, near), np.inf)
    votes = np.exp(-beyond / temperature) * (1.0 if weights is None else weights)
    voted = np.where(is_there, classes, 0)
    rows = np.arange(len(classes))
    scores = np.zeros((len(classes), n_classes))
    done = 0
    for k in sorted(set(ks)):
        # A column at a time, in which each row has one entry: what is added to no place twice needs no scatter.
        for place in range(done, k):
            scores[rows, voted[:, place]] += votes[:, place]
        done = k
        total = scores.sum(axis=1, keepdims=True)
        yield k, scores / np.where(total > 0, total, np.nan)


def logits_of_shares(shares: Floats) -> Floats:
    """Logits (N, C) whose softmax are the shares, clipped at `SMALLEST_SHARE` as scikit-learn's log-loss clips them."""
    return np.log(np.where(shares < SMALLEST_SHARE, SMALLEST_SHARE, shares))
