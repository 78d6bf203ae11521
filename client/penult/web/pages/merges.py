"""Merged networks, the lines between networks, and what a checkpoint was made of, as a tree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.responses import Response

from penult.display.html import Trusted, text
from penult.web.pages.parts import MOST_LISTED, command, delete_link, listed, newest
from penult.web.pages.repeating import call
from penult.web.rendering import digest_link, link, path, shown, when

if TYPE_CHECKING:
    from penult.results.merging.merge import Lineage
    from penult.web.asking import Visit


async def merges(visit: Visit) -> Response:
    """Merged checkpoints, and jobs that measure a line."""
    found, curves = await visit.ask_all(
        lambda: visit.client.checkpoints.list(limit=1000),
        lambda: visit.client.jobs.list(kind="merge_curve", limit=MOST_LISTED),
    )
    merged = [one for one in found if one.merge is not None]
    now = datetime.now(UTC)
    rows = [
        (
            link(path("checkpoints", one.digest), one.name or one.digest[:12]),
            one.merge.method,
            f"{len(one.merge.parents)}",
            one.merge.scope,
            one.dataset,
            when(one.created, now),
        )
        for one in merged
        if one.merge is not None
    ]
    lines = [(link(path("jobs", one.id), one.title), one.state, when(one.created, now)) for one in curves]
    return visit.page(
        "Merges",
        listed(
            ("checkpoint", "method", "of", "what was merged", "dataset", "when"),
            rows,
            caption=f"{newest(merged)} merged checkpoints",
            n_text=6,
            none="No network was merged yet: client.merge(checkpoints) makes one of several.",
        ),
        listed(
            ("line", "state", "when"),
            lines,
            caption="lines between two networks",
            n_text=3,
            none="No line was measured.",
        ),
    )


async def checkpoint(visit: Visit) -> Response:
    """One checkpoint, and what it was made of."""
    found = await visit.ask(lambda: visit.client.checkpoints.get(visit.field("id")))
    tree, sets = await visit.ask_all(
        lambda: visit.client.lineage(found),
        lambda: visit.client.features.list(checkpoint=found, limit=100),
    )
    of_run = f"<p>Of run {link(path('runs', found.run_id), found.run_id)}.</p>" if found.run_id else ""
    rows = [(digest_link("features", one.digest), one.split, f"{one.n_examples}") for one in sets]
    return visit.page(
        found.name or f"Checkpoint {found.digest[:12]}",
        shown(found),
        of_run,
        listed(
            ("features", "split", "n"), rows, caption="its features", n_text=2, none="No features were extracted yet."
        ),
        Trusted(f'<section class="card"><h2>What it was made of</h2><ul class="tree">{_branch(tree)}</ul></section>'),
        "" if found.merge is None else shown(found.merge),
        command(call("extract", {"": found.digest[:12]}), "Extract its features"),
        delete_link(visit, "checkpoint", found.digest),
    )


def _branch(tree: Lineage) -> str:
    role = f"{tree.role}: " if tree.role else ""
    what = "deleted" if tree.checkpoint is None else f"{tree.checkpoint.source[:60]}, epoch {tree.checkpoint.epoch:g}"
    if tree.checkpoint is not None and tree.checkpoint.merge is not None:
        what = f"{tree.checkpoint.merge.method} of {len(tree.checkpoint.merge.parents)}"
    above = ", see above" if tree.is_repeated else ""
    below = f"<ul>{''.join(map(_branch, tree.children))}</ul>" if tree.children else ""
    return f"<li>{text(role)}{digest_link('checkpoints', tree.digest)} {text(what)}{above}{below}</li>"
