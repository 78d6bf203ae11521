"""The columns that lists of each kind of record have."""

from pathlib import PurePosixPath

from penult.results.groupings.grouping import Grouping
from penult.results.lists.stored import ResultSummary
from penult.results.records import Checkpoint, Dataset, FeatureSet, Run

Row = dict[str, object]


def run_row(run: Run) -> Row:
    """The recipe in short, and what the last epoch reached on the test split, or on the last that was measured."""
    splits = [entry.split for entry in run.history]
    split = "test" if "test" in splits else (splits[-1] if splits else "")
    metrics = run.metrics(split) if split else None
    spec = run.spec
    return {
        "id": run.id,
        "name": run.name,
        "dataset": spec.dataset,
        "backbone": PurePosixPath(spec.backbone).name,
        "balance": spec.balance,
        "epochs": spec.epochs,
        "seed": spec.seed,
        "split": split,
        "average_accuracy": float("nan") if metrics is None else metrics.average_accuracy,
        "worst_group_accuracy": float("nan") if metrics is None else metrics.worst_group_accuracy,
        **_card(run),
    }


def checkpoint_row(checkpoint: Checkpoint) -> Row:
    """What was trained on what, and how far."""
    return {
        "digest": checkpoint.digest,
        "name": checkpoint.name,
        "dataset": checkpoint.dataset,
        "backbone": PurePosixPath(checkpoint.backbone).name,
        "run": checkpoint.run_id,
        "epoch": checkpoint.epoch,
        "n_features": checkpoint.n_features,
        **_card(checkpoint),
    }


def feature_set_row(feature_set: FeatureSet) -> Row:
    """What was extracted or uploaded, and how much of it."""
    return {
        "digest": feature_set.digest,
        "name": feature_set.name,
        "dataset": feature_set.dataset,
        "split": feature_set.split,
        "feature_kind": feature_set.feature_kind,
        "n_examples": feature_set.n_examples,
        "n_features": feature_set.n_features,
        "dtype": feature_set.dtype,
        "groups": len(feature_set.groups),
        "checkpoint": feature_set.checkpoint,
        "stored_bytes": feature_set.stored_bytes,
        **_card(feature_set),
    }


def dataset_row(dataset: Dataset) -> Row:
    """What it holds."""
    return {
        "name": dataset.name,
        "modality": dataset.modality,
        "classes": len(dataset.classes),
        "attributes": tuple(one.name for one in dataset.attributes),
        **{split.name: split.n_examples for split in dataset.splits},
        "digest": dataset.digest,
    }


def result_row(result: ResultSummary) -> Row:
    """What it is, and the worst of its scores."""
    worst = min(result.scores, key=lambda score: score.worst_group_accuracy, default=None)
    return {
        "digest": result.digest,
        "kind": result.kind,
        "name": result.name,
        "title": result.title,
        "preset": result.preset,
        "evaluated_on": worst.evaluated_on if worst else "",
        "average_accuracy": worst.average_accuracy if worst else None,
        "worst_group_accuracy": worst.worst_group_accuracy if worst else None,
        "worst_group": worst.worst_group if worst else "",
        "feature_set": result.feature_sets[0] if result.feature_sets else "",
        **_card(result),
    }


def grouping_row(grouping: Grouping) -> Row:
    """How it was found, and how many groups there are."""
    return {
        "digest": grouping.digest,
        "name": grouping.name,
        "method": grouping.method,
        "values_of": grouping.attribute,
        "dataset": grouping.dataset,
        "split": grouping.split,
        "values": len(grouping.value_names),
        "groups": grouping.n_groups,
        "rows": grouping.n_rows,
        "unassigned": grouping.n_unassigned,
        "feature_set": grouping.feature_set,
        **_card(grouping),
    }


def _card(thing: Run | Checkpoint | FeatureSet | Grouping | ResultSummary) -> Row:
    return {"tags": thing.tags, "note": thing.note, "user": thing.user, "created": thing.created}
