"""Runs averaged over seeds: mean, standard deviation and number, and a refusal to average what differs otherwise."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from penult.arguments.coerce import check_choice, names, number, text
from penult.display.html import Shown, card, table
from penult.errors import NotFound, from_kind, invalid, shown
from penult.results.frames import frame, text_table
from penult.results.lists.listing import cell
from penult.results.metrics import Metrics
from penult.results.records import Run

if TYPE_CHECKING:
    import pandas as pd

METRICS = tuple(name for name, kind in Metrics.__annotations__.items() if kind == "float")
"""Fields of `Metrics` that are numbers."""
DATASET_DIGEST = "dataset_digest"
"""The content of the dataset, which a recipe names but does not hold; compared like its fields."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunTableRow(Shown):
    """Runs that are equal but for what they were averaged over."""

    values: Mapping[str, object]
    """Values of the fields in `by`."""
    mean: Mapping[str, float]
    """By metric; NaN where it is NaN for one of the runs."""
    std: Mapping[str, float]
    """Standard deviation with the divisor n - 1; NaN for one run."""
    runs: tuple[str, ...]
    """Ids of the runs."""

    @property
    def n(self) -> int:
        """Number of runs."""
        return len(self.runs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class RunTable(Shown):
    """Metrics of runs: mean, standard deviation (divisor n - 1) and number, a row for each combination of `by`."""

    by: tuple[str, ...]
    over: tuple[str, ...]
    split: str
    metrics: tuple[str, ...]
    rows: tuple[RunTableRow, ...]
    also_differ: tuple[str, ...]
    """Fields in which rows differ from each other besides `by`: what else could explain a difference between rows."""

    def to_frame(self) -> pd.DataFrame:
        """One row per combination: `by`, ``METRIC_mean`` and ``METRIC_std`` of each metric, ``n``.

        Raises ImportError when pandas is missing.
        """
        columns: dict[str, list[object]] = {name: [row.values[name] for row in self.rows] for name in self.by}
        for metric in self.metrics:
            columns[f"{metric}_mean"] = [row.mean[metric] for row in self.rows]
            columns[f"{metric}_std"] = [row.std[metric] for row in self.rows]
        return frame({**columns, "n": [row.n for row in self.rows]})

    def _cells(self) -> list[list[str]]:
        """What each row shows."""
        return [
            [
                *(str(row.values[name]) if row.values[name] is not None else "-" for name in self.by),
                *(
                    f"{row.mean[one]:.3f} ± {row.std[one]:.3f}" if row.n > 1 else f"{row.mean[one]:.3f}"
                    for one in self.metrics
                ),
                str(row.n),
            ]
            for row in self.rows
        ]

    def _said(self) -> list[str]:
        """What the numbers are, and what else the rows differ in."""
        said = [
            f"mean ± standard deviation (divisor n - 1) over {', '.join(self.over) or 'nothing'}; split {self.split}"
        ]
        return said + ([f"rows also differ in {', '.join(self.also_differ)}"] if self.also_differ else [])

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        header, rows = [*self.by, *self.metrics, "n"], self._cells()
        return card("RunTable", table(header, rows, n_text=len(self.by), most=len(rows)), notes=self._said())

    def __repr__(self) -> str:
        return "\n".join([text_table([*self.by, *self.metrics, "n"], self._cells()), *self._said()])


def run_table(
    runs: Sequence[Run],
    *,
    by: str | Sequence[str],
    over: str | Sequence[str],
    split: str,
    metric: str | Sequence[str],
    epoch: float,
    across: str | Sequence[str],
) -> RunTable:
    """The table of some runs; see `penult.calls.runs.Runs.table`. Raises `InvalidRequest`, `NotFound`."""
    if not runs:
        raise invalid("there is no run to report: nothing was found, or an empty list was given", argument="runs")
    measured = _listed("metric", metric)
    for one in measured:
        check_choice("metric", one, METRICS)
    if not measured:
        raise invalid("metric= needs one at least, such as 'worst_group_accuracy'", argument="metric")
    recipes = [_recipe(run) for run in runs]
    known = list(dict.fromkeys(name for recipe in recipes for name in recipe))
    keys, free, allowed = (
        [path for name in _listed(argument, value) for path in _paths(argument, name, known)]
        for argument, value in (("by", by), ("over", over), ("across", across))
    )
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, recipe in enumerate(recipes):
        groups.setdefault(tuple(repr(recipe.get(name)) for name in keys), []).append(index)
    for members in groups.values():
        _check_alike([(runs[one], recipes[one]) for one in members], {*keys, *free, *allowed}, keys)
    where, after = text("split", split), number("epoch", epoch)
    rows = [
        _row([runs[one] for one in members], recipes[members[0]], keys, measured, where, after)
        for members in groups.values()
    ]
    differing = _differing([recipes[members[0]] for members in groups.values()], {*keys, *free, *allowed})
    return RunTable(
        by=tuple(keys),
        over=tuple(free),
        split=where,
        metrics=tuple(measured),
        rows=tuple(sorted(rows, key=lambda row: [_sortable(row.values[name]) for name in keys])),
        also_differ=tuple(differing),
    )


def _row(
    runs: Sequence[Run],
    recipe: Mapping[str, object],
    keys: Sequence[str],
    metrics: Sequence[str],
    split: str,
    epoch: float,
) -> RunTableRow:
    found = [_metrics(run, split, epoch) for run in runs]
    values = {one: [float(getattr(entry, one)) for entry in found] for one in metrics}
    return RunTableRow(
        values={name: recipe.get(name) for name in keys},
        mean={name: float(np.mean(of)) for name, of in values.items()},
        std={name: _deviation(of) for name, of in values.items()},
        runs=tuple(run.id for run in runs),
    )


def _metrics(run: Run, split: str, epoch: float) -> Metrics:
    """Metrics of a run. Raises `NotFound`, naming the run."""
    try:
        return run.metrics(split, epoch)
    except NotFound as error:
        raise from_kind(error.kind, f"run {run.id}: {error.message}", error.metadata) from None


def _deviation(values: Sequence[float]) -> float:
    """Standard deviation with the divisor n - 1; NaN for one value, and where one is NaN."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _recipe(run: Run) -> dict[str, object]:
    """Every field of a run's recipe by its name, those of a group of options after a dot; and the dataset's content."""
    return {**dict(_leaves(run.spec, "")), DATASET_DIGEST: run.dataset_digest}


def _leaves(options: object, above: str) -> Iterable[tuple[str, object]]:
    for field in fields(cast("Any", options)):
        value = getattr(options, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            # The kind of a group of options, such as AdamW or SGD, distinguishes recipes, too.
            yield f"{above}{field.name}", type(value).__name__
            yield from _leaves(value, f"{above}{field.name}.")
        else:
            yield f"{above}{field.name}", value


def _paths(argument: str, name: str, known: Sequence[str]) -> list[str]:
    """A field by its name; a group of options means every field in it. Raises `InvalidRequest`, listing fields."""
    within = [one for one in known if one.startswith(f"{name}.")]
    if name not in known and not within:
        check_choice(argument, name, known)
    return ([name] if name in known else []) + within


def _check_alike(members: Sequence[tuple[Run, Mapping[str, object]]], told: set[str], keys: Sequence[str]) -> None:
    """Raise `InvalidRequest` unless runs of a row differ in what was told alone, and every recipe is there once."""
    differing = _differing([recipe for _, recipe in members], told)
    row = ", ".join(f"{name}={members[0][1].get(name)!r}" for name in keys) or "the one row"
    if differing:
        values = "; ".join(f"{name}: {_values(name, members)}" for name in differing)
        raise invalid(
            f"the {len(members)} runs of {row} differ in more than is averaged over: {values}. Name what makes rows in "
            f"by=, filter the runs, or allow it with across={differing!r}",
            argument="by",
        )
    seen: dict[str, str] = {}
    for run, recipe in members:
        before = seen.setdefault(repr(sorted((name, repr(value)) for name, value in recipe.items())), run.id)
        if before != run.id:
            raise invalid(
                f"runs {before} and {run.id} of {row} have one recipe: averaging over both would count it twice; give "
                "runs= without one of them",
                argument="runs",
            )


def _values(name: str, members: Sequence[tuple[Run, Mapping[str, object]]]) -> str:
    """The different values of a field, and the first run that has each."""
    found: dict[str, str] = {}
    for run, recipe in members:
        found.setdefault(shown(recipe.get(name)), run.id)
    listed = [f"{value} (run {run})" for value, run in list(found.items())[:4]]
    return ", ".join(listed) + (f" and {len(found) - 4} more" if len(found) > 4 else "")


def _differing(recipes: Sequence[Mapping[str, object]], told: set[str]) -> list[str]:
    """Fields outside `told` in which recipes differ."""
    known = dict.fromkeys(name for recipe in recipes for name in recipe)
    return [name for name in known if name not in told and len({repr(one.get(name)) for one in recipes}) > 1]


def _sortable(value: object) -> tuple[int, float, str]:
    """Numbers in their order, then texts in theirs, then everything else; None first."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, int | float):
        return 1, float(value), ""
    return 2, 0.0, cell(value)


def _listed(argument: str, value: str | Sequence[str]) -> list[str]:
    return [text(argument, value)] if isinstance(value, str) else names(argument, value)
