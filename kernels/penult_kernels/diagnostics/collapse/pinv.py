"""Variability within parts along the directions in which their means differ: tr(S_W pinv(S_B)) / P."""

from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like, to_host
from penult_kernels.diagnostics.collapse.variability import ONE_PART, ONE_PLACE
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.diagnostics.shared.sums import RowSums

Floats = NDArray[np.float64]
MOST_DIRECTIONS = 4096
"""Draws times parts: each is a direction that every row is projected on."""
RANK = 1e-10
"""Eigenvalues of S_B above this part of the largest count: P - 1 of them, unless means coincide."""
NC1_PINV = Definition(
    id="nc1_pinv",
    family="nc",
    formula="tr(S_W pinv(S_B)) / P, S_W = (1/n) sum_i (z_i - m_p(i))(z_i - m_p(i))^T, "
    "S_B = (1/P) sum_p (m_p - m)(m_p - m)^T, m = mean of the m_p, not weighted",
    source="Papyan et al. 2020 (NC1); eigenvalues of S_B above 1e-10 of the largest",
    direction=Direction.LOWER,
    needs=frozenset({Need.LABELS}),
    parts="all",
    interval=Interval.BOOTSTRAP,
    cost="n D P R",
    lowest=0.0,
)


class WithinDirections:
    """(R, P, P) A^T S_W A for the centered means A (D, P) of every draw: S_W where S_B is not zero."""

    def __init__(self, context: Context) -> None:
        self._context = context
        sums = context.get(RowSums).of_parts
        self._known = sums.known
        draws = context.draws
        n_draws = draws.count if draws.count * self._known.size <= MOST_DIRECTIONS else 1
        mean = sums.mean[:n_draws, self._known]
        self.centered: Floats = mean - mean.mean(axis=1, keepdims=True)
        """(R', P, D), R' = 1 where there are too many parts for draws."""
        self._weight = sums.weight[:n_draws].sum(axis=1)
        # Every row is compared with its own mean, by the number of its part.
        self._mean_along: Floats = np.einsum("rpd,rqd->prq", mean, self.centered)
        """(P, R', P) each mean along each direction."""
        self._total: Floats = np.zeros((n_draws, self._known.size, self._known.size))

    def add(self, block: Block) -> None:
        """Take in some rows."""
        xp = array_namespace(block.z)
        n_draws, n_parts, d = self.centered.shape
        directions = asarray_like(self.centered.reshape(n_draws * n_parts, d), block.z)
        along = (block.z - self._context.subject.shift) @ directions.T
        part, weights = self._context.subject.part[block.rows], self._context.draws.weights[block.rows, :n_draws]
        for place, p in enumerate(self._known.tolist()):
            rows = np.flatnonzero(part == p)
            if not rows.size:
                continue
            chosen = xp.take(along, asarray_like(rows, along), axis=0)
            chosen = chosen - asarray_like(self._mean_along[place].reshape(-1), along)
            by_draw = xp.permute_dims(xp.reshape(chosen, (rows.size, n_draws, n_parts)), (1, 2, 0))
            w = asarray_like(np.ascontiguousarray(weights[rows].astype(np.float64).T), along)
            self._total += to_host((by_draw * w[:, None, :]) @ xp.permute_dims(by_draw, (0, 2, 1)))

    @property
    def within(self) -> Floats:
        """(R', P, P)"""
        return self._total / self._weight[:, None, None]


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all parts."""
    n = context.subject.rows.shape[0]
    found = context.get(WithinDirections)
    if found.centered.shape[1] < 2:
        yield Value(id=NC1_PINV.id, n=n, note=ONE_PART)
        return
    values = np.full(context.draws.count, np.nan)
    of_draws = within_over_between(found.within, found.centered)
    values[: of_draws.size] = of_draws
    note = "" if np.isfinite(values[0]) else ONE_PLACE
    if of_draws.size < context.draws.count:
        note = f"no interval and no value at matched n: {found.centered.shape[1]} parts are too many directions"
    yield context.draws.value(NC1_PINV, values, n=n, note=note)


def within_over_between(within: Floats, centered: Floats) -> Floats:
    """(R,) tr(S_W pinv(S_B)) / P, from A^T S_W A (R, P, P) and A^T, the centered means (R, P, D).

    S_B = A A^T / P, and pinv(A A^T) = A (A^T A)^+^2 A^T: nothing larger than P x P is decomposed.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> z, p = rng.standard_normal((9, 5)), np.arange(9) % 3
    >>> m = np.stack([z[p == c].mean(axis=0) for c in range(3)])
    >>> a = m - m.mean(axis=0)
    >>> s_w, s_b = (z - m[p]).T @ (z - m[p]) / 9, a.T @ a / 3
    >>> naive = np.trace(s_w @ np.linalg.pinv(s_b, rcond=1e-10)) / 3
    >>> bool(np.isclose(within_over_between((a @ s_w @ a.T)[None], a[None])[0], naive))
    True
    """
    values, vectors = np.linalg.eigh(centered @ np.swapaxes(centered, 1, 2))
    largest = values[:, -1:]
    inverse = np.where(values > RANK * largest, 1 / np.where(values > 0, values, 1.0) ** 2, 0.0)
    along = np.einsum("rpk,rpq,rqk->rk", vectors, within, vectors)
    return np.where(largest[:, 0] > 0, np.sum(inverse * along, axis=1), np.nan)


def _work(size: Size) -> float:
    draws = size.draws if size.draws * size.parts <= MOST_DIRECTIONS else 1
    return size.n * size.d * size.draws + size.n * size.d * size.parts * draws


DIAGNOSTIC = Diagnostic(
    definitions=(NC1_PINV,), compute=compute, first=(RowSums,), second=(WithinDirections,), work=_work
)
