"""Whether the gradients of the rows' losses by the head agree, within parts and between them."""

import math
from collections.abc import Iterator

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import Array, asarray_like, to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.shared.context import Block, Context
from penult_kernels.loss import log_softmax

Floats = NDArray[np.float64]
MOST_PAIRS = 2000
"""Pairs of parts that have values of their own."""
MOST_BYTES = 2**28
"""Bytes of the gradients of all parts under all draws: with more there are no draws."""


def _defined(id: str, formula: str, parts: str, direction: Direction, lowest: float, highest: float) -> Definition:
    return Definition(
        id=id,
        family="gradients",
        formula=formula,
        source="Chatterjee 2020; Chatterjee & Zielinski 2022 (m-coherence), exactly for the last layer, bias included",
        direction=direction,
        needs=frozenset({Need.LABELS, Need.LOGITS}),
        parts=parts,
        interval=Interval.BOOTSTRAP,
        cost="n D K R",
        lowest=lowest,
        highest=highest,
    )


ALPHA = _defined(
    "gradient_coherence",
    "|mean g|^2 / mean |g|^2, g_i = (p_i - onehot(y_i)) (x) [z_i, 1]; 1 of equal gradients, null 1/n of orthogonal",
    "all, part",
    Direction.NEITHER,
    0.0,
    1.0,
)
COUNT = _defined(
    "gradient_m",
    "n |mean g|^2 / mean |g|^2, g_i = (p_i - onehot(y_i)) (x) [z_i, 1]: how many rows a step for one row helps",
    "all, part",
    Direction.NEITHER,
    0.0,
    math.inf,
)
CONFLICT = _defined(
    "gradient_conflict",
    "cosine of mean g of two parts, g_i = (p_i - onehot(y_i)) (x) [z_i, 1]; below 0 what helps one hurts the other",
    "pair",
    Direction.HIGHER,
    -1.0,
    1.0,
)


class GradientSums:
    """By part and weighting: sum of w, of w g (K (D + 1)), and of w |g|^2."""

    def __init__(self, context: Context) -> None:
        self._subject, self._draws = context.subject, context.draws
        n_parts, k, d = context.subject.n_parts, context.subject.n_classes, context.subject.rows.shape[1]
        fits = 8 * context.draws.count * n_parts * k * (d + 1) <= MOST_BYTES
        self.count = context.draws.count if fits else 1
        """Weightings that are summed: the rows as they are, and the draws where there is memory for them."""
        self.weight: Floats = np.zeros((self.count, n_parts))
        self.square: Floats = np.zeros((self.count, n_parts))
        self.total: Floats = np.zeros((self.count, n_parts, k, d + 1))

    def add(self, block: Block) -> None:
        """Take in some rows."""
        xp = array_namespace(block.z)
        e = residuals(self._subject.logits_of(block.rows, block.z), self._subject.y[block.rows])
        norm = to_host(xp.sum(e * e, axis=1) * (xp.sum(block.z * block.z, axis=1) + 1.0))
        part, weights = self._subject.part[block.rows], self._draws.weights[block.rows, : self.count]
        for p in np.unique(part).tolist():
            rows = np.flatnonzero(part == p)
            w, place = weights[rows].astype(np.float64), asarray_like(rows, block.z)
            z, of_rows = xp.take(block.z, place, axis=0), xp.take(e, place, axis=0)
            self.weight[:, p] += w.sum(axis=0)
            self.square[:, p] += norm[rows] @ w
            on_device = asarray_like(np.ascontiguousarray(w.T), z)
            for c in range(self._subject.n_classes):
                weighted = on_device * of_rows[:, c][None, :]
                self.total[:, p, c, :-1] += to_host(weighted @ z)
                self.total[:, p, c, -1] += to_host(xp.sum(weighted, axis=1))


def residuals(logits: Array, y: NDArray[np.int64]) -> Array:
    """(n, K) p - onehot(y), float64."""
    xp = array_namespace(logits)
    every: NDArray[np.int64] = np.arange(int(logits.shape[1]), dtype=np.int64)
    classes = asarray_like(every, logits)
    is_label = asarray_like(y, logits)[:, None] == classes[None, :]
    return xp.exp(log_softmax(logits)) - xp.astype(is_label, xp.float64)


