"""Stored answers: spectra, refits, diagnostics, and each of any kind; and the feature sets that they are about."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import Response

from penult.calls.methods.presets import presets
from penult.display.html import Trusted, text
from penult.results.refits import Refit
from penult.results.spectra import Spectra
from penult.types import ResultKind
from penult.web.charts.of_answers import scatter_chart, selection_chart, spectrum_chart
from penult.web.pages.neighbours import neighbours_form
from penult.web.pages.parts import (
    MOST_LISTED,
    choices,
    command,
    delete_link,
    feature_name,
    figures,
    listed,
    newest,
    paragraph,
    summaries_table,
)
from penult.web.pages.repeating import call
from penult.web.rendering import digest_link, joined, link, path, render, shown, when

if TYPE_CHECKING:
    from penult.results.lists.stored import ResultSummary
    from penult.results.records import FeatureSet
    from penult.web.asking import Visit
    from penult.wire.references import Answer

WORST_SIGN = "▼"


async def spectra(visit: Visit) -> Response:
    """Stored spectra, the newest one drawn."""
    found, sets = await visit.ask_all(
        lambda: visit.client.results.list(kind="spectra", limit=MOST_LISTED),
        lambda: visit.client.features.list(limit=MOST_LISTED),
    )
    drawn = [await visit.answer(found[0].digest)] if found else []
    return visit.page(
        "Spectra",
        *(part for one in drawn for part in (paragraph(f"The newest: {found[0].title}."), *answer_parts(one))),
        summaries_table(
            found, caption=f"{newest(found)} stored spectra, newest first", none="No spectra are stored yet."
        ),
        _form(visit, "compute_spectra.html", sets),
    )


async def refits(visit: Visit) -> Response:
    """Stored refits: worst group against average, and a table to sort."""
    found, sets = await visit.ask_all(
        lambda: visit.client.results.list(kind="refit", limit=MOST_LISTED),
        lambda: visit.client.features.list(limit=MOST_LISTED),
    )
    names = {one.digest: f"{one.dataset}/{one.split}" if one.dataset else one.name or "uploaded" for one in sets}
    return visit.page(
        "Refits",
        figures([scatter_chart(found)]),
        refits_table(found, names, caption=f"{newest(found)} stored refits, newest first; a column's name sorts"),
        _form(visit, "compute_refit.html", sets, presets=[one.name for one in presets()]),
    )


def refits_table(found: list[ResultSummary], names: dict[str, str], *, caption: str) -> Trusted:
    """A row for each refit and evaluated set."""
    now = datetime.now(UTC)
    best = max((score.worst_group_accuracy for one in found for score in one.scores), default=2.0)
    rows = [
        (
            link(path("results", one.digest), one.name or one.digest[:12]),
            one.preset or "own settings",
            one.title,
            _fitted_on(one.feature_sets[0], names) if one.feature_sets else "",
            "" if score is None else score.evaluated_on,
            "" if score is None else f"{score.average_accuracy:.3f}",
            "" if score is None else f"{score.worst_group_accuracy:.3f}",
            "" if score is None else f"{WORST_SIGN} {score.worst_group}",
            "▲ best" if score is not None and score.worst_group_accuracy == best else "",
            when(one.created, now),
        )
        for one in found
        for score in (one.scores or (None,))
    ]
    header = ("refit", "preset", "settings", "fitted on", "on", "average", "worst group", "which", "", "when")
    return listed(header, rows, caption=caption, n_text=5, none="No refits are stored yet.")


def _fitted_on(digest: str, names: dict[str, str]) -> Trusted:
    """The name of a feature set, which others may share, and the link to it."""
    return joined((text(names.get(digest, "")), " ", digest_link("features", digest)))


async def diagnostics(visit: Visit) -> Response:
    """Stored diagnoses, descriptors and angles."""
    kinds: tuple[ResultKind, ...] = ("diagnosis", "descriptors", "principal_angles")
    lists = await visit.ask_all(*(partial(visit.client.results.list, kind=kind, limit=MOST_LISTED) for kind in kinds))
    return visit.page(
        "Diagnostics",
        *(
            summaries_table(
                found, caption=f"{newest(found)} stored: {kind.replace('_', ' ')}", none=f"None stored: {kind}."
            )
            for kind, found in zip(kinds, lists, strict=True)
        ),
        paragraph("client.diagnose(features, ids) asks for one; client.diagnostics() lists what can be asked."),
    )


async def result(visit: Visit) -> Response:
    """One stored answer, whole."""
    digest = visit.field("id")
    found = await visit.answer(digest)
    return visit.page(
        f"{type(found).__name__} {(getattr(found, 'digest', '') or digest)[:12]}",
        *answer_parts(found),
        command(f"client.results.get({(getattr(found, 'digest', '') or digest)[:12]!r})", "Read it from Python"),
        delete_link(visit, "result", getattr(found, "digest", "") or digest),
    )


def answer_parts(answer: Answer, *, has_numbers: bool = True) -> list[Trusted]:
    """What page and report both show of an answer: its figures, and everything in words and numbers."""
    if isinstance(answer, Spectra):
        return [figures([spectrum_chart(answer)], has_numbers=has_numbers), shown(answer)]
    if isinstance(answer, Refit):
        chart = None if answer.selection is None else selection_chart(answer.selection)
        return [shown(answer), figures([chart], has_numbers=has_numbers)]
    return [shown(answer)]


async def features(visit: Visit) -> Response:
    """A feature set, and what is stored about it."""
    found, about = await visit.ask_all(
        lambda: visit.client.features.get(visit.field("id")),
        lambda: visit.client.results.list(feature_set=visit.field("id"), limit=MOST_LISTED),
    )
    made_by = f"Under checkpoint {digest_link('checkpoints', found.checkpoint)}." if found.checkpoint else ""
    return visit.page(
        feature_name(found),
        shown(found),
        Trusted(f"<p>{made_by}</p>") if made_by else "",
        summaries_table(about, caption="stored answers about it", none="Nothing has been asked about it yet."),
        neighbours_form(found),
        _form(visit, "compute_spectra.html", [found]),
        _form(visit, "compute_refit.html", [found], presets=[one.name for one in presets()]),
        command(call("features.get", {"": found.digest[:12]}), "Use it from Python"),
        delete_link(visit, "features", found.digest),
    )


def _form(visit: Visit, template: str, sets: list[FeatureSet], **values: object) -> Trusted:
    """A form that asks for a computation; nothing for a reader, or without features."""
    if not visit.session.may_run or not sets:
        return Trusted("")
    return render(template, sets=choices(sets), form_token=visit.form_token(), **values)
