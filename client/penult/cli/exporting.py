"""``penult export``: a checkpoint or features, out to this machine."""

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


@click.command(epilog="penult export 1a2b birds --head my-dfr; penult export footwear/val val.npz")
@click.argument("thing")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--format", type=click.Choice(EVERY), help=f"Of a checkpoint: {', '.join(OF_CHECKPOINTS)}; else of features."
)
@click.option("--head", metavar="REFIT", help="Of a checkpoint: a stored refit in the place of its own head.")
@click.option("--overwrite", is_flag=True, help="Of a checkpoint: replace an earlier export there.")
@gives_json
@asks_a_server()
def export(
    client: Client, thing: str, path: Path, format: str | None, head: str | None, overwrite: bool, as_json: bool
) -> None:
    """Write THING, a checkpoint or features, to PATH on this machine; see penult checkpoints export and penult features
    export."""
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


COMMANDS = (export,)
