"""What the store holds and takes, what a deletion would do, and what the server is."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from starlette.responses import Response

from penult.display.html import Trusted
from penult.errors import from_kind
from penult.results.space.deletion import Deletion, StoredThing, size
from penult.types import StoredKind
from penult.web.pages.parts import MOST_LISTED, listed, newest, paragraph
from penult.web.rendering import link, path, render, shown
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    from penult.client import Client
    from penult.web.asking import Visit

COLLECTIONS = {
    "run": "runs",
    "checkpoint": "checkpoints",
    "dataset": "datasets",
    "features": "features",
    "job": "jobs",
    "result": "results",
    "grouping": "groupings",
}


async def store(visit: Visit) -> Response:
    """Bytes by kind, run and user; datasets, checkpoints and feature sets, each of which can be deleted."""
    usage, datasets, checkpoints, sets = await visit.ask_all(
        lambda: visit.client.usage(),
        lambda: visit.client.datasets.list(),
        lambda: visit.client.checkpoints.list(limit=MOST_LISTED),
        lambda: visit.client.features.list(limit=MOST_LISTED),
    )
    kinds = [(one.kind, f"{one.count:,}", size(one.bytes)) for one in usage.kinds if one.bytes or one.count]
    runs = [
        (
            link(path("runs", one.run), one.name or one.run[:12]),
            one.dataset,
            one.user,
            size(one.bytes),
            _deletes("run", one.run),
        )
        for one in usage.runs[:MOST_LISTED]
    ]
    users = [(one.user or "(not known)", size(one.bytes)) for one in usage.users]
    return visit.page(
        "Store",
        paragraph(f"{usage.root}: {size(usage.bytes)}, {size(usage.free_bytes)} of {size(usage.disk_bytes)} free."),
        paragraph(
            "Every read of a checkpoint or of features is checked against its digest; damage is an error, never zeros. "
            "penult store verify reads all of it."
        ),
        listed(("kind", "count", "bytes"), kinds, caption="by kind", n_text=1, none="Nothing is stored."),
        listed(
            ("run", "dataset", "whose", "bytes", ""),
            runs,
            caption="by run, the largest first",
            n_text=3,
            none="No runs.",
        ),
        listed(("user", "bytes"), users, caption="by user", n_text=1, none="No users are known."),
        listed(
            ("dataset", "modality", "examples", ""),
            [
                (
                    link(path("datasets", one.name), one.name),
                    one.modality,
                    f"{sum(split.n_examples for split in one.splits)}",
                    _deletes("dataset", one.name),
                )
                for one in datasets
            ],
            caption="datasets",
            n_text=2,
            none="No datasets.",
        ),
        listed(
            ("checkpoint", "backbone", "dataset", "epoch", ""),
            [
                (
                    link(path("checkpoints", one.digest), one.name or one.digest[:12]),
                    one.backbone.rsplit("/", 1)[-1],
                    one.dataset,
                    f"{one.epoch:g}",
                    _deletes("checkpoint", one.digest),
                )
                for one in checkpoints
            ],
            caption=f"{newest(checkpoints)} checkpoints",
            n_text=3,
            none="No checkpoints.",
        ),
        listed(
            ("features", "of", "shape", "bytes", ""),
            [
                (
                    link(path("features", one.digest), one.name or one.digest[:12]),
                    f"{one.dataset}/{one.split}" if one.dataset else "uploaded",
                    f"{one.n_examples} x {one.n_features} {one.dtype}",
                    size(one.stored_bytes),
                    _deletes("features", one.digest),
                )
                for one in sets
            ],
            caption=f"{newest(sets)} feature sets",
            n_text=3,
            none="No feature sets.",
        ),
    )


def _deletes(kind: str, id: str) -> Trusted:
    return link(path("delete", kind, id), "delete ...")


async def dataset(visit: Visit) -> Response:
    """One dataset."""
    found = await visit.ask(lambda: visit.client.datasets.get(visit.field("id")))
    return visit.page(f"Dataset {found.name}", shown(found), render("examples_form.html", datasets=[found.name]))


def deletion(client: Client, kind: str, id: str, *, dependents: bool, dry_run: bool) -> Deletion:
    """Delete a thing, or say what that would do. Raises what `delete` of its collection raises."""
    if kind not in get_args(StoredKind):
        raise from_kind(ErrorKind.UNKNOWN_RESULT, f"there is no kind {kind[:40]!r}; there are {', '.join(COLLECTIONS)}")
    collection = getattr(client, COLLECTIONS[kind])
    return collection.delete(id, dependents=dependents, dry_run=dry_run)


async def deleting(visit: Visit) -> Response:
    """What a deletion would do, and the button that does it."""
    kind, id = visit.field("kind"), visit.field("id")
    found = await visit.ask(lambda: deletion(visit.client, kind, id, dependents=False, dry_run=True))
    whole = found
    if not found.is_possible:
        whole = await visit.ask(lambda: deletion(visit.client, kind, id, dependents=True, dry_run=True))
    return visit.page(
        f"Delete {kind} {id[:12]}",
        _things("would go", whole.goes),
        _things("would stay", whole.stays),
        _things("in the way: goes with it only when you say so below", found.in_the_way),
        _things("still in the way", whole.in_the_way) if whole.in_the_way else "",
        paragraph(f"{size(whole.bytes)} would be freed."),
        render(
            "delete_form.html",
            kind=kind,
            id=id,
            form_token=visit.form_token(),
            needs_dependents=not found.is_possible,
            may_run=visit.session.may_run,
        ),
    )


def _things(caption: str, things: tuple[StoredThing, ...]) -> Trusted:
    rows = [(one.kind, one.id[:24], ", ".join(one.names), one.reason, size(one.bytes)) for one in things]
    header = ("kind", "id", "names", "why", "bytes")
    return listed(header, rows, caption=caption, n_text=4, none=f"{caption}: nothing")


async def server(visit: Visit) -> Response:
    """What the server is, and how busy."""
    info, running, queued = await visit.ask_all(
        lambda: visit.client.info(),
        lambda: visit.client.jobs.list(states=["running", "cancelling"], limit=MOST_LISTED),
        lambda: visit.client.jobs.list(states=["queued"], limit=MOST_LISTED),
    )
    workers = [
        (f"{place}", one.device or "not started", "answers" if one.is_up else "is being started")
        for place, one in enumerate(info.compute_workers)
    ]
    return visit.page(
        "Server",
        paragraph(f"{len(running)} of {info.max_running_jobs} jobs run, {len(queued)} of {info.max_queued_jobs} wait."),
        listed(
            ("worker", "device", "state"),
            workers,
            caption="processes that answer queries",
            n_text=3,
            none="None are known.",
        ),
        shown(info),
    )
