"""Groupings as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penult.display.html import Row, card, pairs, table

if TYPE_CHECKING:
    from penult.results.groupings.grouping import Grouping
    from penult.results.used_grouping import UsedGrouping


def used_grouping_html(used: UsedGrouping) -> str:
    """Which grouping an answer is by."""
    return card("UsedGrouping", pairs({"digest": used.digest, "of": used.attribute, "rows left out": used.n_left_out}))


def grouping_html(grouping: Grouping) -> str:
    """How the groups were found, and the rows of each."""
    total = max(grouping.n_rows - grouping.n_unassigned, 1)
    rows = [(one.name, str(one.count), f"{one.count / total:.3f}") for one in grouping.groups]
    last = [Row(("in no group", str(grouping.n_unassigned), ""))] if grouping.n_unassigned else []
    last.append(Row(("all", str(grouping.n_rows), "")))
    facts = {
        "digest": grouping.digest,
        "name": grouping.name,
        "method": grouping.method,
        "values of": grouping.attribute,
        **grouping.numbers,
        "features": grouping.feature_set,
        "of": f"{grouping.dataset}/{grouping.split}" if grouping.dataset else "",
        "fitted on": grouping.fit,
        "assigned by": grouping.assigned_by,
        "assigns others": "yes" if grouping.has_rule else "no",
        "created": grouping.created,
    }
    return card(
        "Grouping",
        pairs(facts),
        table(["group", "n", "share"], rows, last=last),
        pairs(grouping.scores),
        notes=grouping.notes,
    )
