"""``penult checkpoints``: stored models, their export and import."""

from pathlib import Path
from typing import Any, get_args

import click

from penult.cli.printing import gives_json, say
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import Collection, asked
from penult.cli.stored.filters import CARD
from penult.cli.stored.jobs import WAITS, follow
from penult.cli.values import ListOf
from penult.client import Client
from penult.types import ExportFormat, FileHead, ForeignObjects, PoolingName

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
    written = client.checkpoints.export(checkpoint, path, format=format, head=head, overwrite=overwrite)
    say({"path": written} if as_json else written, as_json=as_json)


@CHECKPOINTS.group.command(
    "import", epilog="penult checkpoints import erm.ckpt --backbone resnet50 --class landbird --class waterbird"
)
@click.argument("source", metavar="FILE")
@click.option("--backbone", help="The architecture of a file: a timm model, or a hub name; a directory says itself.")
@click.option("--dataset", help="What it was trained on, if the server has it.")
@click.option("--attribute", help="Of the dataset; its first by default.")
@click.option("--class", "classes", multiple=True, help="Name of a row of the head, in their order; repeat it.")
@click.option(
    "--head",
    type=click.Choice(get_args(FileHead)),
    default="keep",
    show_default=True,
    help="The one in the files, or a new one.",
)
@click.option("--on-server", is_flag=True, help="FILE is an absolute path on the server's machine.")
@click.option(
    "--foreign-objects",
    type=click.Choice(get_args(ForeignObjects)),
    default="refuse",
    show_default=True,
    help="What to do about other objects than tensors in a PyTorch file; they are never made or run.",
)
@click.option("--image-size", type=int, help="Side in pixels of the images that it reads.")
@click.option("--image-resize", type=int, help="Shorter side before the center crop.")
@click.option("--image-mean", type=ListOf(click.FLOAT), help="Of pixels in 0 .. 1: three numbers, with commas.")
@click.option("--image-std", type=ListOf(click.FLOAT), help="The same, their standard deviation.")
@click.option("--interpolation", help="bilinear, bicubic or another of Pillow's.")
@click.option("--max-tokens", type=int, help="Tokens kept of each text.")
@click.option("--pooling", type=click.Choice(get_args(PoolingName)), help="What the head of a model of texts reads.")
@click.option("--seed", type=int, help="Of a new head.")
@click.option("--name", help="To find it by.")
@click.option("--tag", "tags", multiple=True, help="To find it by; may be repeated.")
@click.option("--note", help="For people.")
@WAITS
@gives_json
@asks_a_server(starts=True)
def import_(client: Client, source: str, wait: bool, as_json: bool, **options: Any) -> None:
    """Import a model that was trained elsewhere, with its head, from FILE: weights, or a directory of timm or
    transformers."""
    follow(client.checkpoints.import_(source, **asked(options)), wait=wait, as_json=as_json)
