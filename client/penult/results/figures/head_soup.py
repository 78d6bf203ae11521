"""What each head adds to a soup, by group, as a figure."""

# matplotlib's stubs leave parts of their signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from penult.results.figures.panels import COLOURS, legend_of_all, plain, row_of_panels, tidy, title, write_notes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from penult.results.merging.head_soup import HeadSoup


def head_soup_figure(soup: HeadSoup) -> Figure:
    """Bars by head, a colour for each group that has rows."""
    values = soup.leave_one_out_loss if soup.shapley is None else soup.shapley
    groups = [index for index, one in enumerate(soup.metrics.groups) if one.count][: len(COLOURS)]
    figure, axes = row_of_panels(1, width=max(4.2, 0.5 * len(values) * len(groups) / 3), height=3.2)
    axis = axes[0]
    width = 0.8 / max(1, len(groups))
    legend: list[tuple[Any, str]] = []
    for place, (index, colour) in enumerate(zip(groups, COLOURS, strict=False)):
        at = np.arange(len(values)) - 0.4 + (place + 0.5) * width
        bars = axis.bar(at, np.nan_to_num(values[:, index]), width=width, color=colour)
        legend.append((bars, tidy(soup.metrics.groups[index].name)))
    axis.axhline(0, color="black", linewidth=0.8)
    title(axis, "Shapley shares" if soup.shapley is not None else "without it")
    axis.set_xlabel("head", fontsize="small")
    axis.set_ylabel("nats gained" if soup.shapley is not None else "nats lost", fontsize="small")
    names = [str(head) if soup.shares is None else f"{head}\n{soup.shares[head]:.2f}" for head in range(len(values))]
    axis.set_xticks(np.arange(len(values)), names)
    plain(axis)
    legend_of_all(figure, legend)
    write_notes(figure, soup.notes)
    return figure
