"""Published methods that a call can be asked for by name: lists of them, and their part of the call's help."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

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
        return said(self.name, self.sentence, self.source)


def said(name: str, sentence: str, source: str) -> str:
    """A method in a sentence."""
    return f'"{name}" : {sentence}{f" ({source})" if source else ""}.'


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
        return "\n".join(_wrapped(repr(one), "") for one in self)


def with_list(mark: str, sentences: Iterable[str]) -> Callable[[_Method], _Method]:
    """A decorator that puts a list in place of the line with the `mark`, such as ``[presets]``, of a docstring."""

    def decorate(method: _Method) -> _Method:
        written = method.__doc__ or ""
        for line in written.splitlines():
            if line.strip() == f"[{mark}]":
                indent = line.removesuffix(f"[{mark}]")
                written = written.replace(line, "\n".join(_wrapped(one, indent) for one in sentences))
        method.__doc__ = written
        return method

    return decorate


def _wrapped(sentence: str, indent: str) -> str:
    """A paragraph whose later lines are indented further; made at every import, so without `textwrap`."""
    lines, line = list[str](), indent
    for word in sentence.split():
        if len(line) + len(word) > WIDTH:
            lines.append(line)
            line = f"{indent}    "
        line += f"{word} "
    return "\n".join(one.rstrip() for one in (*lines, line))
