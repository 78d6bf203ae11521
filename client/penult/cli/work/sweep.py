"""``penult sweep``: the finetunings of a file."""

from pathlib import Path
from typing import Any, cast

import click

from penult.calls.job import Job
from penult.calls.job_group import JobGroup
from penult.calls.jobs import check
from penult.cli.printing import gives_json, json_of, say, table
from penult.cli.serving import asks_a_server
from penult.cli.stored.jobs import job_json
from penult.cli.work.sweep_file import Request, about, read_sweep
from penult.client import Client
from penult.errors import PenultError
from penult.results.lists.listing import cell
from penult.results.records import Run
from penult.wire.recipes import finetuning
from penult_proto.v1.jobs_pb2 import JobSpec

CHECK_SECONDS = 60.0
"""Limit of the check of one finetuning."""
EXAMPLE = """\b
[common]
dataset = "footwear"
backbone = "tf_efficientnet_lite0"
tags = ["pilot"]
[grid]                       # every combination of these
seed = [0, 1, 2]
optimizer.learning_rate = [1e-4, 1e-3]
[[runs]]                     # for each of these
balance = "none"
[[runs]]
balance = "mixture"
ratio = 2
by = "class"
"""


@click.command(epilog=EXAMPLE)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="List the finetunings, and start none.")
@click.option("--wait/--no-wait", default=False, show_default=True, help="Wait until all have ended.")
@gives_json
@asks_a_server(starts=True)
def sweep(client: Client, file: Path, dry_run: bool, wait: bool, as_json: bool) -> None:
    """Start the finetunings of a TOML FILE, and list their jobs.

    Its keys are the arguments of penult finetune. The server checks all of them before the first is started.
    Equal finetunings are one job: the same file again starts nothing that runs or has succeeded, and shows how it
    stands.
    """
    requests = read_sweep(file)
    for request in requests:
        with about(file, request.flat):
            spec, card = finetuning(request.arguments)
            check(client.connection, JobSpec(finetune=spec), card=card, timeout=CHECK_SECONDS)
    if dry_run:
        say([request.flat for request in requests], as_json=as_json, text=lambda: _table(requests))
        return
    group = JobGroup([_started(client, file, request) for request in requests])
    try:
        if wait:
            group.wait(progress=not as_json)
    except PenultError:
        _show(requests, group.jobs, as_json=as_json)
        raise
    _show(requests, group.jobs, as_json=as_json)


def _started(client: Client, file: Path, request: Request) -> Job[Run]:
    with about(file, request.flat):
        return client.finetune(**request.arguments)


def _show(requests: list[Request], jobs: tuple[Job[Run], ...], *, as_json: bool) -> None:
    answer = [
        {"arguments": json_of(request.flat), **job_json(job)} for request, job in zip(requests, jobs, strict=True)
    ]
    say(answer, as_json=as_json, text=lambda: _table(requests, jobs))


def _table(requests: list[Request], jobs: tuple[Job[Run], ...] | None = None) -> str:
    """A row for each, with what differs between them."""
    names = list(dict.fromkeys(name for request in requests for name in request.flat))
    differing = [name for name in names if len({repr(request.flat.get(name)) for request in requests}) > 1]
    shown = differing or names
    rows: list[list[Any]] = [[cell(_plain(request.flat.get(name))) for name in shown] for request in requests]
    if jobs is None:
        return table(shown, rows)
    return table(["id", "state", *shown], [[job.id, job.state, *row] for job, row in zip(jobs, rows, strict=True)])


def _plain(value: Any) -> Any:
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value
