"""``penult export``: a checkpoint or features out to this machine; a run, to a tracker."""

from pathlib import Path
from typing import Any, get_args

import click

from penult.calls.arrays.exporting import FORMATS
from penult.cli.printing import gives_json, say
from penult.cli.serving import asks_a_server
from penult.cli.stored.either import model_or_features
from penult.client import Client
from penult.results.records import Checkpoint
from penult.types import ExportFormat

OF_CHECKPOINTS = get_args(ExportFormat)
EVERY = tuple(dict.fromkeys((*OF_CHECKPOINTS, *FORMATS)))


@click.command(
    epilog="penult export 1a2b birds --head my-dfr; penult export footwear/val val.npz; "
    "penult export my-run --to tensorboard:events"
)
@click.argument("thing")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--to", metavar="TRACKER", help="A run, to tensorboard:DIR, or to a server, mlflow:http://HOST:PORT.")
@click.option(
    "--format", type=click.Choice(EVERY), help=f"Of a checkpoint: {', '.join(OF_CHECKPOINTS)}; else of features."
)
@click.option("--head", metavar="REFIT", help="Of a checkpoint: a stored refit in the place of its own head.")
@click.option("--overwrite", is_flag=True, help="Of a checkpoint: replace an earlier export there.")
@gives_json
@asks_a_server()
def export(
    client: Client,
    thing: str,
    path: Path | None,
    to: str | None,
    format: str | None,
    head: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write THING, a checkpoint or features, to PATH on this machine; see penult checkpoints export and penult features
    export. Or, with --to, a run to a tracker: the same export again changes nothing."""
    if (path is None) == (to is None):
        raise click.UsageError("give a PATH for a checkpoint or features, or --to TRACKER for a run: one of both")
    if to is not None:
        if format is not None or head is not None or overwrite:
            raise click.UsageError("--format, --head and --overwrite go with checkpoints and features, not with --to")
        tracked = _to_tracker(client, thing, to)
        say({"to": tracked} if as_json else tracked, as_json=as_json)
        return
    assert path is not None
    found = model_or_features(client, thing)
    is_model = isinstance(found, Checkpoint)
    legal: tuple[str, ...] = OF_CHECKPOINTS if is_model else FORMATS
    if format is not None and format not in legal:
        sort = "checkpoint" if is_model else "feature set"
        raise click.UsageError(f"{thing} is a {sort}, which is written as {', '.join(legal)}; got --format {format}")
    chosen: Any = format
    if isinstance(found, Checkpoint):
        written = client.checkpoints.export(found, path, format=chosen, head=head, overwrite=overwrite)
    elif head is not None or overwrite:
        raise click.UsageError(f"{thing} is a feature set: --head and --overwrite go with checkpoints")
    else:
        written = client.features.export(found, path, chosen or "npz")
    say({"path": written} if as_json else written, as_json=as_json)


def _to_tracker(client: Client, run: str, to: str) -> str:
    """Write a run to a tracker; where it is there."""
    kind, _, place = to.partition(":")
    if kind not in ("tensorboard", "mlflow") or not place:
        raise click.UsageError(f"--to is tensorboard:DIR or mlflow:http://HOST:PORT; got {to!r}")
    found = client.runs.get(run)
    if kind == "tensorboard":
        from penult.trackers.tensorboard import to_tensorboard

        return str(to_tensorboard(found, Path(place)))
    from penult.trackers.mlflow import to_mlflow

    return f"{place.rstrip('/')} run {to_mlflow(found, client.runs.manifest(found), place)}"


COMMANDS = (export,)
