"""``penult results``: stored refits, spectra, descriptors, principal angles."""

from typing import Any, get_args

import click

from penult.cli.printing import gives_json
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import Collection, asked
from penult.cli.stored.filters import CARD, LIMIT, filters
from penult.client import Client
from penult.results.refits import Refit
from penult.types import ResultKind


def answer_text(answer: object) -> str:
    """An answer as it prints itself; of a refit also its metrics on every set."""
    metrics = answer.metrics.items() if isinstance(answer, Refit) else ()
    return f"{answer!r}" + "".join(f"\n\n{name}\n{one}" for name, one in metrics)


RESULTS = Collection(
    "results",
    "Stored answers: refits, spectra, descriptors, principal angles",
    one="result",
    given_as="a digest, the start of one (at least 4 characters), or a name",
    to_text=answer_text,
)


@RESULTS.group.command("list")
@click.option("--kind", type=click.Choice(get_args(ResultKind)), help="Of this sort alone.")
@filters("feature_set", *CARD)
@LIMIT
@gives_json
@asks_a_server()
def listed(client: Client, as_json: bool, **wanted: Any) -> None:
    """Stored answers in a line each, newest first."""
    RESULTS.say_all(client.results.list(**asked(wanted)), as_json=as_json)


RESULTS.shows()
RESULTS.describes()
