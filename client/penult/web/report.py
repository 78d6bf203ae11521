"""The report: runs, their spectra and refits in one file that needs no other, for a paper's appendix.

Made of the parts of the page, everything inlined. Equal stored things give equal bytes: there is no clock in it but the
runs' own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penult.display.html import Trusted, on_a_page, pairs
from penult.errors import invalid
from penult.files.atomic import whole_file
from penult.results.refits import Refit
from penult.results.spectra import Spectra
from penult.web.charts.of_answers import scatter_chart
from penult.web.definitions import DEFINITIONS
from penult.web.pages.answers import answer_parts
from penult.web.pages.compare import MOST, comparison, run_columns
from penult.web.pages.parts import command, figures, listed, paragraph
from penult.web.pages.repeating import call
from penult.web.pages.runs import About, newest_answers, run_parts
from penult.web.rendering import HERE, render

if TYPE_CHECKING:
    from penult.client import Client
    from penult.results.lists.stored import ResultSummary
    from penult.results.records import Run, RunManifest

MOST_RUNS = 20
MOST_SPECTRA, MOST_REFITS = 2, 4
"""How many of each run are shown whole; all refits stand in a table."""
MOST_WHOLE = 6
"""Runs up to which figures have their tables and so many answers are shown; of more, one of each and no tables."""
SCRIPTS = ("vendor/uPlot.iife.min.js", "page.js")
STYLES = ("vendor/uPlot.min.css", "page.css")


@dataclass(frozen=True, slots=True)
class Content:
    """What a report is about. Read from a server at once, so that the report itself asks nothing."""

    version: str
    runs: tuple[Run, ...]
    manifests: tuple[RunManifest, ...]
    spectra: tuple[tuple[tuple[float, Spectra], ...], ...]
    """Spectra by group with their epochs, of each run."""
    refits: tuple[tuple[Refit, ...], ...]
    summaries: tuple[tuple[ResultSummary, ...], ...]
    """Every stored refit, of each run."""


def read(client: Client, runs: Sequence[str]) -> Content:
    """What is stored about runs, given by id or name. Blocks. Raises `NotFound`, and `InvalidRequest` for too many."""
    names = list(dict.fromkeys(runs))
    if not 1 <= len(names) <= MOST_RUNS:
        raise invalid(f"a report is of 1 to {MOST_RUNS} runs; got {len(names)}", argument="runs")
    found = tuple(client.runs.get(name) for name in names)
    newest = newest_answers(client)
    about = [About(client, run, newest) for run in found]
    refits = [sorted((a for a in one.answers if a.kind == "refit"), key=lambda a: a.digest) for one in about]
    return Content(
        version=client.info().version,
        runs=found,
        manifests=tuple(client.runs.manifest(run) for run in found),
        spectra=tuple(_spectra(client, one) for one in about),
        refits=tuple(_refits(client, ones) for ones in refits),
        summaries=tuple(tuple(ones) for ones in refits),
    )


def _spectra(client: Client, about: About) -> tuple[tuple[float, Spectra], ...]:
    chosen = sorted(about.spectra())[-12:]
    answers = [(epoch, client.results.get(digest)) for epoch, digest in chosen]
    return tuple((epoch, one) for epoch, one in answers if isinstance(one, Spectra))


def _refits(client: Client, summaries: Sequence[ResultSummary]) -> tuple[Refit, ...]:
    """The best of a run by the worst group of the test split, or of what they were evaluated on."""

    def worst(one: ResultSummary) -> float:
        scores = {score.evaluated_on: score.worst_group_accuracy for score in one.scores}
        return -scores.get("test", max(scores.values(), default=-1.0))

    best = sorted(summaries, key=lambda one: (worst(one), one.digest))[:MOST_REFITS]
    answers = [client.results.get(one.digest) for one in best]
    return tuple(one for one in answers if isinstance(one, Refit))


def html_of(content: Content) -> str:
    """The whole file."""
    split = "test" if all(any(entry.split == "test" for entry in run.history) for run in content.runs) else "val"
    columns = run_columns(content.runs, split, linked=False)
    parts: list[str] = []
    for first in range(0, len(columns), MOST):
        parts += comparison(columns[first : first + MOST], split)
    for place, run in enumerate(content.runs):
        parts += _run(content, place, run)
    scripts = [(HERE / "static" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    styles = [(HERE / "static" / name).read_text(encoding="utf-8") for name in STYLES]
    return render(
        "report.html",
        title=_title(content.runs),
        parts=[Trusted(part) for part in parts],
        provenance=_provenance(content),
        definitions=DEFINITIONS,
        policy=_policy(scripts),
        scripts=[Trusted(one) for one in scripts],
        styles=[Trusted(one) for one in styles],
    )


def _title(runs: Sequence[Run]) -> str:
    names = [run.name or run.id[:12] for run in runs]
    return f"penult: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def _run(content: Content, place: int, run: Run) -> list[str]:
    is_whole = len(content.runs) <= MOST_WHOLE
    parts: list[str] = [*run_parts(run, list(content.spectra[place]), has_numbers=is_whole)]
    for epoch, spectra in content.spectra[place][-(MOST_SPECTRA if is_whole else 1) :]:
        parts += [paragraph(f"Features after epoch {epoch:g}:"), *answer_parts(spectra, has_numbers=is_whole)]
    summaries = content.summaries[place]
    rows = [
        (
            one.digest[:12],
            one.preset or "own settings",
            one.title,
            score.evaluated_on,
            f"{score.average_accuracy:.3f}",
            f"{score.worst_group_accuracy:.3f}",
            score.worst_group,
        )
        for one in summaries
        for score in one.scores
    ]
    header = ("refit", "preset", "settings", "on", "average", "worst group", "which")
    parts += [figures([scatter_chart(summaries)] if is_whole else [])]
    parts += [listed(header, rows, caption="stored refits", n_text=4, none="No refit of its features is stored.")]
    for refit in content.refits[place][: MOST_REFITS if is_whole else 1]:
        parts += answer_parts(refit, has_numbers=is_whole)
    parts.append(command(call("finetune", run.spec.arguments()), "Ask for the run again"))
    return parts


def _provenance(content: Content) -> Trusted:
    parts: list[str] = []
    for run, manifest in zip(content.runs, content.manifests, strict=True):
        facts = {
            "run": run.id,
            "dataset": f"{run.spec.dataset}, sha256 {run.dataset_digest}",
            "started from": manifest.weights,
            "device": f"{manifest.device}, {manifest.threads} threads",
            "resumed at steps": manifest.resumed_at or None,
            "ended": run.created,
            "checkpoints": ", ".join(one.digest for one in run.checkpoints[-1:]),
            **{f"version of {name}": version for name, version in sorted(manifest.versions.items())},
        }
        with on_a_page():
            parts.append(pairs(facts))
    with on_a_page():
        return Trusted(pairs({"report by": f"penult {content.version}"}) + "".join(parts))


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is fetched from anywhere, and no other script runs."""
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def write(client: Client, runs: Sequence[str], path: Path) -> Path:
    """Write the report of runs to a file, whole or not at all. Raises what `read` raises, and `InvalidRequest`."""
    content = html_of(read(client, runs))
    with whole_file(path) as staging:
        staging.write_text(content, encoding="utf-8")
    return path
