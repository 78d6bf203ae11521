"""How well a linear probe reads each column of labels off the features, also where the class is known already."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.diagnostics.definition import Definition, Diagnostic, Direction, Interval, Need, Size, Value
from penult_kernels.diagnostics.probes.outcomes import FOLDS, Outcomes, folds_of, shuffled_within
from penult_kernels.diagnostics.shared.context import Context
from penult_kernels.linear.solve import Problem, Standardize, solve
from penult_kernels.loss import log_softmax
from penult_kernels.rows import ArrayRows

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def _defined(id: str, formula: str, interval: Interval, lowest: float, highest: float) -> Definition:
    return Definition(
        id=id,
        family="decodability",
        formula=formula,
        source="linear probes (softmax, l2 = probe_l2 on standardised features), each row scored by one fitted to the "
        "other 2 of 3 folds; V-information: Xu et al. 2020; null: the same probes on shuffled labels",
        direction=Direction.NEITHER,
        needs=frozenset({Need.LABELS, Need.MEMORY}),
        parts="column, column given the class",
        interval=interval,
        matched=False,
        cost="probes of every column",
        lowest=lowest,
        highest=highest,
        numbers=("probe_l2",),
    )


ACCURACY = _defined("decodability_accuracy", "share of rows whose value is predicted", Interval.BOOTSTRAP, 0.0, 1.0)
BALANCED = _defined(
    "decodability_balanced_accuracy", "mean over values of the share that is predicted", Interval.BOOTSTRAP, 0.0, 1.0
)
AUROC = _defined(
    "decodability_auroc",
    "area under the ROC curve, mean over values against the rest, log-probabilities of all folds together",
    Interval.NONE,
    0.0,
    1.0,
)
R2 = _defined(
    "decodability_r2", "1 - CE / CE of the values' frequencies (McFadden)", Interval.BOOTSTRAP, -math.inf, 1.0
)
BITS = _defined(
    "decodability_bits",
    "(CE of the values' frequencies - CE) / log 2 (V-information)",
    Interval.BOOTSTRAP,
    -math.inf,
    math.inf,
)
MEASURES = ((ACCURACY, "accuracy"), (BALANCED, "balanced"), (AUROC, "auroc"), (R2, "r2"), (BITS, "bits"))
GIVEN = " given class"
FEW = f"fewer than two values have {FOLDS} rows"


@dataclass(kw_only=True, eq=False)
class Probing:
    """The rows of one question: a column among the rows of one stratum, all of them or one class."""

    rows: Integers
    """Positions of the rows whose value occurs often enough."""
    codes: Integers
    """(n,) values, 0 ... n_values - 1."""
    n_values: int
    fold: Integers
    """(n,) fold of each row."""
    outcomes: Outcomes = field(init=False)

    def __post_init__(self) -> None:
        self.outcomes = Outcomes(self.rows, self.codes, self.n_values)


def compute(context: Context, ids: frozenset[str]) -> Iterator[Value]:
    """Every column of labels, and every column but the class within the classes."""
    subject = context.subject
    classes = np.zeros_like(subject.y), subject.y
    for name, (codes, _) in subject.columns.items():
        for strata, column in zip(classes, (name, name + GIVEN), strict=True):
            if name == "class" and strata is subject.y:
                continue
            found = _probed(context, codes, strata, is_shuffled=False)
            if not found:
                yield from (Value(id=id, column=column, note=FEW) for id in sorted(ids))
                continue
            control = _probed(context, codes, strata, is_shuffled=True)
            yield from _values(context, ids, column, found, control)


def _probed(context: Context, codes: Integers, strata: Integers, *, is_shuffled: bool) -> list[Outcomes]:
    """Outcomes of every stratum in which two values occur often enough."""
    rng = np.random.default_rng([context.draws.seed, 8])
    if is_shuffled:
        codes = shuffled_within(codes, strata, rng)
    askings: list[Probing] = []
    for stratum in np.unique(strata):
        rows = np.flatnonzero((strata == stratum) & (codes >= 0))
        values, counts = np.unique(codes[rows], return_counts=True)
        values = values[counts >= FOLDS]
        if values.size < 2:
            continue
        rows = rows[np.isin(codes[rows], values)]
        own = np.searchsorted(values, codes[rows])
        askings.append(Probing(rows=rows, codes=own, n_values=values.size, fold=folds_of(own, rng)))
    for n_values in {one.n_values for one in askings}:
        _solve(context, [one for one in askings if one.n_values == n_values])
    return [one.outcomes for one in askings]


def _solve(context: Context, askings: list[Probing]) -> None:
    """Fit the probes of all folds together, and score each row by the one that has not seen it."""
    rows = context.subject.rows
    assert isinstance(rows, ArrayRows)
    place = np.arange(rows.shape[0]) if rows.positions is None else rows.positions
    problems: list[Problem] = []
    for one in askings:
        target = np.zeros(int(rows.features.shape[0]), dtype=np.int64)
        target[place[one.rows]] = one.codes
        for fold in range(FOLDS):
            fitted = np.sort(place[one.rows[one.fold != fold]])
            problems.append(
                Problem(rows=fitted, target=target, l2=context.number("probe_l2"), standardize=Standardize.ROWS)
            )
    heads = iter(solve(rows.features, None, askings[0].n_values, problems, tolerance=1e-6, check=context.check))
    for one in askings:
        for fold in range(FOLDS):
            head, held_out = next(heads), one.fold == fold
            z = context.gather(one.rows[held_out])
            xp = array_namespace(z)
            weight, bias = (xp.astype(part, xp.float64) for part in (head.weight, head.bias))
            log_p = to_host(log_softmax(z @ weight.T + bias))
            prior = np.bincount(one.codes[~held_out], minlength=one.n_values) / np.count_nonzero(~held_out)
            one.outcomes.score(held_out, log_p, np.log(prior))


def _values(
    context: Context, ids: frozenset[str], column: str, found: list[Outcomes], control: list[Outcomes]
) -> Iterator[Value]:
    n = sum(one.rows.size for one in found)
    total = context.subject.rows.shape[0]
    note = f"{total - n} rows of rare values are left out" if n < total else ""
    weights = context.draws.weights
    whole = np.ones((total, 1), dtype=np.uint8)
    for definition, measure in MEASURES:
        if definition.id not in ids:
            continue
        is_drawn = definition.interval is Interval.BOOTSTRAP
        values = np.full(context.draws.count, np.nan)
        of_draws = combined(found, measure, weights if is_drawn else whole)
        values[: of_draws.size] = of_draws
        null = float(combined(control, measure, whole)[0]) if control else math.nan
        yield context.draws.value(definition, values, column=column, n=n, null=null, note=note)


def combined(found: list[Outcomes], measure: str, weights: NDArray[np.uint8]) -> Floats:
    """(R,) a measure over all strata: of accuracies and areas the mean by rows, of entropies the sums.

    >>> import numpy as np
    >>> one = Outcomes(np.arange(4), np.array([0, 1, 1, 0]), 2)
    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.5, 0.5]])
    >>> one.score(np.ones(4, bool), np.log(p), np.log([0.5, 0.5]))
    >>> naive = 1 - np.mean(-np.log([0.9, 0.6, 0.3, 0.5])) / np.log(2)
    >>> bool(np.isclose(combined([one], "bits", np.ones((4, 1), np.uint8))[0], np.log2(2) - (1 - naive)))
    True
    """
    w = [weights[one.rows].astype(np.float64) for one in found]
    if measure in ("r2", "bits"):
        loss, prior = (
            np.sum([getattr(one, name) @ part for one, part in zip(found, w, strict=True)], axis=0)
            for name in ("loss", "prior")
        )
        rows = np.sum([part.sum(axis=0) for part in w], axis=0)
        return 1 - loss / prior if measure == "r2" else (prior - loss) / np.where(rows > 0, rows, np.nan) / math.log(2)
    each = np.stack([getattr(one, measure)(part) for one, part in zip(found, w, strict=True)])
    size = np.array([one.rows.size for one in found], dtype=np.float64)
    return np.sum(each * size[:, None], axis=0) / size.sum()


def _work(size: Size) -> float:
    return 2.0 * (1 + size.k) * FOLDS * 60 * size.n * size.d


DIAGNOSTIC = Diagnostic(definitions=(ACCURACY, BALANCED, AUROC, R2, BITS), compute=compute, work=_work)
