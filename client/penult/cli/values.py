"""Values of options that are more than a word or a number."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from penult.plots import check_format

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Pair(click.ParamType[tuple[str, str]]):
    """``KEY=VALUE``, such as ``test=my-features``."""

    def __init__(self, name: str, example: str) -> None:
        """`name` is what help shows, such as ``"NAME=FEATURES"``."""
        self.name = name
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value  # pyright: ignore[reportUnknownVariableType]  converted before
        key, equals, other = str(value).partition("=")
        if not (key and equals and other):
            self.fail(f"expected {self.name}, such as {self._example}; got {value!r}", param, ctx)
        return key, other


class Groups(click.ParamType[str]):
    """What rows are grouped by: ``group``, ``class``, or a grouping by its digest or name."""

    name = "group|class|GROUPING"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if str(value).lower() in ("groups", "classes", ""):
            self.fail(f"expected group, class, or the digest or the name of a grouping; got {value!r}", param, ctx)
        return str(value)


class Picture(click.ParamType[Path]):
    """A file for a figure, whose ending is one that figures can be written as: refused before anything is computed."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if problem := check_format(path):
            self.fail(problem, param, ctx)
        return path


class TableFile(click.ParamType[Path]):
    """A file for a table of rows, refused before anything is computed unless it ends in .csv or .parquet."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if path.suffix not in (".csv", ".parquet"):
            self.fail(f"expected a file that ends in .csv or .parquet; got {value!r}", param, ctx)
        return path


class Moment(click.ParamType["str | timedelta"]):
    """A day, a time, or how long ago: ``2026-11-30``, ``2026-11-30T12:00``, ``36h``, ``7d``."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | timedelta:
        if ago := re.fullmatch(rf"(\d{{1,6}})([{''.join(UNITS)}])", str(value)):
            return timedelta(**{UNITS[ago[2]]: int(ago[1])})
        try:
            datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"expected 2026-11-30, 2026-11-30T12:00, or how long ago, 36h or 7d; got {value!r}", param, ctx)
        return str(value)


class ListOf(click.ParamType[list[Any]]):
    """Several values with commas between."""

    def __init__(self, one: click.ParamType[Any]) -> None:
        self.name = f"{one.name},..."
        self._one = one

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        return [self._one.convert(part.strip(), param, ctx) for part in str(value).split(",")]


def several(pairs: tuple[tuple[str, str], ...]) -> dict[str, str | list[str]]:
    """Values by their keys; a list of those of a key that was given more than once."""
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else values for key, values in found.items()}
