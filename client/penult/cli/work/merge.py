"""``penult merge``: one network of several."""

from typing import Any, get_args

import click

from penult.cli.printing import gives_json
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import asked
from penult.cli.stored.jobs import WAITS, follow
from penult.cli.values import Pair
from penult.client import Client
from penult.types import BatchNormRule, BatchNormStream, MergeMethodName, MergeScope
from penult_proto.merge_methods import METHODS, SELECT_METRICS

NUMBERS = sorted({name for one in METHODS.values() for name in one.numbers})
WHOLE = ("k", "rows")
FLAGS = ("per_tensor",)


@click.command(
    epilog="penult merge pilot-0 pilot-1 pilot-2 --method greedy --metric worst_group --name soup, then: "
    "penult extract soup"
)
@click.argument("checkpoints", nargs=-1, required=True)
@click.option(
    "--method", type=click.Choice(get_args(MergeMethodName)), default="uniform", show_default=True, help="The rule."
)
@click.option("--share", "shares", type=float, multiple=True, help="Of a checkpoint, once for each, in their order.")
@click.option(
    "--set", "numbers", type=Pair("NUMBER=VALUE", "density=0.2"), multiple=True, help=f"One of {', '.join(NUMBERS)}."
)
@click.option("--base", help="The common start, for methods about what was learned since.")
@click.option("--scope", type=click.Choice(get_args(MergeScope)), help="What is merged; the body by default.")
@click.option("--block", "blocks", multiple=True, help="With --scope blocks: one of them; may be repeated.")
@click.option("--select-split", help="Of greedy: the split that is chosen on; val by default.")
@click.option("--metric", type=click.Choice(SELECT_METRICS), help="Of greedy: worst_group by default.")
@click.option("--margin", type=float, help="Of greedy: by how much more a network must score to be taken in.")
@click.option("--bn", type=click.Choice(get_args(BatchNormRule)), help="Running statistics; reestimate by default.")
@click.option("--bn-stream", type=click.Choice(get_args(BatchNormStream)), help="What they are measured on.")
@click.option("--bn-count", type=int, help="Examples that they are measured on; 2,048 by default.")
@click.option("--dataset", help="Whose examples those are; the checkpoints' own by default.")
@click.option("--attribute", help="What groups are made from.")
@click.option("--seed", type=int, help="Of methods that draw.")
@click.option("--name", help="Of the checkpoint.")
@click.option("--tag", "tags", multiple=True, help="Of the checkpoint; may be repeated.")
@click.option("--note", help="Of the checkpoint, for people.")
@WAITS
@gives_json
@asks_a_server(starts=True)
def merge(
    client: Client,
    checkpoints: tuple[str, ...],
    numbers: tuple[tuple[str, str], ...],
    select_split: str | None,
    metric: str | None,
    margin: float | None,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Merge CHECKPOINTS, names or digests, or runs for their last ones, into a new one.

    The same request again is the same merge. --set density=0.1 gives a method its numbers.
    """
    select = asked({"split": select_split, "metric": metric, "margin": margin})
    job = client.merge(list(checkpoints), select=select or None, **_numbers(numbers), **asked(options))
    follow(job, wait=wait, as_json=as_json)


def _numbers(given: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Numbers by name. Raises click.BadParameter, listing all."""
    found: dict[str, Any] = {}
    for name, value in given:
        if name not in NUMBERS:
            raise click.BadParameter(f"{name} is none of {', '.join(NUMBERS)}", param_hint="--set")
        try:
            number = float(value)
        except ValueError:
            raise click.BadParameter(f"{name} must be a number, got {value!r}", param_hint="--set") from None
        is_whole = name in (*WHOLE, *FLAGS) and number.is_integer()
        found[name] = bool(number) if name in FLAGS else int(number) if is_whole else number
    return found
