"""Spectra, refits and metrics as JSON: what scripts in other languages read."""

import math
from dataclasses import asdict

from penult.results.metrics import Metrics
from penult.results.refits import Refit
from penult.results.spectra import Spectra
from penult.results.used_grouping import UsedGrouping


def number_json(value: float) -> float | None:
    """The number as JSON has it: None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None


def spectra_json(spectra: Spectra) -> dict[str, object]:
    """Spectra as JSON; eigenvalues that do not exist are null."""
    return {
        "digest": spectra.digest,
        "feature_set": spectra.feature_set,
        "by": spectra.by,
        "grouping": grouping_json(spectra.grouping),
        "correction": spectra.correction,
        "center": spectra.center,
        "replicates": spectra.replicates,
        "confidence": spectra.confidence,
        "seed": spectra.seed,
        "groups": [
            {
                "name": group.name,
                "n": group.count,
                "trace": number_json(float(trace)),
                "eigenvalues": [number_json(float(value)) for value in values],
            }
            for group, trace, values in zip(spectra.groups, spectra.trace, spectra.eigenvalues, strict=True)
        ],
        "imbalance": [
            {
                "class": entry.class_name,
                "minority": entry.minority,
                "majority": entry.majority,
                "n_minority": entry.n_minority,
                "n_majority": entry.n_majority,
                "inference": entry.inference,
                "ratio": number_json(entry.ratio),
                "matched_ratio": number_json(entry.matched_ratio),
                "low": number_json(entry.low),
                "high": number_json(entry.high),
                "p_value": number_json(entry.p_value),
                "p_adjusted": number_json(entry.p_adjusted),
            }
            for entry in spectra.imbalance
        ],
    }


def refit_json(refit: Refit) -> dict[str, object]:
    """A refit as JSON, without the head itself."""
    return {
        "digest": refit.digest,
        "feature_set": refit.settings.feature_set,
        "preset": refit.settings.preset,
        "grouping": grouping_json(refit.grouping),
        "select_grouping": grouping_json(refit.select_grouping),
        "l2": refit.settings.l2,
        "n_rows": refit.n_rows,
        "converged": refit.certificate.converged,
        "gap": number_json(refit.certificate.gap),
        "metrics": {name: metrics_json(metrics) for name, metrics in refit.metrics.items()},
    }


def grouping_json(grouping: UsedGrouping | None) -> dict[str, object] | None:
    """The grouping that an answer is by; null for the stored groups."""
    return None if grouping is None else asdict(grouping)


def metrics_json(metrics: Metrics) -> dict[str, object]:
    return {
        "grouping": grouping_json(metrics.grouping),
        "average_accuracy": number_json(metrics.average_accuracy),
        "weighted_average_accuracy": number_json(metrics.weighted_average_accuracy),
        "worst_group_accuracy": number_json(metrics.worst_group_accuracy),
        "worst_group": metrics.worst_group.name,
        "group_accuracy": {
            group.name: number_json(float(accuracy))
            for group, accuracy in zip(metrics.groups, metrics.group_accuracy, strict=True)
        },
    }
