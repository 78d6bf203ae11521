"""``penult features``: stored features, in from files and out to them."""

from pathlib import Path
from typing import Any, get_args

import click

from penult.calls.arrays.exporting import FORMATS, FileFormat
from penult.cli.printing import details, gives_json, say
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import Collection, asked
from penult.cli.stored.filters import CARD
from penult.cli.values import Pair
from penult.client import Client
from penult.files.group_codes import CODINGS
from penult.files.label_file import label_file
from penult.types import StorageType

LABELS = click.Path(exists=True, path_type=Path)
FEATURES = Collection(
    "features",
    "Stored features",
    one="features",
    given_as="a digest, the start of one (at least 4 characters), a name, or a dataset and a split: footwear/val",
)
FEATURES.lists("dataset", "split", "checkpoint", "backbone", *CARD, title="Feature sets")
FEATURES.shows()
FEATURES.describes()


@FEATURES.group.command(
    epilog="penult features export footwear/val val.npz, then in Python: np.load('val.npz')['features']"
)
@click.argument("features")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--format", type=click.Choice(FORMATS), default="npz", show_default=True, help="How it is written.")
@gives_json
@asks_a_server()
def export(client: Client, features: str, path: Path, format: FileFormat, as_json: bool) -> None:
    """Write FEATURES to the file PATH on this machine (npy: a directory), bit for bit as they are stored."""
    written = client.features.export(features, path, format)
    say({"path": written} if as_json else written, as_json=as_json)


@FEATURES.group.command(
    epilog="penult features load waterbirds.npz --column features=embeddings --n-attributes 2 --group-coding 'y*A+a'; "
    "penult features load dfr.npz --a place.npy"
)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--column",
    "columns",
    type=Pair("WHAT=ARRAY", "features=embeddings"),
    multiple=True,
    help="Which array is what: features, y, a, g, row_id, logits or split; by default the usual names.",
)
@click.option(
    "--metadata",
    type=click.Path(exists=True, path_type=Path),
    help="A table of labels, whose rows are those of PATH in the same order.",
)
@click.option(
    "--y", type=LABELS, help="A file of labels alone, for all rows of PATH: one array, or several of which one is y."
)
@click.option("--a", type=LABELS, help="The same for the attribute.")
@click.option("--split", help="Only the rows of this split.")
@click.option("--n-attributes", type=int, help="Values of the attribute in group numbers.")
@click.option("--group-coding", type=click.Choice(CODINGS), help="How group numbers are made.")
@click.option("--dtype", type=click.Choice(get_args(StorageType)), help="Round or convert to this type.")
@click.option("--class", "classes", multiple=True, help="Name of a class, in the order of the indices; repeat it.")
@click.option("--attribute", help="Name of the attribute.")
@click.option(
    "--attribute-value",
    "attribute_values",
    multiple=True,
    help="Name of a value of the attribute, in order; repeat it.",
)
@click.option("--head", metavar="REFIT", help="The last layer that belongs to them: a stored refit.")
@click.option("--name", help="To find the set by.")
@click.option("--tag", "tags", multiple=True, help="To find the set by; may be repeated.")
@click.option("--note", help="For people.")
@gives_json
@asks_a_server(starts=True)
def load(
    client: Client,
    path: Path,
    columns: tuple[tuple[str, str], ...],
    y: Path | None,
    a: Path | None,
    split: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Store the features of the file or directory PATH on this machine.

    Read are .npz, .npy, .parquet, .safetensors, .pt and .h5 files, directories of .npy files and of clip-retrieval, and
    what `penult features export` wrote. Group numbers mean what --n-attributes and --group-coding say; without them the
    error shows the rows of every group by either coding.
    """
    which = int(split) if split is not None and split.isdecimal() else split
    labels = {role: label_file(file, role) for role, file in (("y", y), ("a", a)) if file is not None}
    stored = client.features.load(path, columns=dict(columns) or None, split=which, **labels, **asked(options))
    say(stored, as_json=as_json, text=lambda: details(stored))
