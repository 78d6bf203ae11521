"""Lists of records that print as a table."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from penult.arguments.coerce import whole
from penult.display.html import card, table
from penult.results.frames import frame, text_table

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
MOST_LINES = 40
"""Lines of a table that is shown; the rest is counted."""
WIDEST = 60
"""Characters of a cell that is shown."""


class Listing(list[T]):
    """A list, newest first, that prints as a table; ``.to_frame()`` makes one of pandas, a row for each."""

    def __init__(self, members: Iterable[T], row: Callable[[T], Mapping[str, object]]) -> None:
        """`row` says what the columns of a member are; an empty list has none."""
        super().__init__(members)
        self._row = row

    def to_frame(self) -> pd.DataFrame:
        """One row for each member, with full digests. Raises ImportError when pandas is missing."""
        rows = [self._row(one) for one in self]
        return frame({name: [row[name] for row in rows] for name in (rows[0] if rows else ())})

    def columns(self, most: int | None = None) -> tuple[list[str], list[list[str]]]:
        """The columns in which one of the first members has something, and what these members show in them.

        Parameters
        ----------
        most : the first so many members; None for all.
        """
        if most is not None:
            most = whole("most", most)
        rows = [self._row(one) for one in self[:most]]
        shown = [name for name in (rows[0] if rows else ()) if any(row[name] not in ("", (), None) for row in rows)]
        return shown, [[cell(row[name]) for name in shown] for row in rows]

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        columns, rows = self.columns()
        return card(f"{len(self)} found", table(columns, rows, n_text=len(columns))) if self else card("none found")

    def __repr__(self) -> str:
        if not self:
            return "[]"
        columns, rows = self.columns(MOST_LINES)
        more = len(self) - len(rows)
        return f"{text_table(columns, rows)}{f'{chr(10)}... and {more} more' if more > 0 else ''}"


def cell(value: object) -> str:
    """A value as a table shows it: short digests, times to the minute, floats to three digits."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    text = " ".join(text.split())
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return text[:12]
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."
