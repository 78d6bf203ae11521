"""The published methods that a refit can be asked for by name: ``client.presets()``, and their part of the help."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from penult.display.html import Shown, card, table
from penult.results.frames import frame
from penult.wire.decode_refits import arguments_of
from penult_proto import presets as known

if TYPE_CHECKING:
    import pandas as pd

_Method = TypeVar("_Method", bound=Callable[..., Any])
WIDTH = 120


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PresetInfo(Shown):
    """A method that `Client.refit` knows by name."""

    name: str
    sentence: str
    """What it does."""
    source: str
    """Where it was published; empty for textbook methods."""
    sets: Mapping[str, Any]
    """The arguments of `Client.refit` that it stands for, except those that only you can give: `standardize` of
    dfr_2022, `other` of self_disagreement, and in `select` of dfr_train and afr what to select on."""

    def __repr__(self) -> str:
        source = f" ({self.source})" if self.source else ""
        return f'"{self.name}" : {self.sentence}{source}.'


class Presets(tuple[PresetInfo, ...]):
    """Several of them, in the order of the documentation."""

    __slots__ = ()

    def to_frame(self) -> pd.DataFrame:
        """One row per preset: `name`, `sentence`, `source`, and `sets`, a dict of arguments.

        Raises ImportError when pandas is missing.
        """
        columns = ("name", "sentence", "source", "sets")
        return frame({column: [getattr(one, column) for one in self] for column in columns})

    def _repr_html_(self) -> str:
        """All of them for a notebook."""
        rows = [(one.name, one.sentence, one.source) for one in self]
        return card("Presets", table(["name", "what it does", "source"], rows, n_text=3, longest=300, most=len(rows)))

    def __repr__(self) -> str:
        return "\n".join(_wrapped(one, "") for one in self)


def presets() -> Presets:
    """All of them."""
    return Presets(
        PresetInfo(name=name, sentence=one.sentence, source=one.source, sets=arguments_of(one.request))
        for name, one in known.PRESETS.items()
    )


def with_presets(method: _Method) -> _Method:
    """Put the list of presets in place of the line ``[presets]`` of a docstring."""
    said = method.__doc__ or ""
    method.__doc__ = re.sub(
        r"^( *)\[presets\]$",
        lambda line: "\n".join(_wrapped(one, line[1]) for one in presets()),
        said,
        flags=re.MULTILINE,
    )
    return method


def _wrapped(preset: PresetInfo, indent: str) -> str:
    inner = indent + "    "
    return textwrap.fill(repr(preset), WIDTH, initial_indent=indent, subsequent_indent=inner, break_on_hyphens=False)
