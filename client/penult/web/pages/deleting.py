"""What a deletion would do, before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from starlette.responses import Response

from penult.display.html import Trusted
from penult.errors import NotAllowed, from_kind
from penult.results.space.deletion import Deletion, StoredThing, size
from penult.types import StoredKind
from penult.web.pages.parts import listed, paragraph
from penult.web.rendering import bytes_of, render
from penult_proto.errors import ErrorKind

if TYPE_CHECKING:
    from penult.client import Client
    from penult.web.asking import Visit

COLLECTIONS: dict[str, str] = {
    "run": "runs",
    "checkpoint": "checkpoints",
    "dataset": "datasets",
    "features": "features",
    "job": "jobs",
    "result": "results",
    "grouping": "groupings",
}
"""The collection of the client that has the things of a kind."""


def deletion(client: Client, kind: str, id: str, *, dependents: bool, dry_run: bool) -> Deletion:
    """Delete a thing, or say what that would do. Raises what `delete` of its collection raises."""
    if kind not in get_args(StoredKind):
        raise from_kind(ErrorKind.UNKNOWN_RESULT, f"there is no kind {kind[:40]!r}; there are {', '.join(COLLECTIONS)}")
    collection = getattr(client, COLLECTIONS[kind])
    return collection.delete(id, dependents=dependents, dry_run=dry_run)


async def deleting(visit: Visit) -> Response:
    """What a deletion would do, and the button that does it."""
    kind, id = visit.field("kind"), visit.field("id")
    if not visit.session.may_run:
        raise NotAllowed(
            f"your role, {visit.session.role}, may look at what is stored and delete nothing: ask a runner, who may "
            "delete what is his or hers, or an admin",
            kind=ErrorKind.NOT_ALLOWED,
        )
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
        ),
    )


def _things(caption: str, things: tuple[StoredThing, ...]) -> Trusted:
    rows = [(one.kind, one.id[:24], ", ".join(one.names), one.reason, bytes_of(one.bytes)) for one in things]
    header = ("kind", "id", "names", "why", "bytes")
    return listed(header, rows, caption=caption, n_text=4, none=f"{caption}: nothing")
