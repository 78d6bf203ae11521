"""Calibration by group, beside what a calibrated head would show at that many rows."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.loss import log_softmax
from penult_kernels.panels.panel import Panel, PanelDefinition, PanelValue, PartKind, Scored

Floats = NDArray[np.float64]
BINS = 15
DRAWS = 200
SOURCE = "Guo et al. 2017; null: labels drawn from the head's own probabilities, 200 times"
RANGE = (1e-3, 1e3)
"""Temperatures that are looked at."""


def _defined(id: str, formula: str, direction: str = "lower") -> PanelDefinition:
    return PanelDefinition(id=id, panel="calibration", formula=formula, source=SOURCE, direction=direction)


DEFINITIONS = (
    _defined("calibration_error", "sum_b n_b / n |accuracy_b - mean confidence_b|, 15 bins of equal width"),
    _defined("adaptive_calibration_error", "the same with 15 bins of equally many rows, by confidence"),
    _defined("classwise_calibration_error", "mean over classes of the same for 1[y = c] and p_c, equal width"),
    _defined("largest_calibration_error", "max_b |accuracy_b - mean confidence_b|, 15 bins of equal width"),
    _defined("temperature", "T > 0 of least mean log-loss of softmax(logits / T)", "neither"),
)
ERRORS = tuple(one.id for one in DEFINITIONS[:4])


def compute(rows: Scored) -> Iterator[PanelValue]:
    """Over all rows, by attribute value and group."""
    for part, inside in rows.parts(PartKind.ALL, PartKind.ATTRIBUTE, PartKind.GROUP):
        n = int(inside.sum())
        if not n:
            yield from (PanelValue(id=one.id, part=part, note="the part is empty") for one in DEFINITIONS)
            continue
        p, y = rows.p[inside], rows.y[inside]
        kind = list(PartKind).index(part.kind)
        rng = np.random.default_rng([rows.seed, 1 + kind, part.index + 1])
        found, null = errors(p, y), _null(p, rng)
        for place, id in enumerate(ERRORS):
            low, high = np.quantile(null[:, place], [0.025, 0.975]).tolist()
            yield PanelValue(
                id=id,
                part=part,
                value=float(found[place]),
                n=n,
                null=float(null[:, place].mean()),
                null_low=low,
                null_high=high,
            )
        value = temperature(rows.logits[inside], y)
        note = "" if math.isfinite(value) else f"no minimum between {RANGE[0]:g} and {RANGE[1]:g}"
        yield PanelValue(id="temperature", part=part, value=value, n=n, note=note)


def _null(p: Floats, rng: np.random.Generator) -> Floats:
    """(DRAWS, 4) errors of labels that are drawn from p."""
    cumulative = np.cumsum(p, axis=1)
    cumulative[:, -1] = 1.0
    return np.stack([errors(p, (rng.random((len(p), 1)) > cumulative).sum(axis=1)) for _ in range(DRAWS)])


def errors(p: Floats, y: NDArray[np.int64]) -> Floats:
    """(4,) of probabilities (n, K) and classes (n,).

    >>> import numpy as np
    >>> p, y = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 0, 0])
    >>> naive = (abs(1 - 0.9) + abs(0 - 0.8) + abs(1 - 0.7)) / 3  # each row in a bin of its own
    >>> bool(np.isclose(errors(p, y)[0], naive))
    True
    """
    confidence, right = p.max(axis=1), (p.argmax(axis=1) == y).astype(np.float64)
    width = _bins_of_equal_width(confidence)
    ranks = np.empty(len(p), dtype=np.int64)
    ranks[np.argsort(confidence, kind="stable")] = np.arange(len(p))
    each = [_gap(_bins_of_equal_width(p[:, c]), p[:, c], (y == c).astype(np.float64)) for c in range(p.shape[1])]
    surplus = np.bincount(width, weights=right - confidence, minlength=BINS)
    count = np.bincount(width, minlength=BINS)
    largest = float(np.max(np.abs(surplus) / np.maximum(count, 1)))
    adaptive = _gap(ranks * BINS // len(p), confidence, right)
    return np.array([_gap(width, confidence, right), adaptive, np.mean(each), largest])


def _bins_of_equal_width(values: Floats) -> NDArray[np.int64]:
    return np.clip(np.ceil(values * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _gap(bin_of: NDArray[np.int64], expected: Floats, found: Floats) -> float:
    return float(np.abs(np.bincount(bin_of, weights=found - expected, minlength=BINS)).sum() / expected.size)


def temperature(logits: Floats, y: NDArray[np.int64]) -> float:
    """T of least log-loss, by bisection of the derivative in 1/T, which rises; NaN where no minimum is in RANGE.

    >>> import numpy as np
    >>> logits, y = np.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [2.0, 0.0]]), np.array([0, 0, 0, 1])
    >>> bool(np.isclose(temperature(logits, y), 2 / np.log(3)))
    True
    """
    own = logits[np.arange(y.size), y]

    def derivative(inverse: float) -> float:
        p = np.exp(log_softmax(logits * inverse))
        expected: Floats = np.sum(p * logits, axis=1)
        return float((expected - own).mean())

    low, high = 1 / RANGE[1], 1 / RANGE[0]
    if not derivative(low) < 0 < derivative(high):
        return math.nan
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if derivative(middle) < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


PANEL = Panel(name="calibration", definitions=DEFINITIONS, compute=compute)
