"""``penult jobs``: look at long work, wait for it, end it."""

from typing import Any, cast, get_args

import click

from penult.calls.job import Job
from penult.calls.jobs import JobKind, log_pieces
from penult.cli.printing import gives_json, json_of, say
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import Collection, asked
from penult.cli.stored.filters import CARD, LIMIT, filters
from penult.client import Client
from penult.types import JobState

WAITS = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the job has ended.")


def job_json(job: Job[Any]) -> dict[str, Any]:
    """A job as JSON."""
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "title": job.title,
        "stage": job.stage,
        "attempt": job.attempt,
        "name": job.name,
        "tags": list(job.tags),
        "note": job.note,
        "user": job.user,
        "created": json_of(job.created),
        "error": None if job.error is None else {"kind": job.error.kind, "message": job.error.message},
        "deleted": list(job.deleted),
        "result": json_of(job.result) if _has_result(job) else None,
        "notes": json_of(job.notes),
    }


def job_text(job: Job[Any]) -> str:
    """What a job made, or how it stands."""
    if job.deleted:
        return f"{job}\nwhat it made was deleted: {', '.join(job.deleted)}"
    if not _has_result(job):
        return str(job)
    made: object = job.result
    # Of an extraction: the sets by their splits, each of which names its own.
    return "\n".join(map(str, cast("dict[str, object]", made).values())) if isinstance(made, dict) else str(made)


def _has_result(job: Job[Any]) -> bool:
    """Whether what a job made is there."""
    return job.state == "succeeded" and not job.deleted


def follow(job: Job[Any], *, wait: bool, as_json: bool) -> None:
    """Wait for a job where that was asked, then print what it made, or how it stands. Raises what `Job.wait` does."""
    if wait:
        job.wait(progress=False if as_json else None)
    said = f"{job}\nfollow it: penult jobs watch {job.id}" if not job.ended else job_text(job)
    say(job_json(job), as_json=as_json, text=lambda: said)


JOBS = Collection(
    "jobs",
    "Look at jobs, wait for them, end them",
    one="job",
    given_as="an id, the start of one (at least 4 characters), or a name",
    to_json=job_json,
    to_text=job_text,
)


@JOBS.group.command("list")
@click.option("--state", "states", multiple=True, type=click.Choice(get_args(JobState)), help="May be repeated.")
@click.option("--kind", type=click.Choice(get_args(JobKind)), help="Of this sort alone.")
@filters("dataset", *CARD)
@LIMIT
@gives_json
@asks_a_server()
def listed(client: Client, as_json: bool, **wanted: Any) -> None:
    """Jobs, newest first."""
    JOBS.say_all(client.jobs.list(**asked(wanted)), as_json=as_json)


JOBS.shows()
JOBS.describes()


@JOBS.group.command()
@click.argument("job")
@gives_json
@asks_a_server()
def watch(client: Client, job: str, as_json: bool) -> None:
    """Wait for JOB, and print what it made. Ctrl-C ends the waiting alone."""
    follow(client.jobs.get(job), wait=True, as_json=as_json)


@JOBS.group.command()
@click.argument("job")
@click.option("--last", type=click.IntRange(min=1), metavar="BYTES", help="The end of the log alone.")
@asks_a_server()
def logs(client: Client, job: str, last: int | None) -> None:
    """Print what the work of JOB has printed, so far."""
    for piece in log_pieces(client.connection, job, -(last or 0), timeout=30):
        click.echo(piece, nl=False)


@JOBS.group.command()
@click.argument("job")
@gives_json
@asks_a_server()
def cancel(client: Client, job: str, as_json: bool) -> None:
    """End JOB early."""
    found = client.jobs.get(job).cancel()
    say(job_json(found), as_json=as_json, text=lambda: str(found))
