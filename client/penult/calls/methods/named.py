"""Published methods that a call can be asked for by name: lists of them, and their part of the call's help."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, cast, overload

from penult.arguments.coerce import check_choice
from penult.display.html import Shown, card, table
from penult.results.frames import frame

if TYPE_CHECKING:
    import pandas as pd

_Method = TypeVar("_Method", bound=Callable[..., Any])
WIDTH = 120


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NamedMethod(Shown):
    """A published method, or a training set-up, that has a name."""

    name: str
    sentence: str
    """What it does."""
    source: str
    """Where it was published; empty for textbook methods."""
    sets: Mapping[str, Any]
    """The arguments that it stands for."""

    def __repr__(self) -> str:
        source = f" ({self.source})" if self.source else ""
        return f'"{self.name}" : {self.sentence}{source}.'


_One = TypeVar("_One", bound=NamedMethod)


class NamedMethods(tuple[_One, ...]):
    """Several of them, in the order of the documentation; one is found by its name or its place."""

    __slots__ = ()

    @overload
    def __getitem__(self, key: str | SupportsIndex) -> _One: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[_One, ...]: ...

    def __getitem__(self, key: str | SupportsIndex | slice) -> _One | tuple[_One, ...]:
        if isinstance(key, str):
            names = [one.name for one in self]
            check_choice("the name", key, names)
            return super().__getitem__(names.index(key))
        return super().__getitem__(key)

    def to_frame(self) -> pd.DataFrame:
        """One row each: `name`, `sentence`, `source`, and `sets`, a dict of arguments.

        Raises ImportError when pandas is missing.
        """
        columns = ("name", "sentence", "source", "sets")
        return frame({column: [getattr(one, column) for one in self] for column in columns})

    def _repr_html_(self) -> str:
        """All of them for a notebook."""
        rows = [(one.name, one.sentence, one.source) for one in self]
        title = type(self).__name__
        return card(title, table(["name", "what it does", "source"], rows, n_text=3, longest=300, most=len(rows)))

    def __repr__(self) -> str:
        return "\n".join(_wrapped(one, "") for one in self)


def with_list(mark: str, methods: Iterable[NamedMethod]) -> Callable[[_Method], _Method]:
    """A decorator that puts a list in place of the line with the `mark`, such as ``[presets]``, of a docstring."""

    def decorate(method: _Method) -> _Method:
        method.__doc__ = re.sub(
            rf"^( *)\[{mark}\]$",
            lambda line: "\n".join(_wrapped(one, cast("str", line[1])) for one in methods),
            method.__doc__ or "",
            flags=re.MULTILINE,
        )
        return method

    return decorate


def _wrapped(one: NamedMethod, indent: str) -> str:
    inner = indent + "    "
    return textwrap.fill(repr(one), WIDTH, initial_indent=indent, subsequent_indent=inner, break_on_hyphens=False)
