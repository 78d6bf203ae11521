"""What the store holds and takes, and when that was last verified."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.responses import Response

from penult.display.html import Trusted, text
from penult.results.space.deletion import size
from penult.web.pages.parts import MOST_LISTED, delete_link, listed, newest, paragraph
from penult.web.rendering import bytes_of, joined, link, path, render, shown, when

if TYPE_CHECKING:
    from penult.results.space.usage import ThingUsage, Usage
    from penult.types import StoredKind
    from penult.web.asking import Visit

Cells = tuple[str, ...]


async def store(visit: Visit) -> Response:
    """Bytes by kind, run and user; every thing with its bytes, when it was last verified, and the way to delete it."""
    usage, datasets, checkpoints, sets, groupings = await visit.ask_all(
        lambda: visit.client.usage(things=True),
        lambda: visit.client.datasets.list(),
        lambda: visit.client.checkpoints.list(limit=MOST_LISTED),
        lambda: visit.client.features.list(limit=MOST_LISTED),
        lambda: visit.client.groupings.list(limit=MOST_LISTED),
    )
    things = _Things(visit, usage)
    return visit.page(
        "Store",
        paragraph(f"{usage.root}: {size(usage.bytes)}, {size(usage.free_bytes)} of {size(usage.disk_bytes)} free."),
        paragraph(f"The store as a whole: {usage.verified_in_words()}."),
        paragraph(
            "Every read of a checkpoint or of features is checked against its digest; damage is an error, never zeros. "
            f"penult store verify --root {usage.root} reads all of it, beside the server; what it found stands here."
        ),
        listed(
            ("kind", "count", "bytes"),
            [(one.kind, f"{one.count:,}", bytes_of(one.bytes)) for one in usage.kinds if one.bytes or one.count],
            caption="by kind",
            n_text=1,
            none="Nothing is stored.",
        ),
        things.table(
            "run",
            ("run", "dataset", "whose", "with checkpoints and features"),
            [
                (
                    one.run,
                    one.run,
                    link(path("runs", one.run), one.name or one.run[:12]),
                    one.dataset,
                    one.user,
                    bytes_of(one.bytes),
                )
                for one in usage.runs[:MOST_LISTED]
            ],
            caption="by run, the largest first",
            none="No runs.",
        ),
        listed(
            ("user", "bytes"),
            [(one.user or "(not known)", bytes_of(one.bytes)) for one in usage.users],
            caption="by user",
            n_text=1,
            none="No users are known.",
        ),
        things.table(
            "dataset",
            ("dataset", "modality", "examples"),
            [
                (
                    one.digest,
                    one.name,
                    link(path("datasets", one.name), one.name),
                    one.modality,
                    f"{sum(split.n_examples for split in one.splits)}",
                )
                for one in datasets
            ],
            caption="datasets; those of the installation take no space here",
            none="No datasets.",
        ),
        things.table(
            "checkpoint",
            ("checkpoint", "backbone", "dataset", "epoch"),
            [
                (
                    one.digest,
                    one.digest,
                    link(path("checkpoints", one.digest), one.name or one.digest[:12]),
                    one.backbone.rsplit("/", 1)[-1],
                    one.dataset,
                    f"{one.epoch:g}",
                )
                for one in checkpoints
            ],
            caption=f"{newest(checkpoints)} checkpoints",
            none="No checkpoints.",
        ),
        things.table(
            "features",
            ("features", "of", "shape"),
            [
                (
                    one.digest,
                    one.digest,
                    link(path("features", one.digest), one.name or one.digest[:12]),
                    f"{one.dataset}/{one.split}" if one.dataset else "uploaded",
                    f"{one.n_examples} x {one.n_features} {one.dtype}",
                )
                for one in sets
            ],
            caption=f"{newest(sets)} feature sets",
            none="No feature sets.",
        ),
        things.table(
            "grouping",
            ("grouping", "method", "values of"),
            [
                (
                    one.digest,
                    one.digest,
                    link(path("groupings", one.digest), one.name or one.digest[:12]),
                    one.method,
                    one.attribute,
                )
                for one in groupings
            ],
            caption=f"{newest(groupings)} groupings",
            none="No groupings.",
        ),
    )


class _Things:
    """The things of the store, each with its bytes and what was last found of it."""

    def __init__(self, visit: Visit, usage: Usage) -> None:
        self._visit = visit
        self._known = {(one.kind, one.id): one for one in usage.things}
        self._now = datetime.now(UTC)

    def table(
        self, kind: StoredKind, header: Sequence[str], rows: Iterable[Cells], *, caption: str, none: str
    ) -> Trusted:
        """Rows of a thing's id, its name for a deletion, and what is said of it; with the columns that all have."""
        own = [(*cells, *self._cells(kind, id, named)) for id, named, *cells in rows]
        columns = (*header, "bytes", "verified", *(("",) if self._visit.session.may_run else ()))
        return listed(columns, own, caption=caption, n_text=len(columns), none=none)

    def _cells(self, kind: StoredKind, id: str, named: str) -> Cells:
        known = self._known.get((kind, id))
        said = ("", "") if known is None else (bytes_of(known.bytes), _verified(known, self._now))
        if not self._visit.session.may_run:
            return said
        return (*said, "" if known is None else delete_link(self._visit, kind, named, "delete ..."))


def _verified(one: ThingUsage, now: datetime) -> str:
    """When all files of a thing were compared with their digests, and what differed."""
    if one.verified is None:
        return "not since it was written"
    return joined(
        (
            "✘ " if one.damage else "✔ ",
            when(one.verified, now),
            *((text(f": {one.damage}", 200),) if one.damage else ()),
        )
    )


async def dataset(visit: Visit) -> Response:
    """One dataset."""
    found = await visit.ask(lambda: visit.client.datasets.get(visit.field("id")))
    return visit.page(f"Dataset {found.name}", shown(found), render("examples_form.html", datasets=[found.name]))
