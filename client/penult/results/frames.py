"""Results as pandas tables; pandas is imported only here and only when asked for."""

# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penult.errors import install
from penult.results.notes import Notes, ids

if TYPE_CHECKING:
    import pandas as pd

NEEDS_PLOT = f"{{what}} needs {{package}}, which is not installed: {install('plot')}"


def frame(columns: Mapping[str, Sequence[object]], notes: Notes | None = None) -> pd.DataFrame:
    """A DataFrame of `columns`, all of one length. Raises ImportError, saying what to install.

    Answers that can carry notes pass them: their kinds are the last column, "notes", the sentences
    ``frame.attrs["notes"]``.
    """
    try:
        import pandas as pd
    except ImportError:
        raise ImportError(NEEDS_PLOT.format(what=".to_frame()", package="pandas")) from None
    table = pd.DataFrame(dict(columns))
    if notes is not None:
        table["notes"] = ids(notes)
        table.attrs["notes"] = [str(note) for note in notes]
    return table


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first flush left, the others flush right."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines: list[str] = []
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
