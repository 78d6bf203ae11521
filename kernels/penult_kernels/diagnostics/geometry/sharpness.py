"""How near rows of different classes come: the steepest that a function with these labels must be."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Value
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.diagnostics.shared.draws import about
from penult_kernels.diagnostics.shared.row_sample import RowSample

Floats = NDArray[np.float64]


def _defined(id: str, formula: str, direction: Direction, interval: Interval, *, matched: bool) -> Definition:
    return Definition(
        id=id,
        family="sharpness",
        formula=formula,
        source="Konz & Mazurowski 2024 (label sharpness), each pair of the drawn rows once",
        direction=direction,
        needs=frozenset({Need.LABELS}),
        parts="part",
        interval=interval,
        matched=matched,
        cost="sharpness_rows^2 D",
        lowest=0.0,
        numbers=("sharpness_rows",),
    )


SHARPNESS = _defined(
    "label_sharpness",
    "max over pairs y_j != y_k of s / |z_j - z_k|, j in the part, s^2 = mean |z - mean z|^2 of the sampled rows",
    Direction.LOWER,
    Interval.NONE,
    matched=False,
)
QUANTILE = _defined(
    "label_sharpness_q999",
    "99.9 % quantile over pairs y_j != y_k of s / |z_j - z_k|, j in the part, s^2 = mean |z - mean z|^2 of the sample",
    Direction.LOWER,
    Interval.NONE,
    matched=False,
)
RATIO = _defined(
    "label_margin_ratio",
    "median over rows j of the part of (distance to the nearest sampled row of another class) / (of its own class)",
    Direction.HIGHER,
    Interval.BOOTSTRAP,
    matched=False,
)
TWO = "needs rows of two classes"


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """By part, all pairs of the sampled rows."""
    positions, rows = context.get(RowSample).all_rows
    subject, draws, most = context.subject, context.draws, int(context.number("sharpness_rows"))
    if positions.size > most:
        chosen = np.sort(np.random.default_rng([draws.seed, 5]).choice(positions.size, most, replace=False))
        positions, rows = positions[chosen], rows[chosen]
    y, part = subject.y[positions], subject.part[positions]
    apart = distances(rows)
    other = y[:, None] != y[None, :]
    square: Floats = np.sum((rows - rows.mean(axis=0)) ** 2, axis=1) if len(rows) else np.zeros(1)
    scale = math.sqrt(float(square.mean()))
    ratio = margin_ratios(apart, other)
    for p in range(subject.n_parts):
        inside = np.flatnonzero(part == p)
        pairs = apart[inside][other[inside]]
        for definition in (SHARPNESS, QUANTILE, RATIO):
            if definition.id in ids:
                yield _value(context, definition, p, pairs, scale, ratio[inside])


def _value(context: Context, definition: Definition, part: int, pairs: Floats, scale: float, ratio: Floats) -> Value:
    n = ratio.size
    if not pairs.size:
        return Value(id=definition.id, parts=(part,), n=n, note=TWO)
    low, high = math.nan, math.nan
    if definition is RATIO:
        known = ratio[np.isfinite(ratio)]
        value = float(np.median(known)) if known.size else math.nan
        if known.size and context.draws.replicates:
            rng = np.random.default_rng([context.draws.seed, 6, part])
            drawn = known[rng.integers(known.size, size=(context.draws.replicates, known.size))]
            low, high = about(value, np.median(drawn, axis=1), definition)
        note = "" if known.size else "no row has another of its class"
    else:
        value, note = sharpness(pairs, scale, 1.0 if definition is SHARPNESS else 0.999), ""
        if not math.isfinite(value):
            note = "rows of different classes are equal"
    return Value(id=definition.id, parts=(part,), value=value, low=low, high=high, n=n, note=note)


def distances(rows: Floats) -> Floats:
    """(n, n) Euclidean distances; of equal rows 0."""
    centered = rows - rows.mean(axis=0) if len(rows) else rows
    square = np.sum(centered * centered, axis=1)
    apart = square[:, None] + square[None, :] - 2 * (centered @ centered.T)
    return np.sqrt(np.where(apart > 1e-14 * square.max(initial=0.0), apart, 0.0))


def sharpness(pairs: Floats, scale: float, level: float) -> float:
    """A quantile of scale / distance; NaN where it is not finite.

    >>> import numpy as np
    >>> z, y = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]]), np.array([0, 1, 1])
    >>> s = np.sqrt(np.mean(np.sum((z - z.mean(axis=0)) ** 2, axis=1)))
    >>> naive = max(s / np.linalg.norm(z[j] - z[k]) for j in range(3) for k in range(3) if y[j] != y[k])
    >>> bool(np.isclose(sharpness(distances(z)[y[:, None] != y], s, 1.0), naive))
    True
    """
    nearest = float(np.quantile(pairs, 1.0 - level))
    return scale / nearest if nearest > 0 else math.nan


def margin_ratios(apart: Floats, other: NDArray[np.bool_]) -> Floats:
    """(n,) distance to the nearest row of another class over that to the nearest of the own; NaN without one."""
    own = ~other
    np.fill_diagonal(own, False)
    with_inf = [np.where(mask, apart, np.inf).min(axis=1, initial=np.inf) for mask in (other, own)]
    far, near = with_inf
    return far / np.where((near > 0) & np.isfinite(near) & np.isfinite(far), near, np.nan)


DIAGNOSTIC = Diagnostic(
    definitions=(SHARPNESS, QUANTILE, RATIO),
    compute=compute,
    first=(RowSample,),
    work=lambda size: float(min(size.n, 50_000) * size.d + 10**6 * (size.d + 20)),
    memory=lambda size: 8.0 * (min(size.n, 50_000) * size.d + 4 * 10**6),
)
