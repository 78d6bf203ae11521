"""What an export says of itself, for programs: ``penult.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any, cast

from penult.options import Options
from penult.results.metrics import Metrics
from penult.results.records import Checkpoint, Run, RunManifest
from penult.results.refits import Refit
from penult.types import ExportFormat
from penult.wire.exports.heads import NewHead
from penult.wire.exports.manifest import StoredManifest, preprocessing

OWN_HEAD = "the checkpoint's own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a checkpoint comes from, as far as the server knows."""

    checkpoint: Checkpoint
    run: Run | None
    """None where its run has not ended, or is not known."""
    manifest: RunManifest | None


def measured(origin: Origin, refit: Refit | None, *, own_head: bool) -> dict[str, Metrics]:
    """Metrics of the model that is exported, by the set they were measured on; empty where there are none."""
    if refit is not None:
        return dict(refit.metrics)
    if not own_head or origin.run is None:
        return {}
    return {one.split: one.metrics for one in origin.run.history if one.step == origin.checkpoint.step}


def about(
    format: ExportFormat,
    manifest: StoredManifest,
    stored: Mapping[str, Any],
    origin: Origin,
    *,
    head: NewHead | None,
    refit: Refit | None,
    weights_digest: str,
    metrics: Mapping[str, Metrics],
) -> dict[str, Any]:
    """Everything that is known, as JSON; numbers that are not finite are null."""
    checkpoint, run = origin.checkpoint, origin.run
    said = {
        "export": 1,
        "format": format,
        "penult": version("penult"),
        "weights_digest": weights_digest,
        "classes": list(manifest.classes),
        "preprocessing": preprocessing(manifest, format),
        "head": _head(manifest, head, refit),
        "metrics": {name: metrics_as_json(one) for name, one in metrics.items()},
        "checkpoint": {
            "digest": checkpoint.digest,
            "backbone": checkpoint.backbone,
            "source": checkpoint.source,
            "head": checkpoint.head,
            "notes": [str(note) for note in checkpoint.notes],
            "run": checkpoint.run_id,
            "epoch": checkpoint.epoch,
            "step": checkpoint.step,
            "dataset": checkpoint.dataset,
            "dataset_digest": checkpoint.dataset_digest,
            "attribute": manifest.attribute,
            "created": checkpoint.created.isoformat() if checkpoint.created else "",
        },
        "recipe": recipe_as_json(run.spec.arguments()) if run else None,
        "starting_weights": origin.manifest.weights if origin.manifest else None,
        "versions": origin.manifest.versions if origin.manifest else None,
        "stored_manifest": dict(stored),
    }
    return cast("dict[str, Any]", _finite(said))


def _head(manifest: StoredManifest, head: NewHead | None, refit: Refit | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "source": OWN_HEAD if head is None else head.source,
        "weight": manifest.head_weight,
        "bias": manifest.head_bias,
    }
    if head is not None:
        said |= {"remarks": list(head.remarks), "largest_rounding": head.largest_rounding}
    if refit is not None:
        settings = refit.settings
        said |= {
            "preset": settings.preset,
            "balance": settings.balance,
            "by": settings.by,
            "l1": settings.l1,
            "l2": settings.l2,
            "fitted_on": settings.feature_set,
        }
    return said


def recipe_as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a finetuning; options by the name of their class and what was set."""
    return {name: _options(value) if isinstance(value, Options) else value for name, value in arguments.items()}


def _options(value: Options) -> dict[str, Any]:
    given = {one.name: getattr(value, one.name) for one in fields(cast("Any", value))}
    return {"class": type(value).__name__} | {name: one for name, one in given.items() if one is not None}


def metrics_as_json(metrics: Metrics) -> dict[str, Any]:
    """Counts, accuracies and Wilson intervals of the groups, and the averages."""
    columns = (metrics.correct, metrics.group_accuracy, metrics.group_low, metrics.group_high)
    return {
        "groups": [
            {
                "name": group.name,
                "n": group.count,
                "correct": int(correct),
                "accuracy": float(accuracy),
                "low": float(low),
                "high": float(high),
                "is_worst": group.index == metrics.worst_group.index,
            }
            for group, correct, accuracy, low, high in zip(metrics.groups, *columns, strict=True)
        ],
        "average_accuracy": metrics.average_accuracy,
        "weighted_average_accuracy": metrics.weighted_average_accuracy,
        "worst_group_accuracy": metrics.worst_group_accuracy,
        "loss": metrics.loss,
        "notes": [str(note) for note in metrics.notes],
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in cast("list[Any]", value)]
    return value


def as_text(said: Mapping[str, Any]) -> str:
    """The file's content."""
    return json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
