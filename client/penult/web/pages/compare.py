"""Runs and refits side by side; runs that differ in their seed alone as mean and range."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import Response

from penult.display.html import Row, Trusted, on_a_page, table, text
from penult.errors import invalid
from penult.results.refits import Refit
from penult.web.pages.parts import MOST_LISTED, paragraph
from penult.web.rendering import joined, link, path, render

if TYPE_CHECKING:
    from penult.results.lists.stored import ResultSummary
    from penult.results.metrics import Metrics
    from penult.results.records import Run
    from penult.web.asking import Visit

MOST = 6
"""Columns that are compared at once; the runs of one column are not counted."""
MOST_RUNS = 60
"""Runs of all columns."""


@dataclass(frozen=True, slots=True)
class Column:
    """What stands in one column: one refit, one run, or the runs of one recipe."""

    name: str
    heading: Trusted
    metrics: tuple[Metrics, ...]
    facts: tuple[tuple[str, str], ...]


async def compare(visit: Visit) -> Response:
    """Up to six runs or refits; without any, a form to choose them by."""
    runs = visit.request.query_params.getlist("run")
    refits = visit.request.query_params.getlist("refit")
    split = visit.field("split") or "test"
    known, answers = await visit.ask_all(
        lambda: visit.client.runs.list(limit=MOST_LISTED),
        lambda: visit.client.results.list(kind="refit", limit=MOST_LISTED),
    )
    form = render(
        "compare_form.html",
        runs=[
            (one.id, f"{one.name or one.id[:12]}: {one.spec.dataset}, {one.spec.balance}, seed {one.spec.seed}")
            for one in known
        ],
        refits=[(one.digest, _said_of(one)) for one in answers],
        chosen={*runs, *refits},
        split=split,
    )
    if not runs and not refits:
        return visit.page("Compare", paragraph("Choose up to six runs or refits."), form)
    if len(runs) > MOST_RUNS or len(refits) > MOST:
        raise invalid(f"at most {MOST_RUNS} runs and {MOST} refits are compared at once; choose fewer")
    found = await visit.ask_all(*(partial(visit.client.runs.get, id) for id in runs))
    columns = run_columns(found, split)
    for answer in await asyncio.gather(*map(visit.answer, refits)):
        if not isinstance(answer, Refit):
            raise invalid(f"refits are compared with runs; {type(answer).__name__} {answer.digest[:12]} is none")
        columns.append(_refit_column(answer, split))
    if len(columns) > MOST:
        raise invalid(f"at most {MOST} columns are compared at once; these are {len(columns)}: choose fewer")
    return visit.page("Compare", *comparison(columns, split), form)


def _said_of(refit: ResultSummary) -> str:
    """A refit as an option: refits of equal settings differ in what they reached."""
    reached = "".join(f", worst {one.worst_group_accuracy:.3f} on {one.evaluated_on}" for one in refit.scores[:1])
    return f"{refit.name or refit.digest[:12]}: {refit.title}{reached}"


def run_columns(runs: Sequence[Run], split: str, *, linked: bool = True) -> list[Column]:
    """A column for each recipe; runs that differ in their seed alone share one. `linked`: to the pages of the runs."""
    together: dict[str, list[Run]] = {}
    for run in runs:
        recipe = {**run.spec.arguments(), "seed": None}
        together.setdefault(repr(sorted(recipe.items())), []).append(run)
    return [_run_column(one, split, linked) for one in together.values()]


def _run_column(runs: Sequence[Run], split: str, linked: bool) -> Column:
    first = runs[0]
    names = [(path("runs", run.id), run.name or run.id[:8]) for run in runs]
    links = [link(to, name) if linked else text(name) for to, name in names]
    seeds = ", ".join(f"{run.spec.seed}" for run in runs)
    metrics = tuple(run.metrics(split) for run in runs if any(entry.split == split for entry in run.history))
    facts = (
        ("what", f"run of {first.spec.backbone.rsplit('/', 1)[-1]} on {first.spec.dataset}"),
        ("balance", str(first.spec.balance)),
        ("epochs", f"{first.spec.epochs}"),
        ("seeds", seeds),
    )
    return Column(first.name or first.id[:12], joined(_with_commas(links)), metrics, facts)


def _refit_column(refit: Refit, split: str) -> Column:
    name = refit.name or refit.digest[:12]
    metrics = refit.metrics.get(split) or next(iter(refit.metrics.values()), None)
    facts = (
        ("what", f"refit {refit.settings.preset or ''}"),
        ("balance", str(refit.settings.balance)),
        ("fitted with", ", ".join(refit.strengths())),
        ("certificate", refit.certificate.in_words(stopped_early=refit.settings.path is not None)),
    )
    heading = link(path("results", refit.digest), name)
    return Column(name, heading, () if metrics is None else (metrics,), facts)


def _with_commas(links: Sequence[str]) -> list[str]:
    return [f"{', ' if place else ''}{one}" for place, one in enumerate(links)]


def comparison(columns: Sequence[Column], split: str) -> list[Trusted]:
    """The settings of every column, and its accuracies, worst groups marked."""
    names = list(dict.fromkeys(name for column in columns for name, _ in column.facts))
    settings = [(name, *(dict(column.facts).get(name, "") for column in columns)) for name in names]
    groups = list(dict.fromkeys(group.name for column in columns for one in column.metrics for group in one.groups))
    rows = [
        Row(("average", *(_spread([one.average_accuracy for one in column.metrics]) for column in columns)), True),
        Row(
            ("worst group", *(_spread([one.worst_group_accuracy for one in column.metrics]) for column in columns)),
            True,
        ),
        *(Row((name, *(_of_group(column, name) for column in columns))) for name in groups),
    ]
    header = ["", *(column.heading for column in columns)]
    with on_a_page():
        parts = [
            table(header, settings, caption="what they are", n_text=len(header)),
            table(
                header, rows, caption=f"accuracies on {split}: of several seeds their mean, with smallest and largest"
            ),
        ]
    return [Trusted(one) for one in parts]


def _of_group(column: Column, name: str) -> str:
    found: list[float] = []
    is_worst = bool(column.metrics)
    for metrics in column.metrics:
        places = [place for place, group in enumerate(metrics.groups) if group.name == name]
        found += [float(metrics.group_accuracy[place]) for place in places]
        is_worst = is_worst and metrics.worst_group.name == name
    return f"{_spread(found)}{' ▼ worst' if is_worst else ''}"


def _spread(values: Sequence[float]) -> str:
    there = [value for value in values if not math.isnan(value)]
    if not there:
        return "–"
    mean = sum(there) / len(there)
    return (
        f"{mean:.3f}" if len(there) == 1 else f"{mean:.3f} ({min(there):.3f} to {max(there):.3f}, {len(there)} seeds)"
    )
