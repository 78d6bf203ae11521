"""All jobs, live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, Response

from penult.calls.job import UNFINISHED
from penult.display.html import Trusted, text
from penult.types import JobState
from penult.web import live
from penult.web.pages.parts import listed, newest
from penult.web.rendering import duration, link, measured, path, when

if TYPE_CHECKING:
    from penult.calls.job import Job
    from penult.web.asking import Visit

KINDS = ("finetune", "extract", "register_dataset", "import_checkpoint", "merge", "merge_curve", "merge_report")
MOST_JOBS = 500
SIGNS = {"queued": "◌", "running": "▶", "cancelling": "◼", "succeeded": "✔", "failed": "✘", "cancelled": "◼"}
"""A sign for each state, so that no state is known by its colour alone."""


async def jobs(visit: Visit) -> Response:
    """All jobs, newest first; the table is asked for again every 2 seconds where scripts run."""
    state, kind = _wanted(visit)
    table = await _table(visit, state, kind)
    return visit.page(
        "Jobs",
        template="jobs.html",
        rows=table,
        rows_path=f"/jobs/rows?{urlencode({'state': state, 'kind': kind})}",
        states=get_args(JobState),
        kinds=KINDS,
        state=state,
        kind=kind,
    )


async def rows(visit: Visit) -> Response:
    """The table alone."""
    return HTMLResponse(await _table(visit, *_wanted(visit)))


def _wanted(visit: Visit) -> tuple[str, str]:
    state, kind = visit.field("state"), visit.field("kind")
    return (state if state in get_args(JobState) else "", kind if kind in KINDS else "")


async def _table(visit: Visit, state: str, kind: str) -> Trusted:
    chosen: dict[str, Any] = {"states": [state] if state else (), "kind": kind or None, "limit": MOST_JOBS}
    found = await visit.ask(
        lambda: visit.session.lately(f"jobs {state} {kind}", lambda: visit.client.jobs.list(**chosen))
    )
    running = [job for job in found if job.state == "running" and job.kind == "finetune"][:8]
    known = dict(
        zip(
            [job.id for job in running],
            await visit.ask_all(*(lambda job=job: live.history(visit.session, job) for job in running)),
            strict=True,
        )
    )
    return table_of(found, known, datetime.now(UTC))


def table_of(found: Sequence[Job[Any]], known: Mapping[str, Any], now: datetime) -> Trusted:
    """Jobs in a line each; `known`: the metrics so far, by the ids of jobs."""
    return listed(
        ("job", "state", "progress", "worst group so far", "whose", "asked for", "left, took"),
        [_row(job, known.get(job.id, ()), now) for job in found],
        caption=f"{newest(found, MOST_JOBS)} jobs, newest first",
        n_text=7,
        none="No job is here: penult finetune starts one, or another filter shows those there are.",
    )


def _row(job: Job[Any], history: Any, now: datetime) -> tuple[str, ...]:
    return (
        link(path("jobs", job.id), job.name or job.title, id=f"job-{job.id}", longest=80),
        f"{SIGNS[job.state]} {job.state}",
        bar(job) if job.state in UNFINISHED else "",
        _worst(history),
        job.user,
        when(job.created, now),
        left(job, now),
    )


def _worst(history: Any) -> str:
    if not history:
        return ""
    last = next((one for one in reversed(history) if one.split == "val"), history[-1])
    return f"▼ {last.metrics.worst_group_accuracy:.3f} {last.metrics.worst_group.name} ({last.split})"


def bar(job: Job[Any]) -> Trusted:
    """How far a job is, as a bar and in words."""
    done = f"{job.fraction:.3f}"
    return Trusted(f'<progress value="{done}" aria-label="done"></progress> {text(job.stage or "waits", 80)}')


def left(job: Job[Any], now: datetime) -> str:
    """How long it took, or will take if it goes on as it went; empty where nothing is known."""
    started, finished = job.started, job.finished
    if started is not None and finished is not None:
        took = (finished - started).total_seconds()
        return measured(took, f"took {duration(took)}")
    if job.state != "running" or started is None or job.fraction < 0.02:
        return ""
    to_come = (now - started).total_seconds() * (1 - job.fraction) / job.fraction
    return measured(to_come, f"about {duration(to_come)}")
