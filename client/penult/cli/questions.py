"""What is asked of stored features: ``penult spectra``, ``refit``, ``evaluate``."""

from pathlib import Path
from typing import Any, get_args

import click

from penult.cli.answers_json import refit_json, spectra_json
from penult.cli.printing import gives_json, say
from penult.cli.serving import asks_a_server
from penult.cli.stored.collections import asked
from penult.cli.stored.results import answer_text
from penult.cli.values import Groups, Pair, Picture, TableFile
from penult.client import Client
from penult.plots import save
from penult.types import BalanceMethod, Preset

OF_PRESET = "[default: the preset's]"
A_GROUPING = "a grouping: its digest, the start of one, or its name."
FEATURES = "FEATURES is a digest, the start of one, or a name."
CLASS_MAP = click.option(
    "--class-map",
    type=Pair("CLASS=CLASS", "cat=wolf"),
    multiple=True,
    help="Which of the features' classes one of the head stands for, where the names differ; may be repeated.",
)


@click.command(epilog=FEATURES)
@click.argument("features")
@click.option("--by", type=Groups(), default="group", show_default=True, help=f"group, class, or {A_GROUPING}")
@click.option("--top-k", type=int, default=10, show_default=True, help="Eigenvalues shown.")
@click.option("--correction", type=int, default=0, show_default=True, help="Divisor n - correction: 0 or 1.")
@click.option("--split", help="Split of a checkpoint whose digest is given in place of a feature set.")
@click.option(
    "--replicates", type=int, help="Replicates of each resampling.  [default: none of large groups, else 200]"
)
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Confidence level of the intervals.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--plot", type=Picture(), help="Also draw it.")
@gives_json
@asks_a_server()
def spectra(client: Client, features: str, plot: Path | None, as_json: bool, top_k: int, **options: Any) -> None:
    """Eigenvalues of the covariance of FEATURES, by group or class."""
    found = client.spectra(features, top_k=top_k, **options)
    if plot is not None:
        save(found.plot(top_k=top_k), plot)
    say(spectra_json(found) if as_json else found, as_json=as_json)


@click.command(epilog=f"penult refit footwear/val --preset dfr --evaluate test=footwear/test. {FEATURES}")
@click.argument("features")
@click.option("--preset", type=click.Choice(get_args(Preset)), default="dfr", show_default=True)
@click.option("--balance", type=click.Choice(get_args(BalanceMethod)), help=f"How rows are balanced.  {OF_PRESET}")
@click.option(
    "--by", type=Groups(), help=f"Balance over class or group, or over the groups of {A_GROUPING}  {OF_PRESET}"
)
@click.option("--ratio", type=float, help=f"Of a mixture: the cap as a multiple of the smallest.  {OF_PRESET}")
@click.option(
    "--group-ratio", type=float, help=f"Minorities beside each other group, by group; 1 is balanced.  {OF_PRESET}"
)
@click.option("--l1", type=float, help=f"Strength of the L1 penalty.  {OF_PRESET}")
@click.option("--l2", type=float, help=f"Strength of the L2 penalty.  {OF_PRESET}")
@click.option(
    "--select-on", metavar="FEATURES|half", help=f"Where candidates are scored: a set, or half the rows.  {OF_PRESET}"
)
@click.option("--select-groups", metavar="GROUPING", help="Choose candidates by the groups of a grouping.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--train", help="The training set, whose group counts weight the weighted averages of --evaluate.")
@click.option("--across-checkpoints", is_flag=True, help="Allow sets of another checkpoint.")
@click.option("--name", help="To find the answer by.")
@click.option("--tag", "tags", multiple=True, help="To find it by; may be repeated.")
@click.option("--note", help="For people.")
@click.option(
    "--evaluate",
    type=Pair("NAME=FEATURES", "test=my-features"),
    multiple=True,
    help="A set to score the head on; may be repeated.",
)
@gives_json
@asks_a_server()
def refit(
    client: Client,
    features: str,
    evaluate: tuple[tuple[str, str], ...],
    select_on: str | None,
    select_groups: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Retrain the last layer on FEATURES."""
    select: Any = asked({"on": select_on, "groups": select_groups}) or None
    found = client.refit(features, evaluate=dict(evaluate), select=select, **asked(options))
    say(refit_json(found) if as_json else answer_text(found), as_json=as_json)


@click.command(epilog=f"penult evaluate my-dfr footwear/test. {FEATURES}")
@click.argument("head")
@click.argument("features")
@click.option("--by", type=Groups(), default="group", show_default=True, help=f"group, or {A_GROUPING}")
@click.option("--train", help="The training set, whose group counts weight the weighted average.")
@CLASS_MAP
@click.option("--across-checkpoints", is_flag=True, help="Score it on features of another checkpoint than its own.")
@gives_json
@asks_a_server()
def evaluate(
    client: Client, head: str, features: str, class_map: tuple[tuple[str, str], ...], as_json: bool, **options: Any
) -> None:
    """Metrics of HEAD on FEATURES: of a stored refit, or of a checkpoint's own head, by digest or name."""
    found = client.evaluate(head, features, class_map=dict(class_map) or None, **options)
    say(found, as_json=as_json)


@click.command(epilog=f"penult predictions footwear/test table.csv --head my-dfr. {FEATURES}")
@click.argument("features")
@click.argument("path", type=TableFile())
@click.option("--head", help="A refit or a checkpoint, by digest or name; by default the head stored with FEATURES.")
@CLASS_MAP
@click.option("--across-checkpoints", is_flag=True, help="Use it on features of another checkpoint than its own.")
@gives_json
@asks_a_server()
def predictions(
    client: Client, features: str, path: Path, class_map: tuple[tuple[str, str], ...], as_json: bool, **options: Any
) -> None:
    """Write what a head predicts for every row of FEATURES to PATH, a .csv or .parquet file on this machine."""
    found = client.predictions(features, class_map=dict(class_map) or None, **options)
    (found.to_csv if path.suffix == ".csv" else found.to_parquet)(path)
    said = {"path": path.absolute(), "head": found.head, "n": len(found.y), "metrics": found.metrics}
    say(said if as_json else f"{found}\n{found.metrics or ''}".rstrip(), as_json=as_json)


COMMANDS = (spectra, refit, evaluate, predictions)
