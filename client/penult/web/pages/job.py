"""One job, live: how it stands, its accuracies so far, what it has printed, and how to ask for it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, Response, StreamingResponse

from penult.display.html import Trusted, on_a_page, pairs
from penult.results.html.groups import groups_table
from penult.web import live
from penult.web.charts.of_runs import history_charts
from penult.web.pages.jobs import SIGNS
from penult.web.pages.parts import delete_link, figures
from penult.web.pages.repeating import repeating
from penult.web.rendering import link, path, render, shown, when

if TYPE_CHECKING:
    from penult.calls.job import Job
    from penult.web.asking import Visit

LOG_BYTES = 6000
"""Bytes of a log's end that are shown."""


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
        deletes=delete_link(visit, "job", found.id) if found.ended else "",
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
    live.check_streams(visit.session)
    stream = live.events(visit.session, found.id, after)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"x-accel-buffering": "no", "cache-control": "no-store"}
    )
