"""``penult finetune`` and ``extract``: start a job, and wait for it."""

from typing import Any, get_args

import click

from penult.cli.printing import gives_json
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import asked
from penult.cli.stored.jobs import WAITS, follow
from penult.cli.values import Pair
from penult.cli.work.arguments import arguments_of, finetune_options
from penult.client import Client
from penult.types import FeatureKind, StorageType


@click.command(
    epilog="penult finetune --dataset footwear --backbone tf_efficientnet_lite0 --epochs 1 --balance mixture --ratio 2 "
    "--set optimizer.learning_rate=1e-4 --set augment.crop_scale=0.7 --name pilot"
)
@finetune_options
@WAITS
@gives_json
@asks_a_server(starts=True)
def finetune(client: Client, settings: tuple[tuple[str, Any], ...], wait: bool, as_json: bool, **options: Any) -> None:
    """Finetune all weights of a backbone.

    The same request again is the same run. Ctrl-C ends the waiting, not the job. What is left out has the server's
    default, or the recipe's.
    """
    follow(client.finetune(**arguments_of(settings, options)), wait=wait, as_json=as_json)


@click.command(epilog="penult extract my-run-checkpoint --split val --split test, then: penult spectra footwear/val")
@click.argument("checkpoint")
@click.option("--dataset", help="By default the one it was trained on.")
@click.option("--attribute", help="What groups are made from; the dataset's first by default.")
@click.option("--split", "splits", multiple=True, help="A split; may be repeated. All by default.")
@click.option(
    "--kind",
    type=click.Choice(get_args(FeatureKind)),
    default="pooled",
    show_default=True,
    help="What the head reads, or the last hidden state with every position of it.",
)
@click.option("--dtype", type=click.Choice(get_args(StorageType)), default="float32", show_default=True, help="Stored.")
@click.option("--batch-size", type=int, default=64, show_default=True, help="Examples per forward pass.")
@click.option(
    "--class-map",
    "class_map",
    type=Pair("CLASS=CLASS", "cat=wolf"),
    multiple=True,
    help="Which of the dataset's classes one of the checkpoint stands for, where the names differ; may be repeated.",
)
@click.option("--tag", "tags", multiple=True, help="Of every set; may be repeated.")
@click.option("--note", help="Of every set.")
@WAITS
@gives_json
@asks_a_server(starts=True)
def extract(
    client: Client, checkpoint: str, class_map: tuple[tuple[str, str], ...], wait: bool, as_json: bool, **options: Any
) -> None:
    """Cache the penultimate features of CHECKPOINT: a digest, the start of one, or a name."""
    job = client.extract(checkpoint, class_map=dict(class_map) or None, **asked(options))
    follow(job, wait=wait, as_json=as_json)
