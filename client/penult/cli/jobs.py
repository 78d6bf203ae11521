"""``penult jobs``: look at long work, wait for it, end it."""

from typing import Any

import click

from penult.calls.jobs import Job
from penult.cli.printing import Listing, gives_json, json_of, say, table
from penult.cli.serving import asks_a_server
from penult.client import Client


@click.group(cls=Listing)
def jobs() -> None:
    """Look at jobs, wait for them, end them; without a word more, list them."""


@jobs.command("list")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Newest jobs shown.")
@gives_json
@asks_a_server()
def listed(client: Client, limit: int, as_json: bool) -> None:
    """Jobs, newest first."""
    found = client.jobs.list(limit=limit)
    rows = [(job.id, job.state, job.title, job.stage) for job in found]
    say([job_json(job) for job in found], as_json=as_json, text=lambda: table(("id", "state", "work", "stage"), rows))


@jobs.command()
@click.argument("job")
@gives_json
@asks_a_server()
def show(client: Client, job: str, as_json: bool) -> None:
    """How JOB stands, and what it made."""
    found = client.jobs.get(job)
    say(job_json(found), as_json=as_json, text=lambda: str(found.result if found.state == "succeeded" else found))


@jobs.command()
@click.argument("job")
@gives_json
@asks_a_server()
def watch(client: Client, job: str, as_json: bool) -> None:
    """Wait for JOB, and print what it made. Ctrl-C ends the waiting alone."""
    found = client.jobs.get(job)
    found.wait(progress=False if as_json else None)
    say(job_json(found), as_json=as_json, text=lambda: str(found.result))


@jobs.command()
@click.argument("job")
@gives_json
@asks_a_server()
def cancel(client: Client, job: str, as_json: bool) -> None:
    """End JOB early."""
    found = client.jobs.get(job).cancel()
    say(job_json(found), as_json=as_json, text=lambda: str(found))


def job_json(job: Job[Any]) -> dict[str, Any]:
    """A job as JSON."""
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "title": job.title,
        "stage": job.stage,
        "attempt": job.attempt,
        "error": None if job.error is None else {"kind": job.error.kind, "message": job.error.message},
        "result": json_of(job.result) if job.state == "succeeded" else None,
    }


COMMANDS = (jobs,)
