"""``penult discover``: groups that nobody labelled; ``penult score``: how well groups agree with others."""

from typing import Any

import click

from penult.calls.methods.groupings import grouping_methods
from penult.cli.printing import gives_json, say
from penult.cli.questions import A_GROUPING, FEATURES
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import asked
from penult.cli.stored.groupings import grouping_text
from penult.cli.values import Pair
from penult.client import Client


@click.command(epilog=f"penult discover footwear/val --method errors --name wrong. {FEATURES}")
@click.argument("features")
@click.option(
    "--method",
    type=click.Choice([one.name for one in grouping_methods()]),
    required=True,
    metavar="METHOD",
    help="How groups are found; penult methods says what each does.",
)
@click.option("--split", help="Split of a checkpoint whose digest is given in place of a feature set.")
@click.option(
    "--fit", metavar="FEATURES", help="What heads and mixtures are fitted on.  [default: the rows themselves]"
)
@click.option("--other", metavar="FEATURES", help="The set to compare with (gic), or one with an attribute (ssa).")
@click.option("--head", help="Whose predictions are looked at: a refit or a checkpoint.  [default: the stored logits]")
@click.option(
    "--set",
    "options",
    type=Pair("OPTION=VALUE", "l2=10"),
    multiple=True,
    help="An option of the method; may be repeated.",
)
@click.option("--index", "indices", type=int, multiple=True, help="Of a feature (units, spuriosity); may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--name", help="To find the groups by.")
@click.option("--tag", "tags", multiple=True, help="To find them by; may be repeated.")
@click.option("--note", help="For people.")
@gives_json
@asks_a_server()
def discover(
    client: Client, features: str, method: str, options: tuple[tuple[str, str], ...], as_json: bool, **others: Any
) -> None:
    """Find groups of FEATURES that nobody labelled, and keep them: what --by takes."""
    found = client.discover(features, method=method, **asked(others), **_of_method(method, options))
    say(found if as_json else grouping_text(found), as_json=as_json)


@click.command(epilog="penult score wrong; penult score wrong --truth others")
@click.argument("grouping")
@click.option("--truth", default="stored", show_default=True, help=f"stored, for the stored groups; or {A_GROUPING}")
@gives_json
@asks_a_server()
def score(client: Client, grouping: str, truth: str, as_json: bool) -> None:
    """How well GROUPING agrees with the true groups of its rows, within each class."""
    say(client.score_grouping(grouping, truth), as_json=as_json)


def _of_method(method: str, options: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Options of a method. Raises click.UsageError for one that it does not have."""
    legal = tuple(grouping_methods()[method].sets)
    for name, _ in options:
        if name not in legal:
            has = f"has {', '.join(legal)}" if legal else "has no options"
            raise click.UsageError(f"--set {name}: {method} {has}; see penult methods {method}")
    return {name: _number_or_word(value) for name, value in options}


def _number_or_word(value: str) -> int | float | str:
    """The number that is written there; another word as it is."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


COMMANDS = (discover, score)
