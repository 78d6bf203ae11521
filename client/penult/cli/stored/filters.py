"""The options that say which things a list holds, in the words of the client's `list`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from penult.cli.values import Moment

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = {
    "dataset": click.option("--dataset", help="Of this dataset."),
    "backbone": click.option("--backbone", help="Of this backbone."),
    "run": click.option("--run", help="Of this run: its id, the start of it, or its name."),
    "split": click.option("--split", help="Of this split."),
    "checkpoint": click.option("--checkpoint", help="Of this checkpoint: its digest, the start of it, or its name."),
    "feature_set": click.option("--features", "feature_set", help="About these features."),
    "features": click.option("--features", help="Of the rows of these features."),
    "method": click.option("--method", help="Found by this method."),
    "tag": click.option("--tag", multiple=True, help="That has this tag; may be repeated, for all of several."),
    "name": click.option("--name", help="Of this name; with the wildcards * and ?, quoted."),
    "since": click.option("--since", type=Moment(), help="Since a day or time, 2026-11-30, or for so long: 36h, 7d."),
    "user": click.option("--user", help="That this user asked for."),
}
CARD = ("tag", "name", "since", "user")
"""The filters that hold for everything that carries a card."""
LIMIT = click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest so many.")


def filters(*names: str) -> Callable[[F], F]:
    """Give a command the options of some filters."""

    def decorate(command: F) -> F:
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command

    return decorate
