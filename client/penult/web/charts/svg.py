"""A figure as SVG: what is seen without scripts, in a report read by a mail reader, and until a script has drawn it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from penult.display.names import one_line
from penult.web.charts.model import Chart

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 38
LEGEND_LINE = 17
FONT = 'font-size="12" fill="currentColor"'
SMALLEST = math.ulp(0.0)
"""The smallest number that has a logarithm."""
LARGEST = 1e300
"""What is larger is drawn there: differences and doubles of numbers stay finite."""
Scale = Callable[[float], float]


def svg(chart: Chart) -> str:
    """The drawing. Equal figures give equal bytes."""
    data = chart.data()
    lines: list[dict[str, object]] = data["lines"]  # pyright: ignore[reportAssignmentType]
    xs, ys = _x_range(chart), _y_range(lines, is_log=chart.log_y)
    height = HEIGHT + LEGEND_LINE * len(lines)
    name = escape(one_line(f"{chart.title}. {chart.says}", 300), quote=True)
    head = (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}" {FONT} xmlns="http://www.w3.org/2000/svg">'
    )
    if xs is None or ys is None:
        return f'{head}<text x="20" y="40">no numbers to draw</text></svg>'
    x = _scale(xs, LEFT, WIDTH - RIGHT, is_log=chart.log_x)
    y = _scale(ys, HEIGHT - BOTTOM, TOP, is_log=chart.log_y)
    parts = [_axes(chart, x, y, xs, ys)]
    parts += [_line(chart, line, x, y) for line in lines]
    parts += [_legend(line, place, chart.kind) for place, line in enumerate(lines)]
    return f"{head}{''.join(parts)}</svg>"


def ticks(low: float, high: float, *, is_log: bool, most: int = 6) -> list[float]:
    """Round numbers between two ends: 1, 2 or 5 times powers of ten, or, logarithmic, powers of ten."""
    if is_log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        step = max(1, math.ceil((last - first + 1) / most))
        found = [10.0**power for power in range(first, last + 1, step)]
        return found if len(found) > 1 else sorted({low, *found, high})
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 12) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def _x_range(chart: Chart) -> tuple[float, float] | None:
    found = [value for value in chart.x if math.isfinite(value) and (value > 0 or not chart.log_x)]
    return _widened(found, is_log=chart.log_x)


def _y_range(lines: Sequence[dict[str, object]], *, is_log: bool) -> tuple[float, float] | None:
    kept: list[float] = []
    for line in lines:
        for part in ("y", "low", "high"):
            values: list[float | None] = line[part]  # pyright: ignore[reportAssignmentType]
            kept += [value for value in values if value is not None]
    return _widened(kept, is_log=is_log)


def _widened(values: Sequence[float], *, is_log: bool) -> tuple[float, float] | None:
    if not values:
        return None
    low, high = (max(-LARGEST, min(end, LARGEST)) for end in (min(values), max(values)))
    if is_log:
        return (low, high) if low < high else (max(low / 2, SMALLEST), high * 2)
    alone = abs(low) / 2 if abs(low) > 1 / LARGEST else 0.5
    margin = 0.04 * (high - low) if high - low > 1 / LARGEST else alone
    return low - margin, high + margin


def _scale(ends: tuple[float, float], first: float, last: float, *, is_log: bool) -> Scale:
    low, high = (math.log10(max(end, SMALLEST)) for end in ends) if is_log else ends

    def place(value: float) -> float:
        at = max(-LARGEST, min(value, LARGEST))
        at = math.log10(max(at, SMALLEST)) if is_log else at
        return first + (at - low) / (high - low) * (last - first)

    return place


def _axes(chart: Chart, x: Scale, y: Scale, xs: tuple[float, float], ys: tuple[float, float]) -> str:
    parts: list[str] = []
    bottom, middle = HEIGHT - BOTTOM, f"{(LEFT + WIDTH) / 2:.0f}"
    grid = "".join(f"M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" for value in ticks(*ys, is_log=chart.log_y))
    parts.append(f'<path d="{grid}" stroke="currentColor" opacity="0.15"/>')
    parts += [
        f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        for value in ticks(*ys, is_log=chart.log_y)
    ]
    parts += [
        f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>'
        for value in ticks(*xs, is_log=chart.log_x)
        if not chart.has_whole_x or value == int(value)
    ]
    parts.append(
        f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="currentColor" opacity="0.6"/>'
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x_label)}</text>'
        f'<text x="14" y="{HEIGHT / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {HEIGHT / 2:.0f})">{escape(chart.y_label)}</text>'
    )
    return "".join(parts)


def _line(chart: Chart, line: dict[str, object], x: Scale, y: Scale) -> str:
    values: list[float | None] = line["y"]  # pyright: ignore[reportAssignmentType]
    there = [
        (x(at), y(value))
        for at, value in zip(chart.x, values, strict=True)
        if value is not None and (at > 0 or not chart.log_x)
    ]
    if not there:
        return ""
    colour = line["colour"]
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{3.5 if chart.kind == "points" else 2}"/>' for a, b in there)
    if chart.kind == "points":
        return f'<g fill="{colour}">{dots}</g>'
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in there)
    dash: tuple[int, ...] = line["dash"]  # pyright: ignore[reportAssignmentType]
    dashed = f' stroke-dasharray="{" ".join(map(str, dash))}"' if dash else ""
    drawn = f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>'
    shown_dots = f'<g fill="{colour}">{dots}</g>' if len(there) <= 60 else ""
    return f"{_band(chart, line, x, y)}{drawn}{shown_dots}"


def _band(chart: Chart, line: dict[str, object], x: Scale, y: Scale) -> str:
    low: list[float | None] = line["low"]  # pyright: ignore[reportAssignmentType]
    high: list[float | None] = line["high"]  # pyright: ignore[reportAssignmentType]
    if not low or not high:
        return ""
    ends = [(at, a, b) for at, a, b in zip(chart.x, low, high, strict=True) if a is not None and b is not None]
    above = [f"{x(at):.1f},{y(b):.1f}" for at, _, b in ends]
    below = [f"{x(at):.1f},{y(a):.1f}" for at, a, _ in reversed(ends)]
    return f'<polygon points="{" ".join([*above, *below])}" fill="{line["colour"]}" opacity="0.15"/>' if ends else ""


def _legend(line: dict[str, object], place: int, kind: str) -> str:
    at = HEIGHT + LEGEND_LINE * place + 10
    dash: tuple[int, ...] = line["dash"]  # pyright: ignore[reportAssignmentType]
    dashed = f' stroke-dasharray="{" ".join(map(str, dash))}"' if dash else ""
    if kind == "points":
        mark = f'<circle cx="{LEFT + 13}" cy="{at - 4}" r="4" fill="{line["colour"]}"/>'
    else:
        mark = f'<path d="M{LEFT} {at - 4}h26" stroke="{line["colour"]}" stroke-width="2"{dashed}/>'
    return f'{mark}<text x="{LEFT + 34}" y="{at}">{escape(str(line["name"]))}</text>'
