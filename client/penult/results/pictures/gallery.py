"""Examples as a person sees them, and pages of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from penult.display.html import Shown, card, text
from penult.files.atomic import whole_file

ROW = "white-space:nowrap;overflow-x:auto"
CELL = "display:inline-block;vertical-align:top;white-space:normal;width:{width}px;margin:0 10px 10px 0;font-size:80%"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font-family: sans-serif; margin: 24px; color: #222; background: #fff }}</style></head>
<body>{body}</body></html>
"""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Example(Shown):
    """One example of a dataset."""

    row_id: int
    class_name: str
    attribute_value: str
    """Value of the dataset's first attribute; empty without one."""
    image: bytes
    """A small PNG file; empty for texts."""
    texts: tuple[str, ...]
    """The text, or both texts of a pair; empty for images."""

    @property
    def label(self) -> str:
        """Class and value of the attribute."""
        return ", ".join(filter(None, (self.class_name, self.attribute_value)))

    def _repr_html_(self) -> str:
        """The example for a notebook."""
        return cell(self, "")

    def __repr__(self) -> str:
        shown = f"{self.texts[0][:40]!r}" if self.texts else f"PNG of {len(self.image):,} bytes"
        return f"Example({self.row_id}, {self.label!r}, {shown})"


class Entry(NamedTuple):
    """An example of a gallery, and what stands below it."""

    example: Example
    caption: str
    is_other: bool = False
    """Whether it is of another class than the first of its row, and marked."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Gallery:
    """Rows of examples: each a query and its nearest neighbours."""

    title: str
    rows: tuple[tuple[Entry, ...], ...]

    def _repr_html_(self) -> str:
        """The gallery for a notebook."""
        return card(
            self.title,
            "".join(f'<div style="{ROW}">{"".join(cell(*entry) for entry in row)}</div>' for row in self.rows),
        )

    def save(self, path: str | Path) -> None:
        """Write a page of HTML that needs no other file. Raises `InvalidRequest` where it cannot be written."""
        with whole_file(path) as staging:
            staging.write_text(PAGE.format(title=text(self.title, 200), body=self._repr_html_()), encoding="utf-8")

    def __repr__(self) -> str:
        return f"Gallery({self.title!r}, {len(self.rows)} rows of {max(map(len, self.rows), default=0)})"


def cell(example: Example, caption: str, is_other: bool = False) -> str:
    """An example with its caption."""
    from base64 import b64encode

    mark = " ≠" if is_other else ""
    words = f"<div>{text(example.label)}{mark}</div><div>{text(caption)}</div>"
    if example.image:
        data = b64encode(example.image).decode()
        picture = (
            f'<img alt="row {example.row_id}" style="width:96px;max-width:100%" src="data:image/png;base64,{data}">'
        )
        return f'<div style="{CELL.format(width=112)}">{picture}{words}</div>'
    said = "".join(f"<div>{text(one, 160)}</div>" for one in example.texts)
    return f'<div style="{CELL.format(width=220)}"><em>{said}</em>{words}</div>'


def page(title: str, rows: Sequence[Sequence[Entry]]) -> Gallery:
    """A gallery of these rows."""
    return Gallery(title=title, rows=tuple(tuple(row) for row in rows))
