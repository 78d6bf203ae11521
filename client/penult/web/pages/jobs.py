"""Jobs, live: all of them, and one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlencode

from starlette.responses import HTMLResponse, Response, StreamingResponse

from penult.calls.job import UNFINISHED
from penult.display.html import Trusted, on_a_page, pairs, text
from penult.results.html.groups import groups_table
from penult.types import JobState
from penult.web import live
from penult.web.charts.of_runs import history_charts
from penult.web.pages.parts import figures, listed, newest
from penult.web.pages.repeating import repeating
from penult.web.rendering import duration, link, path, render, shown, when

if TYPE_CHECKING:
    from penult.calls.job import Job
    from penult.web.asking import Visit

KINDS = ("finetune", "extract", "register_dataset", "import_checkpoint", "merge", "merge_curve", "merge_report")
MOST_JOBS = 500
LOG_BYTES = 6000
"""Bytes of a log's end that are shown."""
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
        return f"took {duration((finished - started).total_seconds())}"
    if job.state != "running" or started is None or job.fraction < 0.02:
        return ""
    return f"about {duration((now - started).total_seconds() * (1 - job.fraction) / job.fraction)}"


async def job(visit: Visit) -> Response:
    """One job: how it stands, its curve, what it has printed, and how to ask for it again."""
    found = await visit.ask(lambda: visit.client.jobs.get(visit.field("id")))
    curve, log = await visit.ask_all(lambda: _curve(visit, found), lambda: _log(visit, found))
    made = Trusted("")
    if found.state == "succeeded" and not found.deleted:
        made = _made(found)
    return visit.page(
        found.name or found.title,
        template="job.html",
        job=found,
        standing=standing(found),
        curve=curve,
        log=log,
        made=made,
        repeating=repeating(found),
        is_over=found.ended,
        job_path=path("jobs", found.id),
    )


def standing(job: Job[Any]) -> Trusted:
    """How a job stands."""
    facts = {
        "state": Trusted(f'<span id="state">{SIGNS[job.state]} {job.state}</span>'),
        "what": job.title,
        "id": job.id,
        "whose": job.user,
        "tags": job.tags,
        "note": job.note,
        "asked for": when(job.created),
        "started": when(job.started),
        "ended": when(job.finished),
        "attempt": job.attempt,
        "why": None if job.error is None else job.error.message,
        "deleted since": job.deleted,
    }
    with on_a_page():
        return Trusted(pairs(facts))


def _made(job: Job[Any]) -> Trusted:
    """Links to what a job has made."""
    made: Any = job.result
    if isinstance(made, dict):
        sets: list[tuple[str, Any]] = list(made.items())  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        links = [link(path("features", one.digest), f"features of {split}") for split, one in sets]
    elif job.kind == "finetune":
        links = [link(path("runs", made.id), f"run {made.name or made.id}")]
    elif job.kind in ("import_checkpoint", "merge"):
        checkpoint = getattr(made, "checkpoint", made)
        links = [
            link(path("checkpoints", checkpoint.digest), f"checkpoint {checkpoint.name or checkpoint.digest[:12]}")
        ]
    elif job.kind == "register_dataset":
        links = [link(path("datasets", made.name), f"dataset {made.name}")]
    else:
        return shown(made)
    return Trusted(f"<p>It made: {', '.join(links)}</p>")


async def curve(visit: Visit) -> Response:
    """The figure and table of a job's accuracies so far, alone."""
    found = await visit.ask(lambda: visit.client.jobs.get(visit.field("id")))
    drawn = await visit.ask(lambda: _curve(visit, found))
    # 204: what is on the page stays, where nothing could be read just now.
    return HTMLResponse(drawn) if "<figure" in drawn else Response(status_code=204)


def _curve(visit: Visit, job: Job[Any]) -> Trusted:
    if job.kind != "finetune":
        return Trusted("")
    history = live.history(visit.session, job)
    if not history:
        return Trusted('<p class="none">No accuracies yet: they come with the first epoch.</p>')
    last = {entry.split: entry for entry in sorted(history, key=lambda entry: entry.epoch)}
    with on_a_page():
        table = groups_table({split: entry.metrics for split, entry in last.items()}, "after the newest epoch")
    return Trusted(f"{figures(history_charts(history))}{table}")


async def log(visit: Visit) -> Response:
    """The end of a job's log, alone."""
    found = await visit.ask(lambda: visit.client.jobs.get(visit.field("id")))
    return HTMLResponse(render("log.html", log=await visit.ask(lambda: _log(visit, found))))


def _log(visit: Visit, job: Job[Any]) -> str:
    return visit.client.jobs.log(job, last=LOG_BYTES)


async def events(visit: Visit) -> Response:
    """A job's events, from the one after the last that the browser has had."""
    found = await visit.ask(lambda: visit.client.jobs.get(visit.field("id")))
    given = visit.request.headers.get("last-event-id", "") or visit.field("after")
    after = int(given) if given.isascii() and given.isdecimal() and len(given) < 18 else 0
    stream = live.events(visit.client, found.id, after)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"x-accel-buffering": "no", "cache-control": "no-store"}
    )
