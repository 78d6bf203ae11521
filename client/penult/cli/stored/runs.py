"""``penult runs``: finished finetunings, averages over seeds, manifests."""

from typing import Any

import click

from penult.cli.printing import details, gives_json, say
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import Collection, asked
from penult.cli.stored.filters import CARD, filters
from penult.client import Client
from penult.results.lists.run_table import METRICS
from penult.results.records import Run


def run_text(run: Run) -> str:
    """A run, with the metrics of its last epoch on every split."""
    last = {entry.split: entry for entry in sorted(run.history, key=lambda entry: entry.epoch)}
    scores = "".join(f"\n\n{split}, epoch {entry.epoch:g}\n{entry.metrics}" for split, entry in last.items())
    return f"{details(run, without=('history',))}{scores}"


RUNS = Collection(
    "runs",
    "Finished finetunings",
    one="run",
    given_as="an id, the start of one (at least 4 characters), or a name",
    to_text=run_text,
)
RUNS.lists("dataset", "backbone", *CARD, title="Finished runs")
RUNS.shows()
RUNS.describes()


@RUNS.group.command(
    "table", epilog="penult runs table --dataset waterbirds --by balance --by optimizer.learning_rate --over seed"
)
@click.option("--by", multiple=True, metavar="FIELD", help="A field of the recipe whose values make a row each.")
@click.option("--over", multiple=True, metavar="FIELD", default=("seed",), show_default=True, help="What is averaged.")
@click.option("--across", multiple=True, metavar="FIELD", help="A field that may differ within a row besides.")
@click.option("--split", default="test", show_default=True, help="Where the metrics were measured.")
@click.option(
    "--metric",
    multiple=True,
    type=click.Choice(METRICS),
    metavar="METRIC",
    default=("worst_group_accuracy", "average_accuracy"),
    show_default=True,
    help="May be repeated.",
)
@click.option("--epoch", type=float, default=-1, show_default=True, help="After which epoch; -1 for the last.")
@filters("dataset", "backbone", *CARD)
@gives_json
@asks_a_server()
def averages(client: Client, as_json: bool, **options: Any) -> None:
    """Mean, standard deviation and number of runs, a row for each combination of --by.

    Fields are those of a finetuning, such as balance, ratio or optimizer.learning_rate. Runs of a row must be equal in
    everything else, but for what --over and --across name.
    """
    say(client.runs.table(**asked(options)), as_json=as_json)


@RUNS.group.command()
@click.argument("run")
@gives_json
@asks_a_server()
def manifest(client: Client, run: str, as_json: bool) -> None:
    """What is needed to run RUN again."""
    found = client.runs.manifest(run)
    say(found, as_json=as_json, text=lambda: details(found))
