"""Answers on the terminal: records as text or as JSON."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any, cast

import click
import numpy as np

COMPLETION = "_PENULT_COMPLETE"
"""The variable in which a shell asks how a line goes on."""
gives_json = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
"""Gives a command the option; `say` obeys it."""


def say(answer: object, *, as_json: bool, text: Callable[[], str] | None = None) -> None:
    """Print an answer: as JSON, else as `text` has it, else as it prints itself."""
    if as_json:
        click.echo(json.dumps(json_of(answer), indent=1, ensure_ascii=False))
    else:
        click.echo(str(answer) if text is None else text())


def json_of(value: object) -> Any:
    """A record as JSON has it: fields by name, arrays as lists, times as ISO 8601, NaN and infinity as None.

    Raises TypeError for what is no record, container or scalar.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return value.isoformat()
        case PurePath():
            return str(value)
        case np.generic() | np.ndarray():
            return json_of(cast("Any", value).tolist())
        case Mapping():
            return {str(key): json_of(one) for key, one in cast("Mapping[object, object]", value).items()}
        case Sequence() | set() | frozenset():
            return [json_of(one) for one in cast("Sequence[object]", value)]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: json_of(getattr(value, field.name)) for field in fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns flush left; the header alone where there are no rows."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows))
    return "\n".join(line.rstrip() for line in lines)


class Listing(click.Group):
    """A group of commands that lists where its next word is no command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        # A shell that asks how the line goes on has typed no whole word yet.
        lists = not ctx.resilient_parsing and (not args or args[0] not in known)
        return super().parse_args(ctx, ["list", *args] if lists else args)
