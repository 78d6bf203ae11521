"""Answers on the terminal: records as text or as JSON."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
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


def details(record: Any, *, without: Collection[str] = ()) -> str:
    """A record, a line for each field that has something, but for those in `without`; its notes last."""
    values = {field.name: getattr(record, field.name) for field in fields(record) if field.name not in without}
    values = {name: value for name, value in values.items() if _is_something(value)}
    width = max((len(name) for name in values), default=0)
    notes: Sequence[object] = values.pop("notes", ())
    said = [f"{name:<{width}}  {_in_lines(value, width + 2)}" for name, value in values.items()]
    return "\n".join([*said, *(f"note: {note}" for note in notes)])


def _is_something(value: object) -> bool:
    """Whether a field has to be shown: not where it is empty or unknown."""
    return cast("Any", value).size > 0 if isinstance(value, np.ndarray) else value not in (None, "", ())


def _in_lines(value: Any, indent: int) -> str:
    """A value of a field; several records, a line each, under each other."""
    match value:
        case np.ndarray():
            return np.array2string(cast("Any", value), threshold=12, precision=6)
        case datetime():
            return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
        case tuple() if any(is_dataclass(one) for one in cast("tuple[object, ...]", value)):
            lines = [str(one).splitlines()[0] for one in cast("tuple[object, ...]", value)]
            return f"\n{' ' * indent}".join(lines)
        case tuple():
            return ", ".join(map(str, cast("tuple[object, ...]", value)))
        case _:
            return str(value)


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
