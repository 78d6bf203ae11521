"""``penult datasets``: what can be finetuned on."""

from typing import Any, get_args

import click

from penult.cli.printing import details, gives_json, table
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import Collection, asked
from penult.cli.stored.filters import CARD
from penult.cli.stored.jobs import WAITS, follow
from penult.cli.values import Pair, several
from penult.client import Client
from penult.results.records import Dataset
from penult.types import Layout


def dataset_text(dataset: Dataset) -> str:
    """A dataset, with the groups of every split."""
    rows = [(split.name, group.name, str(group.count)) for split in dataset.splits for group in split.groups]
    return f"{details(dataset, without=('splits',))}\n\n{table(('split', 'group', 'n'), rows)}"


DATASETS = Collection(
    "datasets", "Datasets, packaged and registered", one="dataset", given_as="a name", to_text=dataset_text
)
DATASETS.lists(*CARD, title="Packaged datasets, then registered ones")
DATASETS.shows()
DATASETS.describes(named=False)


@DATASETS.group.command(
    epilog="penult datasets register birds /data/waterbird_complete95_forest2water2 --layout waterbirds"
)
@click.argument("name")
@click.argument("source")
@click.option("--layout", type=click.Choice(get_args(Layout)), default="table", show_default=True, help="Of the files.")
@click.option("--description", default="", help="Where the data come from and under which licence.")
@click.option(
    "--column",
    "columns",
    type=Pair("WHAT=COLUMN", "y=label"),
    multiple=True,
    help="Column of a table that is called otherwise: split, y, path, text, id, attributes or masks. Repeat it for the "
    "second text and for further attributes and masks.",
)
@click.option(
    "--split",
    "splits",
    type=Pair("SPLIT=VALUE", "train=0"),
    multiple=True,
    help="Value of a table's column of splits that a split is; may be repeated.",
)
@click.option("--tag", "tags", multiple=True, help="To find it by; may be repeated.")
@click.option("--note", help="For people.")
@WAITS
@gives_json
@asks_a_server(starts=True)
def register(
    client: Client,
    name: str,
    source: str,
    columns: tuple[tuple[str, str], ...],
    splits: tuple[tuple[str, str], ...],
    wait: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Register the images or texts of SOURCE, a file or directory on the server's machine, as NAME."""
    named: Any = several(columns) or None
    job = client.datasets.register(
        name, source, columns=named, splits=several(splits) or None, wait=False, **asked(options)
    )
    follow(job, wait=wait, as_json=as_json)
