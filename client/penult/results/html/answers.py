"""Spectra, refits, metrics and what belongs to them as HTML."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from penult.display.html import Row, card, pairs, table
from penult.results.html.groups import groups_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penult.results.descriptors import Descriptors, PrincipalAngles
    from penult.results.metrics import Metrics
    from penult.results.refits import Certificate, Interpolation, Refit, Selection
    from penult.results.run_spectra import RunSpectra
    from penult.results.spectra import Imbalance, Spectra

N_EIGENVALUES = 5
MOST_COMPARISONS = 8
"""Comparisons of a run that have a column."""


def metrics_html(metrics: Metrics) -> str:
    """Every group with its interval, and the other numbers."""
    has_weights = bool(metrics.average_weights.size)
    facts = {
        "average": number(metrics.average_accuracy),
        "weighted by training shares": number(metrics.weighted_average_accuracy) if has_weights else None,
        "worst group": f"{number(metrics.worst_group_accuracy)} ({metrics.worst_group.name})",
        "worst class": number(metrics.worst_class_accuracy),
        "balanced": number(metrics.balanced_accuracy),
        "AUROC": number(metrics.auroc),
        "loss": f"{metrics.loss:.4f} nats",
        "calibration error": number(metrics.ece),
        "Brier": f"{metrics.brier:.4f}",
    }
    by = "" if metrics.grouping is None else f" by {metrics.grouping.attribute}"
    return card(f"Metrics{by}", groups_table({"": metrics}), pairs(facts), notes=metrics.notes)


def number(value: float) -> str:
    """Three digits, or a dash where there is no number."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def spectra_html(spectra: Spectra) -> str:
    """The imbalance, and the largest eigenvalues of every group."""
    facts = {
        "digest": spectra.digest,
        "features": spectra.feature_set,
        "rows": f"{spectra.n_rows} of {spectra.n_examples}",
        "divisor": "n" if not spectra.correction else f"n - {spectra.correction}",
        "centered": spectra.center,
        "intervals and p": spectra.inference,
        "replicates": spectra.replicates,
        "seed": spectra.seed,
        "grouping": None if spectra.grouping is None else spectra.grouping.digest,
    }
    n_shown = min(N_EIGENVALUES, spectra.eigenvalues.shape[1])
    header = [spectra.by, "n", "trace", *(f"λ{rank}" for rank in range(1, n_shown + 1))]
    rows = [
        (group.name, str(group.count), significant(trace), *(significant(value) for value in values[:n_shown]))
        for group, trace, values in zip(spectra.groups, spectra.trace, spectra.eigenvalues, strict=True)
    ]
    return card(
        f"Spectra by {spectra.by}",
        imbalance_table(spectra.imbalance, spectra.confidence),
        table(header, rows, caption="eigenvalues"),
        pairs(facts),
        notes=spectra.notes,
    )


