"""Accuracies of groups as a table: n, accuracy and interval of every split or evaluated set, the worst one marked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penult.display.html import WORST, Row, card, pairs, table
from penult.display.names import in_usual_order

if TYPE_CHECKING:
    from penult.results.metrics import EpochMetrics, Metrics
    from penult.results.records import Group


def groups_table(of: Mapping[str, Metrics], caption: str = "") -> str:
    """One row for each group, one set of columns for each name; the average below, and the masks if there are any.

    Sets of other groups have tables of their own.
    """
    parts: list[str] = []
    for names in _of_same_groups(of):
        together = {name: of[name] for name in names}
        parts.append(_table(together, caption))
        if any(metrics.masks for metrics in together.values()):
            parts.append(_masks(together))
    return "".join(parts)


def epoch_html(entry: EpochMetrics) -> str:
    """A split after an epoch."""
    metrics = entry.metrics
    facts = {"epoch": entry.epoch, "split": entry.split, "step": entry.step}
    return card("EpochMetrics", pairs(facts), groups_table({"": metrics}), notes=metrics.notes)


def accuracy(value: float, low: float, high: float) -> str:
    """An accuracy with its interval."""
    return "empty" if math.isnan(value) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _of_same_groups(of: Mapping[str, Metrics]) -> list[list[str]]:
    """Names of the sets that fit into one table, in the usual order."""
    parts: dict[tuple[str, ...], list[str]] = {}
    for name in in_usual_order(of):
        parts.setdefault(tuple(group.name for group in of[name].groups), []).append(name)
    return list(parts.values())


def _header(names: Sequence[str], first: str) -> list[str]:
    """Columns for each set, the last of which holds marks."""
    columns = [[f"{name} n".strip(), f"{name} accuracy [95 %]".strip(), ""] for name in names]
    return [first, *(column for of_set in columns for column in of_set)]


def _table(of: Mapping[str, Metrics], caption: str) -> str:
    rows: list[Row] = []
    groups: tuple[Group, ...] = next(iter(of.values())).groups
    for position, group in enumerate(groups):
        cells, marked = [group.name], False
        for metrics in of.values():
            is_worst = metrics.worst_group.index == group.index
            marked = marked or is_worst
            value = accuracy(
                metrics.group_accuracy[position], metrics.group_low[position], metrics.group_high[position]
            )
            cells += [str(metrics.groups[position].count), value, WORST if is_worst else ""]
        rows.append(Row(tuple(cells), marked))
    averages = [
        cell
        for metrics in of.values()
        for cell in (str(sum(group.count for group in metrics.groups)), f"{metrics.average_accuracy:.3f}", "average")
    ]
    header = _header(list(of), "group")
    return table(header, rows, caption=caption, last=[Row(("all", *averages))])


def _masks(of: Mapping[str, Metrics]) -> str:
    rows: dict[str, list[str]] = {}
    marked: set[str] = set()
    for place, metrics in enumerate(of.values()):
        for mask in metrics.masks:
            cells = rows.setdefault(mask.name, [])
            cells += ["", "", ""] * (place - len(cells) // 3)
            is_worst = metrics.worst_mask is mask
            cells += [str(mask.count), accuracy(mask.accuracy, *mask.interval), WORST if is_worst else ""]
            if is_worst:
                marked.add(mask.name)
    n_cells = 3 * len(of)
    full = [Row((name, *cells, *[""] * (n_cells - len(cells))), name in marked) for name, cells in rows.items()]
    return table(_header(list(of), "mask"), full, caption="masks, which may overlap")
