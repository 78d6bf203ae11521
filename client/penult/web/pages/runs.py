"""Finished runs: all of them, and one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from penult.display.html import Trusted, on_a_page
from penult.results.html.stored import run_html
from penult.results.spectra import Spectra
from penult.web.charts.of_runs import gap_chart, history_charts
from penult.web.pages.parts import (
    MOST_LISTED,
    command,
    figures,
    listed,
    newest,
    paragraph,
    runs_table,
    summaries_table,
)
from penult.web.pages.repeating import call
from penult.web.rendering import digest_link, joined, link, path, shown

if TYPE_CHECKING:
    from penult.client import Client
    from penult.results.lists.stored import ResultSummary
    from penult.results.records import FeatureSet, Run
    from penult.web.asking import Visit

MOST_SPECTRA = 40
"""Stored spectra of a run that its page reads."""


async def runs(visit: Visit) -> Response:
    """Finished runs, newest first."""
    found = await visit.ask(lambda: visit.client.runs.list(limit=MOST_LISTED))
    return visit.page(
        "Runs",
        runs_table(found, caption=f"{newest(found)} runs, newest first; accuracies after the last epoch"),
        template="runs.html",
    )


async def run(visit: Visit) -> Response:
    """One run: accuracies over epochs, checkpoints, what is stored about its features."""
    found = await visit.ask(lambda: visit.client.runs.get(visit.field("id")))
    about, manifest = await visit.ask_all(lambda: About(visit.client, found), lambda: visit.client.runs.manifest(found))
    spectra = [
        (epoch, answer)
        for epoch, digest in about.spectra()[:MOST_SPECTRA]
        if isinstance(answer := await visit.answer(digest), Spectra)
    ]
    return visit.page(
        found.name or f"Run {found.id[:12]}",
        *run_parts(found, spectra),
        _checkpoints(found, about),
        summaries_table(
            about.answers,
            caption="stored answers about its features",
            none="Nothing has been asked about its features yet.",
        ),
        command(call("finetune", found.spec.arguments()), "Ask for it again"),
        shown(manifest),
        delete_link("run", found.id),
    )


def run_parts(run: Run, spectra: list[tuple[float, Spectra]], *, has_numbers: bool = True) -> list[Trusted]:
    """What page and report both show of a run. Without `has_numbers` in short."""
    with on_a_page():
        first = Trusted(run_html(run))
    return [
        first,
        figures(
            [*history_charts(run.history, is_short=not has_numbers), gap_chart(run, spectra)], has_numbers=has_numbers
        ),
    ]


def delete_link(kind: str, id: str) -> Trusted:
    """To the page that says what a deletion would do."""
    return Trusted(f"<p>{link(path('delete', kind, id), f'Delete this {kind} ...')}</p>")


class About:
    """What is stored about the features of a run's checkpoints. Blocks."""

    def __init__(self, client: Client, run: Run) -> None:
        self.sets: dict[str, list[FeatureSet]] = {
            one.digest: client.features.list(checkpoint=one, limit=100) for one in run.checkpoints[-20:]
        }
        self._epochs = {
            features.digest: checkpoint.epoch
            for checkpoint in run.checkpoints
            for features in self.sets.get(checkpoint.digest, ())
        }
        self._splits = {features.digest: features.split for sets in self.sets.values() for features in sets}
        everything = client.results.list(limit=1000)
        self.answers: list[ResultSummary] = [one for one in everything if set(one.feature_sets) & set(self._epochs)]

    def spectra(self) -> list[tuple[float, str]]:
        """Epoch and digest of stored spectra by group: of one split, the one with most of them."""
        by_split: dict[str, list[tuple[float, str]]] = {}
        for one in self.answers:
            if one.kind == "spectra" and one.title.startswith("by group"):
                of = one.feature_sets[0]
                by_split.setdefault(self._splits[of], []).append((self._epochs[of], one.digest))
        return max(by_split.values(), key=len, default=list[tuple[float, str]]())


def _checkpoints(run: Run, about: About) -> Trusted:
    rows: list[tuple[str, ...]] = [
        (
            digest_link("checkpoints", one.digest),
            f"{one.epoch:g}",
            f"{one.step}",
            joined(_set_links(about.sets.get(one.digest, ()))) or "none extracted",
        )
        for one in run.checkpoints
    ]
    header = ("checkpoint", "epoch", "step", "features")
    if not rows:
        return paragraph("No checkpoint of it is stored.")
    return listed(header, rows, caption="checkpoints", n_text=4, none="")


def _set_links(sets: Any) -> list[str]:
    links = [link(path("features", one.digest), one.split or one.digest[:8]) for one in sets]
    return [f"{', ' if place else ''}{one}" for place, one in enumerate(links)]
