"""Records as HTML, for notebooks: tables and pairs without scripts and style sheets, in the colours of the page.

Where styles are removed too, as on pages that show notebooks of strangers, everything still reads: signs, words and
separators carry the meaning. All text is escaped and kept from changing the direction of what follows it.

The web page and the report show the same records by the same functions, within `on_a_page`: with headings, classes in
place of styles, and every row.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

from penult.display.names import one_line

MOST_ROWS = 20
LONGEST_NAME = 60
LONGEST_TITLE = 400
"""Characters of a name that a mouse over it shows."""
WORST = "▼ worst"
TEXT = "text-align:left;padding:0.15em 0.8em 0.15em 0;vertical-align:top"
NUMBER = "text-align:right;padding:0.15em 0.8em 0.15em 0;vertical-align:top;font-variant-numeric:tabular-nums"
LINE = "border-bottom:1px solid currentColor"
MARKED = ' class="marked"'
MOST_PAGE_ROWS = 2000
"""Rows of a table of a page that has a style sheet."""
_IS_PAGE = ContextVar("penult: records stand on a page with a style sheet", default=False)


@contextmanager
def on_a_page() -> Generator[None]:
    """Make HTML for a page that has the style sheet of `penult.web`, in place of HTML for a cell of a notebook."""
    before = _IS_PAGE.set(True)
    try:
        yield
    finally:
        _IS_PAGE.reset(before)


class Row(NamedTuple):
    """A row of a table."""

    cells: tuple[str, ...]
    is_marked: bool = False
    """Whether it is bold, and shown however many others there are."""


class Trusted(str):
    """HTML that this package has made and escaped, in the place of plain text: such as a link in a cell of a table."""

    __slots__ = ()

    def __html__(self) -> str:
        """What templates show of it."""
        return self


class Shown:
    """A record that notebooks show as its fields; one with more to show has a `_repr_html_` of its own."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """The record for a notebook."""
        return card(type(self).__name__, pairs(fields_of(self)), notes=getattr(self, "notes", ()))


def text(value: str, longest: int = LONGEST_NAME) -> str:
    """A name, escaped; cut in the middle where it is long, with more of it under the mouse."""
    if isinstance(value, Trusted):
        return value
    from html import escape  # programs that are no notebook need none of its entities

    short = one_line(value, longest)
    if short == value:
        return f"<bdi>{escape(short)}</bdi>"
    return f'<bdi title="{escape(one_line(value, LONGEST_TITLE))}">{escape(short)}</bdi>'


def card(title: str, *parts: str, notes: Iterable[str] = ()) -> str:
    """A title, parts of HTML below it, and the notes."""
    if _IS_PAGE.get():
        said = [f'<p class="note">note: {text(str(note), 2000)}</p>' for note in notes]
        return f'<section class="card"><h2>{text(title, 200)}</h2>{"".join([*parts, *said])}</section>'
    said = [f"<div>note: {text(str(note), 2000)}</div>" for note in notes]
    return f"<div><div><strong>{text(title, 200)}</strong></div>{''.join([*parts, *said])}</div>"


def pairs(items: Mapping[str, object]) -> str:
    """Names with their values in running text, those without a value left out."""
    if _IS_PAGE.get():
        return _page_pairs(items)
    entries = [
        f'<span style="white-space:nowrap"><span style="opacity:0.7">{text(name)}</span> {value_html(value)}</span>'
        for name, value in items.items()
        if value is not None and said(value) != ""
    ]
    return f'<div style="margin:0.2em 0">{" · ".join(entries)}</div>' if entries else ""


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str] | Row],
    *,
    caption: str = "",
    last: Sequence[Row] = (),
    n_text: int = 1,
    longest: int = LONGEST_NAME,
    most: int = MOST_ROWS,
) -> str:
    """A table of plain text whose first `n_text` columns are words and the others numbers.

    Of more than `most` rows it shows the marked ones and the first others, and says how many are left; `last` stands
    below them in any case. A cell has at most `longest` characters.
    """
    all_rows = [row if isinstance(row, Row) else Row(tuple(row)) for row in rows]
    if _IS_PAGE.get():
        return _page_table(header, all_rows, caption, last, n_text, longest)
    shown = _at_most(all_rows, most)
    styles = [TEXT if column < n_text else NUMBER for column in range(len(header))]
    head = "".join(
        f'<th scope="col" style="{style};{LINE}">{text(name)}</th>' for name, style in zip(header, styles, strict=True)
    )
    left = len(all_rows) - len(shown)
    rest = f'<tr><td colspan="{len(header)}" style="{TEXT}">and {left} more</td></tr>' if left else ""
    body = "".join(_row(row, styles, longest) for row in shown) + rest
    body += "".join(_row(row, styles, longest) for row in last)
    above = f'<div style="margin-top:0.4em">{text(caption, 200)}</div>' if caption else ""
    return (
        f'{above}<table style="border-collapse:collapse;margin:0.2em 0"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _page_pairs(items: Mapping[str, object]) -> str:
    entries = [
        f"<div><dt>{text(name)}</dt><dd>{value_html(value)}</dd></div>"
        for name, value in items.items()
        if value is not None and said(value) != ""
    ]
    return f'<dl class="pairs">{"".join(entries)}</dl>' if entries else ""


def _page_table(
    header: Sequence[str], rows: Sequence[Row], caption: str, last: Sequence[Row], n_text: int, longest: int
) -> str:
    """A table that page.js can sort by each column; `last` stays below."""
    kinds = ["" if column < n_text else ' class="number"' for column in range(len(header))]
    # A column of marks has no name, and so no cell of a heading.
    head = "".join(
        f'<th scope="col"{kind}>{text(name)}</th>' if name else "<td></td>"
        for name, kind in zip(header, kinds, strict=True)
    )
    body = "".join(_page_row(row, kinds, longest) for row in rows[:MOST_PAGE_ROWS])
    left = len(rows) - MOST_PAGE_ROWS
    rest = f'<tr><td colspan="{len(header)}">and {left} more</td></tr>' if left > 0 else ""
    foot = "".join(_page_row(row, kinds, longest) for row in last) + rest
    above = f"<caption>{text(caption, 200)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table class="sortable">{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        f"{f'<tfoot>{foot}</tfoot>' if foot else ''}</table></div>"
    )


def _page_row(row: Row, kinds: Sequence[str], longest: int) -> str:
    cells = [f"<td{kind}>{text(cell, longest)}</td>" for cell, kind in zip(row.cells, kinds, strict=True)]
    return f"<tr{MARKED if row.is_marked else ''}>{''.join(cells)}</tr>"


def _at_most(rows: list[Row], most: int) -> list[Row]:
    """All rows, or as many as are shown, in their order."""
    if len(rows) <= most:
        return rows
    first = sorted(range(len(rows)), key=lambda place: (not rows[place].is_marked, place))[:most]
    return [rows[place] for place in sorted(first)]


def _row(row: Row, styles: Sequence[str], longest: int) -> str:
    weight = ";font-weight:bold" if row.is_marked else ""
    cells = [
        f'<td style="{style}{weight}">{text(cell, longest)}</td>' for cell, style in zip(row.cells, styles, strict=True)
    ]
    return f"<tr>{''.join(cells)}</tr>"


def fields_of(record: object) -> dict[str, object]:
    """The fields of a dataclass, its notes left out."""
    named = fields(cast("Any", record))
    return {field.name: getattr(record, field.name) for field in named if field.name != "notes"}


def value_html(value: object) -> str:
    """A value of a field, escaped, in a few words."""
    if isinstance(value, Trusted):
        return value
    return text(said(value), 120)


def said(value: object) -> str:
    """A value in a few words: arrays by their shape, digests by their start, records by their first line."""
    match value:
        case str():
            return value[:12] if is_digest(value) else value
        case bool() | None:
            return str(value)
        case float():
            return f"{value:.6g}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case tuple() | list():
            items = cast("tuple[object, ...]", value)
            rest = f", and {len(items) - 6} more" if len(items) > 6 else ""
            return ", ".join(said(item) for item in items[:6]) + rest
        case Mapping():
            entries = list(cast("Mapping[object, object]", value).items())
            rest = f", and {len(entries) - 6} more" if len(entries) > 6 else ""
            return ", ".join(f"{key}: {said(item)}" for key, item in entries[:6]) + rest
        case _ if hasattr(value, "dtype") and getattr(value, "shape", ()):
            array = cast("Any", value)
            return f"{' x '.join(str(side) for side in array.shape)} {array.dtype}"
        case _ if is_dataclass(value):
            return (repr(value).splitlines() or [""])[0]
        case _:
            return str(value)


def is_digest(value: str) -> bool:
    """Whether it is a sha256 in hexadecimal digits."""
    return len(value) == 64 and not value.strip("0123456789abcdef")
