"""Finished runs: all of them, and one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.responses import Response

from penult.display.html import Trusted, on_a_page
from penult.results.html.stored import run_html
from penult.results.spectra import Spectra
from penult.web.charts.of_runs import gap_chart, history_charts
from penult.web.pages.parts import (
    MOST_LISTED,
    command,
    delete_link,
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
MOST_CHECKPOINTS = 20
"""Checkpoints of a run, the last ones, whose features are looked for."""
MOST_NEWEST = 1000
"""Answers that are asked for at once."""


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
    about, manifest = await visit.ask_all(
        lambda: About(visit.client, found, newest_answers(visit.client)), lambda: visit.client.runs.manifest(found)
    )
    chosen = about.spectra()[:MOST_SPECTRA]
    answers = await asyncio.gather(*(visit.answer(digest) for _, digest in chosen))
    spectra = [(epoch, one) for (epoch, _), one in zip(chosen, answers, strict=True) if isinstance(one, Spectra)]
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
        delete_link(visit, "run", found.id),
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


def newest_answers(client: Client) -> Sequence[ResultSummary]:
    """The newest stored answers, among which those about a run are looked for first. Blocks."""
    return client.results.list(limit=MOST_NEWEST)


class About:
    """What is stored about the features of a run's checkpoints."""

    def __init__(self, client: Client, run: Run, newest: Sequence[ResultSummary]) -> None:
        """Blocks. `newest`: of `newest_answers`."""
        self.sets: dict[str, list[FeatureSet]] = {
            one.digest: client.features.list(checkpoint=one, limit=100) for one in run.checkpoints[-MOST_CHECKPOINTS:]
        }
        self._epochs = {
            features.digest: checkpoint.epoch
            for checkpoint in run.checkpoints
            for features in self.sets.get(checkpoint.digest, ())
        }
        self._splits = {features.digest: features.split for sets in self.sets.values() for features in sets}
        if len(newest) >= MOST_NEWEST:  # there may be older ones, which are asked for set by set
            found = [answer for digest in self._epochs for answer in client.results.list(feature_set=digest)]
            newest = list({one.digest: one for one in found}.values())
        self.answers = [one for one in newest if set(one.feature_sets) & set(self._epochs)]

    def spectra(self) -> list[tuple[float, str]]:
        """Epoch and digest of stored spectra by group: of one split, the one with most of them."""
        by_split: dict[str, list[tuple[float, str]]] = {}
        for one in self.answers:
            if one.kind == "spectra" and one.title.startswith("by group"):
                of = next(digest for digest in one.feature_sets if digest in self._epochs)
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


def _set_links(sets: Sequence[FeatureSet]) -> list[str]:
    links = [link(path("features", one.digest), one.split or one.digest[:8]) for one in sets]
    return [f"{', ' if place else ''}{one}" for place, one in enumerate(links)]