def significant(value: float) -> str:
    """Four digits, or a dash where there is no number."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def imbalance_table(entries: Sequence[Imbalance], confidence: float | None = None) -> str:
    """One row for each comparison; nothing without any."""
    if not entries:
        return ""
    interval = "interval" if confidence is None else f"{confidence:.0%} interval"
    header = ["minority / majority", "n", "ratio", "at equal n", interval, "p", "adjusted p"]
    rows = [
        (
            f"{entry.minority} / {entry.majority}",
            f"{entry.n_minority} / {entry.n_majority}",
            number(entry.ratio),
            number(entry.matched_ratio),
            "–" if math.isnan(entry.low) else f"[{entry.low:.3f}, {entry.high:.3f}]",
            _p(entry.p_value),
            _p(entry.p_adjusted),
        )
        for entry in entries
    ]
    return table(header, rows, caption="imbalance: ratio of the largest eigenvalues")


def _p(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2g}"


def imbalance_html(entry: Imbalance) -> str:
    """One comparison."""
    return card(f"Imbalance of {entry.label}", imbalance_table([entry]))


def run_spectra_html(spectra: RunSpectra) -> str:
    """The ratio at equal sizes of every comparison after every epoch."""
    first = spectra.spectra[0]
    header = ["epoch", *(entry.label for entry in first.imbalance[:MOST_COMPARISONS])]
    rows = [
        (f"{epoch:g}", *(_matched(entry) for entry in one.imbalance[:MOST_COMPARISONS]))
        for epoch, one in zip(spectra.epochs, spectra.spectra, strict=True)
    ]
    left = len(first.imbalance) - MOST_COMPARISONS
    facts = {"run": spectra.run, "split": spectra.split, "by": first.by, "comparisons not shown": max(0, left) or None}
    caption = "ratio of the largest eigenvalues at equal n, with its interval"
    return card("RunSpectra", pairs(facts), table(header, rows, caption=caption))


def _matched(entry: Imbalance) -> str:
    if math.isnan(entry.matched_ratio):
        return f"{number(entry.ratio)} (as measured)"
    return f"{entry.matched_ratio:.3f} [{entry.low:.3f}, {entry.high:.3f}]"


def descriptors_html(descriptors: Descriptors) -> str:
    """One row for each group, one column for each descriptor, and their definitions."""
    header = [descriptors.by, "n", *descriptors.descriptors]
    rows = [
        (
            group.name,
            str(group.count),
            *(significant(one.values[place]) for one in descriptors.descriptors.values()),
        )
        for place, group in enumerate(descriptors.groups)
    ]
    shares = {one.id: f"{one.value:.3f}" for one in descriptors.variance_shares.values()}
    formulas = [(one.id, f"{one.formula} ({one.source})") for one in descriptors.descriptors.values()]
    return card(
        "Descriptors",
        table(header, rows),
        pairs(shares),
        table(["name", "definition"], formulas, n_text=2, longest=300),
    )


def angles_html(angles: PrincipalAngles) -> str:
    """The angle of every rank."""
    rows = [(str(rank), f"{angle:.4f}") for rank, angle in enumerate(angles.angles, start=1)]
    title = f"PrincipalAngles of {angles.first.name} and {angles.second.name}"
    return card(title, pairs({"overlap": number(angles.overlap)}), table(["rank", "radians"], rows))


def refit_html(refit: Refit) -> str:
    """Accuracies where it was evaluated, what was chosen, the certificate and the settings."""
    settings = refit.settings
    facts = {
        "digest": refit.digest,
        "preset": settings.preset,
        "fitted with": ", ".join(refit.strengths()),
        "rows": f"{refit.n_rows} of each of {max(1, settings.repeats)} draws" if settings.repeats > 1 else refit.n_rows,
        "certificate": refit.certificate.in_words(stopped_early=settings.path is not None),
        "features": settings.feature_set,
        "balance": settings.balance,
        "by": settings.by if refit.grouping is None else f"{refit.grouping.attribute} ({refit.grouping.digest})",
        "chosen by": None if refit.select_grouping is None else refit.select_grouping.attribute,
        "seed": settings.seed,
    }
    chosen = "" if refit.selection is None else selection_table(refit.selection)
    return card("Refit", groups_table(refit.metrics), pairs(facts), chosen, notes=refit.notes)


def selection_html(selection: Selection) -> str:
    """The candidates, best first."""
    return card("Selection", selection_table(selection))


def selection_table(selection: Selection) -> str:
    """The candidates, best first, the chosen one marked."""
    names = list(selection.chosen.values)
    header = [*names, "score", "worst group", "average", ""]
    ranked = sorted(selection.candidates, key=lambda one: (one is not selection.chosen, -_or_least(one.score)))
    rows = [
        Row(
            (
                *(f"{one.values[name]:.4g}" for name in names),
                number(one.score),
                number(one.worst_group_accuracy),
                number(one.average_accuracy),
                "◆ chosen" if one is selection.chosen else one.failure,
            ),
            one is selection.chosen,
        )
        for one in ranked
    ]
    caption = f"{len(selection.candidates)} candidates by {selection.metric}, best first"
    return table(header, rows, caption=caption, n_text=0)


def _or_least(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def certificate_html(certificate: Certificate) -> str:
    """What is known of the optimum."""
    facts = {
        "gap": f"{certificate.gap:.3g}",
        "objective": f"{certificate.objective:.6g}",
        "gradient norm": f"{certificate.gradient_norm:.3g}",
        "head error": significant(certificate.head_error),
        "iterations": certificate.iterations,
        "passes": certificate.passes,
    }
    return card(f"Certificate: {'converged' if certificate.converged else 'NOT CONVERGED'}", pairs(facts))


def interpolation_html(curve: Interpolation) -> str:
    """Accuracies at every weight, the best worst group marked."""
    worst = curve.worst_group_accuracy
    best = max(range(len(worst)), key=lambda place: _or_least(float(worst[place])), default=-1)
    rows = [
        Row(
            (
                f"{t:.3g}",
                number(one.average_accuracy),
                number(one.worst_group_accuracy),
                one.worst_group.name,
                "▲ best worst group" if place == best else "",
            ),
            place == best,
        )
        for place, (t, one) in enumerate(zip(curve.t, curve.metrics, strict=True))
    ]
    header = ["weight of the second", "average", "worst group", "which", ""]
    return card("Interpolation", table(header, rows, n_text=0), notes=curve.notes)
