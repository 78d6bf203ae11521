"""Decisions that are moved after the fit: by the classes' frequencies, and by a threshold for each class."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penult_kernels.panels.panel import ALL, Panel, PanelDefinition, PanelValue, PartKind, Scored, number, proportion

Floats = NDArray[np.float64]
SOURCE = "Menon et al. 2021 (logit adjustment after the fit); offsets from the calibration rows"
STEPS = 20
"""Rounds over the classes at most."""


def _defined(id: str, formula: str) -> PanelDefinition:
    return PanelDefinition(id=id, panel="threshold", formula=formula, source=SOURCE, direction="higher")


RULES = {
    "plain": "argmax logits_c",
    "prior_corrected": "argmax (logits_c - log of class c's share of the calibration rows)",
    "tuned": "argmax (logits_c + b_c), b of the largest worst-group accuracy of the calibration rows, class by class",
}
DEFINITIONS = tuple(
    _defined(f"{rule}_{id}", f"{what} of {formula}")
    for rule, formula in RULES.items()
    for id, what in (
        ("accuracy", "accuracy"),
        ("worst_group", "worst-group accuracy"),
        ("balanced", "mean over classes of the accuracy"),
    )
)


def compute(rows: Scored) -> Iterator[PanelValue]:
    """Over all rows; accuracies by group, too."""
    assert rows.calibration is not None
    held = rows.calibration
    share = np.bincount(held.y, minlength=rows.n_classes) / held.y.size
    missing = bool((share == 0).any())
    offsets = {
        "plain": np.zeros(rows.n_classes),
        "prior_corrected": -np.log(np.where(share > 0, share, 1.0)),
        "tuned": tuned(held),
    }
    for rule, offset in offsets.items():
        if missing and rule != "plain":
            why = "a class has no calibration rows"
            yield from (PanelValue(id=one.id, note=why) for one in DEFINITIONS if one.id.startswith(f"{rule}_"))
            continue
        right = np.argmax(rows.logits + offset, axis=1) == rows.y
        for part, inside in rows.parts(PartKind.ALL, PartKind.GROUP):
            yield proportion(f"{rule}_accuracy", part, int(right[inside].sum()), int(inside.sum()), "the part is empty")
        yield number(f"{rule}_worst_group", ALL, worst(right, rows.g, rows.n_groups), rows.y.size, "no rows")
        yield number(f"{rule}_balanced", ALL, _mean(right, rows.y, rows.n_classes), rows.y.size, "no rows")


def tuned(held: Scored) -> Floats:
    """(K,) offsets: one class after the other takes the best of the offsets at which one of its decisions changes.

    >>> import numpy as np
    >>> logits = np.array([[1.0, 0.0], [1.0, 0.8], [0.9, 0.7], [2.0, 0.0]])
    >>> held = Scored(logits=logits, y=np.array([0, 1, 1, 0]), g=np.array([0, 1, 1, 0]), n_groups=2)
    >>> worst(np.argmax(logits + tuned(held), axis=1) == held.y, held.g, 2)
    1.0
    """
    offset = np.zeros(held.n_classes)
    best = _objective(held, offset)
    for _ in range(STEPS):
        before = best
        for c in range(1, held.n_classes):
            for value in _steps(held, offset, c):
                moved = offset.copy()
                moved[c] = value
                found = _objective(held, moved)
                if found > best:
                    best, offset = found, moved
        if best == before:
            break
    return offset


def _steps(held: Scored, offset: Floats, c: int) -> Floats:
    """Offsets of a class between those at which a row's decision changes, at most 200 of them."""
    moved = held.logits + offset
    others = np.delete(moved, c, axis=1).max(axis=1)
    at = np.unique(others - held.logits[:, c])
    if at.size > 200:
        at = np.quantile(at, np.linspace(0, 1, 200))
    return np.concatenate([[at[0] - 1.0], (at[1:] + at[:-1]) / 2, [at[-1] + 1.0]])


def _objective(held: Scored, offset: Floats) -> tuple[float, float]:
    """Worst-group accuracy, then accuracy."""
    right = np.argmax(held.logits + offset, axis=1) == held.y
    return worst(right, held.g, held.n_groups), float(right.mean())


def worst(right: NDArray[np.bool_], g: NDArray[np.int64], n_groups: int) -> float:
    """Least accuracy of the groups that have rows."""
    return float(np.nanmin(_accuracies(right, g, n_groups)))


def _mean(right: NDArray[np.bool_], y: NDArray[np.int64], n: int) -> float:
    return float(np.nanmean(_accuracies(right, y, n)))


def _accuracies(right: NDArray[np.bool_], labels: NDArray[np.int64], n: int) -> Floats:
    count = np.bincount(labels, minlength=n)
    return np.bincount(labels, weights=right, minlength=n) / np.where(count > 0, count, np.nan)


PANEL = Panel(name="threshold", definitions=DEFINITIONS, compute=compute, needs_calibration=True)
