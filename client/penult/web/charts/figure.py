"""A figure of HTML: what it says, the drawing, its data for scripts, and its numbers as a table."""

from __future__ import annotations

from html import escape

from penult.display.html import Trusted
from penult.display.names import one_line
from penult.web.charts.model import Chart, safe_json
from penult.web.charts.svg import svg

LONGEST = 400


def figure(chart: Chart, *, has_numbers: bool = True) -> Trusted:
    """The figure; the drawing is replaced where scripts run. `has_numbers`: with its table."""
    left = chart.n_left_out
    missing = f" {left} values of 0 or below are not drawn." if left else ""
    title, says = (escape(one_line(said, LONGEST)) for said in (chart.title, chart.says))
    below = f"<details><summary>numbers: <bdi>{title}</bdi></summary>{chart.numbers()}</details>" if has_numbers else ""
    return Trusted(
        f'<figure class="chart"><figcaption><strong><bdi>{title}</bdi></strong> <bdi>{says}</bdi>{missing}</figcaption>'
        f'<div class="drawing">{svg(chart)}</div>'
        # No script element: htmx leaves these out of what it puts into a page.
        f'<div class="data" hidden>{safe_json(chart.data())}</div>'
        f"{below}</figure>"
    )
