"""What the page changes, each by a form that was sent by POST: logins, cancellations, computations, deletions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse, Response

from penult.errors import invalid
from penult.web.pages.deleting import deletion
from penult.web.rendering import path
from penult.web.security import form_of

if TYPE_CHECKING:
    from penult.web.asking import Visit

SEE_OTHER = 303
COMPUTE_SECONDS = 600.0


async def cancel(visit: Visit) -> Response:
    """End a job early."""
    await _form(visit)
    id = visit.field("id")
    found = await visit.ask(lambda: visit.client.jobs.get(id).cancel())
    return RedirectResponse(path("jobs", found.id), SEE_OTHER)


async def spectra(visit: Visit) -> Response:
    """Compute spectra, or find them stored, and show them."""
    form = await _form(visit)
    features, by = _one(form, "features"), _one(form, "by") or "group"
    given = _one(form, "top_k")
    if given and not (given.isascii() and given.isdecimal() and len(given) < 9):
        raise invalid("the number of eigenvalues is a whole number, or left empty for all", argument="top_k")
    found = await visit.compute(
        lambda: visit.client.spectra(
            features, by=by, top_k=int(given) if given else None, timeout=COMPUTE_SECONDS, progress=False
        )
    )
    return RedirectResponse(path("results", found.digest), SEE_OTHER)


async def refit(visit: Visit) -> Response:
    """Compute a refit, or find it stored, and show it."""
    form = await _form(visit)
    features, preset, on = _one(form, "features"), _one(form, "preset"), _one(form, "evaluate")
    evaluate: dict[str, Any] = {"test": on} if on else {}
    chosen: Any = preset
    found = await visit.compute(
        lambda: visit.client.refit(
            features, preset=chosen or None, evaluate=evaluate, timeout=COMPUTE_SECONDS, progress=False
        )
    )
    return RedirectResponse(path("results", found.digest), SEE_OTHER)


async def delete(visit: Visit) -> Response:
    """Delete a thing; with its dependents where the form says so."""
    form = await _form(visit)
    kind, id = visit.field("kind"), visit.field("id")
    dependents = _one(form, "dependents") == "yes"
    await visit.ask(lambda: deletion(visit.client, kind, id, dependents=dependents, dry_run=False))
    with visit.session.lock:
        visit.session.answers.clear()
    return RedirectResponse("/store", SEE_OTHER)


async def _form(visit: Visit) -> Mapping[str, list[str]]:
    return await form_of(visit.request, visit.session.form_token)


def _one(form: Mapping[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0].strip()
