"""Parts that several pages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from penult.display.html import Row, Trusted, on_a_page, table, text
from penult.display.names import one_line
from penult.web.charts.figure import figure
from penult.web.charts.model import Chart
from penult.web.rendering import digest_link, joined, link, path, when

if TYPE_CHECKING:
    from penult.results.lists.stored import ResultSummary
    from penult.results.records import FeatureSet, Run
    from penult.types import StoredKind
    from penult.web.asking import Visit

MOST_LISTED = 300
"""Things of a list that a page shows, the newest ones."""


def listed(header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, n_text: int, none: str) -> Trusted:
    """A table, or a sentence where there is nothing."""
    found = [Row(tuple(row)) for row in rows]
    if not found:
        return Trusted(f'<p class="none">{text(none, 300)}</p>')
    with on_a_page():
        return Trusted(table(header, found, caption=caption, n_text=n_text, longest=80))


def figures(charts: Iterable[Chart | None], *, has_numbers: bool = True) -> Trusted:
    """Figures one beside the other. `has_numbers`: with their tables."""
    with on_a_page():
        drawn = [figure(one, has_numbers=has_numbers) for one in charts if one is not None]
    return Trusted(f'<div class="figures">{joined(drawn)}</div>') if drawn else Trusted("")


def paragraph(said: str) -> Trusted:
    """A sentence of running text."""
    return Trusted(f"<p>{text(said, 600)}</p>")


def command(code: str, title: str) -> Trusted:
    """What can be typed to ask for the same again."""
    return Trusted(f'<section class="card"><h2>{text(title, 200)}</h2><pre tabindex="0">{escape(code)}</pre></section>')


def delete_link(visit: Visit, kind: StoredKind, id: str, said: str = "") -> Trusted:
    """To the page that says what a deletion would do; nothing for who may not delete."""
    if not visit.session.may_run:
        return Trusted("")
    to = path("delete", kind, id)
    which = "these features" if kind == "features" else f"this {kind}"
    return link(to, said) if said else Trusted(f"<p>{link(to, f'Delete {which} ...')}</p>")


def runs_table(runs: Iterable[Run], *, caption: str) -> Trusted:
    """Runs in a line each."""
    now = datetime.now(UTC)
    rows: list[tuple[str, ...]] = []
    for run in runs:
        splits = {entry.split: None for entry in run.history}
        split = "test" if "test" in splits else next(reversed(splits), "")
        metrics = run.metrics(split) if split else None
        rows.append(
            (
                link(path("runs", run.id), run.name or run.id[:12]),
                run.spec.dataset,
                run.spec.backbone.rsplit("/", 1)[-1],
                run.spec.balance,
                f"{run.spec.seed}",
                split,
                "" if metrics is None else f"{metrics.average_accuracy:.3f}",
                "" if metrics is None else f"{metrics.worst_group_accuracy:.3f}",
                "" if metrics is None else f"▼ {metrics.worst_group.name}",
                run.user,
                when(run.created, now),
            )
        )
    header = (
        "run",
        "dataset",
        "backbone",
        "balance",
        "seed",
        "on",
        "average",
        "worst group",
        "which",
        "whose",
        "created",
    )
    return listed(header, rows, caption=caption, n_text=4, none="No run has finished yet: penult finetune starts one.")


def summaries_table(found: Iterable[ResultSummary], *, caption: str, none: str) -> Trusted:
    """Stored answers in a line each."""
    now = datetime.now(UTC)
    rows = [
        (
            link(path("results", one.digest), one.name or one.digest[:12]),
            one.kind.replace("_", " "),
            one.title,
            digest_link("features", one.feature_sets[0] if one.feature_sets else ""),
            one.user,
            when(one.created, now),
        )
        for one in found
    ]
    return listed(
        ("answer", "kind", "what", "features", "whose", "created"), rows, caption=caption, n_text=6, none=none
    )


def feature_name(one: FeatureSet) -> str:
    """What a feature set is called in a list to choose from."""
    origin = one_line(f"{one.dataset}/{one.split}", 60) if one.dataset else "uploaded"
    named = f" {one_line(one.name, 60)}" if one.name else ""
    return f"{origin}{named} ({one.digest[:8]}, {one.n_examples} x {one.n_features})"


def choices(sets: Iterable[FeatureSet]) -> list[tuple[str, str]]:
    """Feature sets as the options of a form: value and name."""
    return [(one.digest, feature_name(one)) for one in sets]


def newest(things: Sequence[Any], most: int = MOST_LISTED) -> str:
    """How a caption counts a list that may be cut."""
    return f"the newest {most}" if len(things) >= most else f"{len(things)}"