def coherence(total: Floats, square: Floats, weight: Floats) -> Floats:
    """|sum w g|^2 / (sum w) / (sum w |g|^2), of (..., K, D + 1) and (...); NaN without a gradient.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> e, z = rng.standard_normal((5, 3)), np.column_stack([rng.standard_normal((5, 2)), np.ones(5)])
    >>> g = np.stack([np.outer(a, b).ravel() for a, b in zip(e, z)])
    >>> naive = np.sum(g.mean(axis=0) ** 2) / np.mean(np.sum(g**2, axis=1))
    >>> bool(np.isclose(coherence(e.T @ z, np.sum(g**2), 5.0), naive))
    True
    """
    below = np.asarray(square * weight)
    return np.sum(total * total, axis=(-2, -1)) / np.where(below > 0, below, np.nan)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Over all rows, by part, and of pairs of parts."""
    sums, subject = context.get(GradientSums), context.subject
    pooled = coherence(sums.total.sum(axis=1), sums.square.sum(axis=1), sums.weight.sum(axis=1))
    by_part = coherence(sums.total, sums.square, sums.weight)
    for definition in (ALPHA, COUNT):
        if definition.id not in ids:
            continue
        for part in range(-1, subject.n_parts):
            found = pooled if part < 0 else by_part[:, part]
            n = subject.rows.shape[0] if part < 0 else int(subject.counts[part])
            size = sums.weight.sum(axis=1) if part < 0 else sums.weight[:, part]
            null = math.nan if not n else 1 / n if definition is ALPHA else 1.0
            yield _value(context, definition, found * (1 if definition is ALPHA else size), part, n, null)
    if CONFLICT.id in ids:
        yield from _conflicts(context, sums)


def _value(context: Context, definition: Definition, found: Floats, part: int, n: int, null: float) -> Value:
    values = np.full(context.draws.count, np.nan)
    values[: found.size] = found
    note = "" if n else "the part is empty"
    if n and math.isnan(float(values[0])):
        note, null = "no row has a gradient", math.nan
    return context.draws.value(
        definition, values, parts=(part,) if part >= 0 else (), n=n, null=null, note=note, has_matched=part >= 0
    )


def _conflicts(context: Context, sums: GradientSums) -> Iterator[Value]:
    n_parts, counts = context.subject.n_parts, context.subject.counts
    flat = sums.total.reshape(sums.count, n_parts, -1)
    norm = np.sqrt(np.sum(flat * flat, axis=2))
    first, second = np.triu_indices(n_parts, 1)
    is_there = (counts[first] > 0) & (counts[second] > 0)
    for p, q in list(zip(first[is_there].tolist(), second[is_there].tolist(), strict=True))[:MOST_PAIRS]:
        scale = norm[:, p] * norm[:, q]
        found = np.sum(flat[:, p] * flat[:, q], axis=1) / np.where(scale > 0, scale, np.nan)
        values = np.full(context.draws.count, np.nan)
        values[: found.size] = found
        note = "" if math.isfinite(float(values[0])) else "a part has no gradient"
        yield context.draws.value(CONFLICT, values, parts=(p, q), n=int(counts[p] + counts[q]), note=note)
    if not is_there.any():
        yield Value(id=CONFLICT.id, n=int(counts.sum()), note="needs two parts with rows")


def _work(size: Size) -> float:
    fits = 8 * size.draws * size.parts * size.k * (size.d + 1) <= MOST_BYTES
    return float(size.n * size.d * size.k * (size.draws if fits else 1))


DIAGNOSTIC = Diagnostic(
    definitions=(ALPHA, COUNT, CONFLICT),
    compute=compute,
    first=(GradientSums,),
    work=_work,
    memory=lambda size: float(min(MOST_BYTES, 8 * size.draws * size.parts * size.k * (size.d + 1))),
)
