"""What is asked of stored features: ``penult spectra``, ``refit``."""

from pathlib import Path
from typing import Any, get_args

import click

from penult.cli.answers_json import refit_json, spectra_json
from penult.cli.printing import gives_json, say
from penult.cli.serving import asks_a_server
from penult.client import Client
from penult.plots import check_format, save
from penult.types import By, Preset


class NamedSet(click.ParamType[tuple[str, str]]):
    """``NAME=FEATURES``, such as ``test=my-features``."""

    name = "NAME=FEATURES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, features = str(value).partition("=")
        if not (name and equals and features):
            self.fail(f"expected NAME=FEATURES, such as test=my-features; got {value!r}", param, ctx)
        return name, features


class Picture(click.ParamType[Path]):
    """A file for a figure, whose ending is one that figures can be written as: refused before anything is computed."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if problem := check_format(path):
            self.fail(problem, param, ctx)
        return path


FEATURES = "FEATURES is a digest, the start of one, or a name."


@click.command(epilog=FEATURES)
@click.argument("features")
@click.option("--by", type=click.Choice(get_args(By)), default="group", show_default=True)
@click.option("--top-k", type=int, default=10, show_default=True, help="Eigenvalues shown.")
@click.option("--correction", type=int, default=0, show_default=True, help="Divisor n - correction: 0 or 1.")
@click.option("--split", help="Split of a checkpoint whose digest is given in place of a feature set.")
@click.option("--replicates", type=int, default=200, show_default=True, help="Replicates of each resampling.")
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


@click.command(epilog=FEATURES)
@click.argument("features")
@click.option("--preset", type=click.Choice(get_args(Preset)), default="dfr", show_default=True)
@click.option("--l2", type=float, help="Strength of the L2 penalty.  [default: the preset's]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--evaluate", type=NamedSet(), multiple=True, help="A set to score the head on; may be repeated.")
@gives_json
@asks_a_server()
def refit(client: Client, features: str, evaluate: tuple[tuple[str, str], ...], as_json: bool, **options: Any) -> None:
    """Retrain the last layer on FEATURES."""
    found = client.refit(features, evaluate=dict(evaluate), **options)
    scores = "".join(f"\n\n{name}\n{metrics}" for name, metrics in found.metrics.items())
    say(refit_json(found) if as_json else f"{found!r}{scores}", as_json=as_json)


COMMANDS = (spectra, refit)
