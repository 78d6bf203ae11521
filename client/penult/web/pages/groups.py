"""Groupings, neighbours, and examples as a person sees them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import Response

from penult.display.html import Trusted
from penult.errors import invalid
from penult.errors import shown as quoted
from penult.results.pictures.gallery import Entry, page
from penult.types import ResultKind
from penult.web.pages.parts import MOST_LISTED, command, delete_link, listed, newest, paragraph, summaries_table
from penult.web.pages.repeating import call
from penult.web.rendering import digest_link, link, path, render, shown, when

if TYPE_CHECKING:
    from penult.web.asking import Visit

NEIGHBOUR_KINDS: tuple[ResultKind, ...] = ("neighbour_metrics", "neighbour_rates", "duplicates", "label_noise")
MOST_EXAMPLES = 48
IN_A_ROW = 8


async def groups(visit: Visit) -> Response:
    """Stored groupings, what is stored about neighbours, and a form for examples."""
    found, datasets, *about = await visit.ask_all(
        lambda: visit.client.groupings.list(limit=MOST_LISTED),
        lambda: visit.client.datasets.list(),
        *(partial(visit.client.results.list, kind=kind, limit=MOST_LISTED) for kind in NEIGHBOUR_KINDS),
    )
    now = datetime.now(UTC)
    rows = [
        (
            link(path("groupings", one.digest), one.name or one.digest[:12]),
            one.method,
            one.attribute,
            f"{one.dataset}/{one.split}" if one.dataset else "uploaded rows",
            f"{one.n_groups}",
            f"{one.n_rows - one.n_unassigned}",
            f"{one.n_unassigned}",
            when(one.created, now),
        )
        for one in found
    ]
    header = ("grouping", "method", "values of", "rows of", "groups", "in a group", "in none", "when")
    return visit.page(
        "Groups and neighbours",
        listed(
            header,
            rows,
            caption=f"{newest(found)} groupings, newest first",
            n_text=4,
            none="No groupings are stored yet: client.discover(features) finds one.",
        ),
        summaries_table(
            [one for part in about for one in part],
            caption="stored answers about neighbours, copies and labels",
            none="Nothing about neighbours is stored yet: client.evaluate_neighbours(features, k=5) asks.",
        ),
        render("examples_form.html", datasets=[one.name for one in datasets]),
    )


async def grouping(visit: Visit) -> Response:
    """One grouping."""
    found = await visit.ask(lambda: visit.client.groupings.get(visit.field("id")))
    return visit.page(
        found.name or f"Grouping {found.digest[:12]}",
        shown(found),
        Trusted(f"<p>Its rows are those of features {digest_link('features', found.feature_set)}.</p>"),
        command(call("groupings.get", {"": found.digest[:12]}), "Use it from Python"),
        delete_link(visit, "grouping", found.digest),
    )


async def examples(visit: Visit) -> Response:
    """Examples of a dataset by their row ids: small pictures, or texts."""
    dataset, split, given = visit.field("dataset"), visit.field("split"), visit.field("rows")
    ids = row_ids(given)
    found = await visit.ask(lambda: visit.client.examples(dataset, split, ids))
    entries = [Entry(one, f"row {one.row_id}") for one in found]
    rows = [entries[first : first + IN_A_ROW] for first in range(0, len(entries), IN_A_ROW)]
    return visit.page(
        "Examples",
        paragraph(f"{len(entries)} examples of {dataset}, split {split}; class and attribute stand below each."),
        shown(page(f"{dataset}/{split}", rows)),
        command(f"client.examples({dataset!r}, {split!r}, {ids!r})", "Read them from Python"),
    )


def row_ids(given: str) -> list[int]:
    """Row ids such as "0-7, 12". Raises `InvalidRequest`."""
    found: list[int] = []
    for part in given.replace(",", " ").split()[:200]:
        first, _, last = part.partition("-")
        ends = (first, last or first)
        if not all(one.isascii() and one.isdecimal() and len(one) < 16 for one in ends):
            raise invalid(f"rows are ids and ranges of ids, such as 0-7, 12; got {quoted(part)}", argument="rows")
        found += range(int(ends[0]), min(int(ends[1]), int(ends[0]) + MOST_EXAMPLES) + 1)
    if not found:
        raise invalid("name the rows to show, such as 0-7, 12", argument="rows")
    return found[:MOST_EXAMPLES]
