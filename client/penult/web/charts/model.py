"""What a figure shows, apart from how it is drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from penult.display.html import table
from penult.display.names import one_line

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
"""Okabe and Ito (2008), yellow left out and black replaced by gray: both have to be seen on dark and on light pages."""
DASHES = ((), (6, 3), (2, 2), (9, 3, 2, 3))
"""Strokes and gaps in pixels; a line has a colour and a dash, so that no line is known by its colour alone."""
LONGEST_NAME = 40
MOST_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line, or set of points: a value for each x of its figure, None where there is none."""

    name: str
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    """Lower ends of a band around the line; empty without one."""
    high: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines, or points, over one x."""

    title: str
    says: str
    """A sentence that says what is seen."""
    x_label: str
    y_label: str
    x: tuple[float, ...]
    """Ascending."""
    lines: tuple[Line, ...]
    kind: Literal["lines", "points"] = "lines"
    log_x: bool = False
    log_y: bool = False
    names: tuple[str, ...] = field(default=())
    """What each x is called, for points; empty for lines."""

    @property
    def has_whole_x(self) -> bool:
        """Whether the axis has whole numbers alone, as epochs have."""
        return self.kind == "lines" and all(value == int(value) for value in self.x)

    @property
    def n_left_out(self) -> int:
        """Values that a logarithmic axis cannot show."""
        if not self.log_y:
            return 0
        return sum(value is not None and value <= 0 for line in self.lines for value in line.y)

    def data(self) -> dict[str, object]:
        """Everything that a script draws it of."""
        return {
            "x": self.x,
            "kind": self.kind,
            "labels": [self.x_label, self.y_label],
            "log": [self.log_x, self.log_y],
            "whole": self.has_whole_x,
            "lines": [
                {
                    "name": one_line(line.name, LONGEST_NAME),
                    "y": [_drawn(value, self.log_y) for value in line.y],
                    "low": [_drawn(value, self.log_y) for value in line.low],
                    "high": [_drawn(value, self.log_y) for value in line.high],
                    "colour": COLOURS[place % len(COLOURS)],
                    "dash": DASHES[place // len(COLOURS) % len(DASHES)]
                    if len(self.lines) > len(COLOURS)
                    else DASHES[place % len(DASHES)],
                }
                for place, line in enumerate(self.lines)
            ],
        }

    def numbers(self) -> str:
        """The same numbers as a table."""
        header = [self.x_label, *(one_line(line.name, LONGEST_NAME) for line in self.lines)]
        names = self.names or tuple(f"{x:g}" for x in self.x)
        first = "point" if self.names else header[0]
        rows = [
            (name, *("–" if line.y[place] is None else f"{line.y[place]:.4g}" for line in self.lines))
            for place, name in enumerate(names)
        ]
        return table([first, *header[1:]], rows)


def number(value: float) -> float | None:
    """A value to draw, rounded to what is seen; None for what is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def numbers(values: Sequence[float]) -> tuple[float | None, ...]:
    """Values to draw."""
    return tuple(number(float(value)) for value in values)


def safe_json(value: object) -> str:
    """JSON that may stand in an element, a script, too: no name in it can end it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for sign, code in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(sign, code)
    return text


def _drawn(value: float | None, is_log: bool) -> float | None:
    return None if value is None or (is_log and value <= 0) else value
