"""``penult checkpoints``: stored models, and their export."""

from pathlib import Path
from typing import get_args

import click

from penult.cli.printing import gives_json, say
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import Collection
from penult.cli.stored.filters import CARD
from penult.cli.stored.results import refit_of
from penult.client import Client
from penult.types import ExportFormat

CHECKPOINTS = Collection(
    "checkpoints",
    "Stored models",
    one="checkpoint",
    given_as="a digest, the start of one (at least 4 characters), or a name",
)
CHECKPOINTS.lists("dataset", "backbone", "run", *CARD, title="Checkpoints")
CHECKPOINTS.shows()
CHECKPOINTS.describes()


@CHECKPOINTS.group.command(
    epilog="penult checkpoints export 1a2b birds --head my-dfr, then in Python: "
    'timm.create_model("local-dir:birds", pretrained=True)'
)
@click.argument("checkpoint")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--format", type=click.Choice(get_args(ExportFormat)), help="By default the library of the model.")
@click.option("--head", metavar="REFIT", help="A stored refit in the place of its own head: digest or name.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export there.")
@gives_json
@asks_a_server()
def export(
    client: Client,
    checkpoint: str,
    path: Path,
    format: ExportFormat | None,
    head: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write CHECKPOINT into the directory PATH on this machine, which its library loads."""
    written = client.checkpoints.export(
        checkpoint, path, format=format, head=None if head is None else refit_of(client, head), overwrite=overwrite
    )
    say({"path": written} if as_json else written, as_json=as_json)
