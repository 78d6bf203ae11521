"""Second moments of the rows of each part, in one pass, and their eigenvalues."""

from functools import cache, reduce
from operator import add

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.shared.context import Block, Context

Floats = NDArray[np.float64]


class PartScatter:
    """By part: (D, D) sum of x x^T and (D,) sum of x, x a row less the shift."""

    def __init__(self, context: Context) -> None:
        self._subject = context.subject
        self._square: dict[int, Array] = {}
        self._sum: dict[int, Array] = {}
        self.eigen = cache(self._eigen)

    def add(self, block: Block) -> None:
        """Take in some rows."""
        xp = array_namespace(block.z)
        x, part = block.z - self._subject.shift, self._subject.part[block.rows]
        for p in np.unique(part).tolist():
            one = xp.take(x, asarray_like(np.flatnonzero(part == p), x), axis=0)
            square, total = one.T @ one, xp.sum(one, axis=0)
            self._square[p] = self._square[p] + square if p in self._square else square
            self._sum[p] = self._sum[p] + total if p in self._sum else total

    def mean(self, part: int) -> Array:
        """(D,) of a part that has rows."""
        return self._subject.shift + self._sum[part] / float(self._subject.counts[part])

    def _eigen(self, part: int, center: bool) -> tuple[Floats, Array]:
        """Eigenvalues (D,), descending, of the covariance with divisor n, or of the second moment; and vectors (D, D).

        Those that are rounding, below D eps of the largest, are 0.
        """
        n = float(self._subject.counts[part])
        total, square = self._sum[part], self._square[part]
        xp = array_namespace(square)
        moment = square / n - total[:, None] * total[None, :] / n**2
        if not center:
            mean = self.mean(part)
            moment = moment + mean[:, None] * mean[None, :]
        values, vectors = xp.linalg.eigh(moment)
        found = to_host(values)[::-1].copy()
        found[found < found.size * np.finfo(np.float64).eps * max(found[0], 0.0)] = 0.0
        return found, vectors

    def pooled_eigen(self) -> tuple[Floats, Floats]:
        """Eigenvalues (D,) of the second moment of all rows about their mean, not divided, and vectors (D, D); host."""
        n = float(self._subject.counts.sum())
        total, square = (reduce(add, one.values()) for one in (self._sum, self._square))
        xp = array_namespace(square)
        values, vectors = xp.linalg.eigh(square - total[:, None] * total[None, :] / n)
        return to_host(values), to_host(vectors)


def eigenvalues_of(rows: Array) -> tuple[Floats, Floats]:
    """(min(n, D),) of few rows: eigenvalues of the covariance with divisor n, and singular values of the rows."""
    xp = array_namespace(rows)
    found: list[Floats] = []
    for one in (rows - xp.mean(rows, axis=0), rows):
        gram = one @ one.T if one.shape[0] <= one.shape[1] else one.T @ one
        values = to_host(xp.linalg.eigvalsh(gram))[::-1].copy()
        values[values < values.size * np.finfo(np.float64).eps * max(values[0], 0.0)] = 0.0
        found.append(values)
    return found[0] / rows.shape[0], np.sqrt(found[1])
