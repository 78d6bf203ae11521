"""What an annotation of the client takes, as a type of the command line."""

from collections.abc import Sequence
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click

from penult.cli.values import ListOf


class NumberOr(click.ParamType["float | str"]):
    """A number, or one of a few words."""

    def __init__(self, words: Sequence[str]) -> None:
        self.name = "|".join(("NUMBER", *words))
        self._words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        return value if value in self._words else click.FLOAT.convert(value, param, ctx)


def members(hint: Any) -> tuple[Any, ...]:
    """The types that an annotation joins, None left out."""
    if get_origin(hint) in (Literal, Sequence) or not get_args(hint):
        return (hint,)
    return tuple(one for one in get_args(hint) if one is not NoneType)


def is_list(hint: Any) -> bool:
    """Whether an annotation is that of a sequence."""
    return any(get_origin(one) is Sequence for one in members(hint))


def type_of(hint: Any) -> click.ParamType[Any]:
    """The type of the command line. Records are given by their names: text."""
    joined = members(hint)
    words = [word for one in joined if get_origin(one) is Literal for word in get_args(one)]
    if words and str not in joined:
        return NumberOr(words) if float in joined else click.Choice(words)
    if is_list(hint):
        (sequence,) = (one for one in joined if get_origin(one) is Sequence)
        return ListOf(type_of(get_args(sequence)[0]))
    for plain, on_line in ((bool, click.BOOL), (int, click.INT), (float, click.FLOAT)):
        if plain in joined:
            return on_line
    return click.STRING
