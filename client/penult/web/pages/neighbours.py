"""Rows of a feature set beside their nearest neighbours, as a person sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from penult.display.html import Trusted
from penult.errors import invalid
from penult.web.pages.groups import row_ids
from penult.web.pages.parts import command, feature_name, paragraph
from penult.web.rendering import digest_link, render, shown

if TYPE_CHECKING:
    from penult.results.records import FeatureSet
    from penult.web.asking import Visit

MOST_ROWS, MOST_NEIGHBOURS = 12, 12
MOST_OF_ALL = 20_000
"""Rows of a set of which all neighbours are asked for, where the visitor names no rows."""
NEIGHBOUR_SECONDS = 120.0


def neighbours_form(features: FeatureSet) -> Trusted:
    """Asks which rows; nothing for uploaded features, of which the server has no examples to show."""
    return render("neighbours_form.html", features=features.digest) if features.dataset else Trusted("")


async def neighbours(visit: Visit) -> Response:
    """The rows that were asked for, else some, each with its nearest ones within the set; other classes are marked."""
    k = visit.field("k") or "6"
    if not (k.isascii() and k.isdecimal() and 1 <= int(k[:9]) <= MOST_NEIGHBOURS):
        raise invalid(f"of each row 1 to {MOST_NEIGHBOURS} neighbours are shown", argument="k")
    found = await visit.ask(lambda: visit.client.features.get(visit.field("features")))
    ids = row_ids(visit.field("rows"))[:MOST_ROWS] if visit.field("rows") else None
    if ids is None and found.n_examples > MOST_OF_ALL:
        raise invalid(f"of more than {MOST_OF_ALL} rows name those to show, such as 0-5", argument="rows")
    asked: dict[str, Any] = {} if ids is None else {"among": found, "rows": ids}
    near = await visit.compute(
        lambda: visit.client.neighbours(found, k=int(k), timeout=NEIGHBOUR_SECONDS, progress=False, **asked)
    )
    gallery = await visit.ask(
        lambda: visit.client.gallery(near, rows=ids, most=MOST_ROWS // 2 if ids is None else MOST_ROWS)
    )
    return visit.page(
        f"Neighbours in {feature_name(found)}",
        paragraph("Each line begins with a row; then its nearest ones by cosine, with their distance."),
        shown(gallery),
        Trusted(f"<p>Of features {digest_link('features', found.digest)}.</p>"),
        command(
            f"found = client.features.get({found.digest[:12]!r})\nclient.gallery(client.neighbours(found, "
            f"k={int(k)}{'' if ids is None else f', among=found, rows={ids!r}'}))",
            "Read them from Python",
        ),
    )
