"""What callers name: a record, its digest, or its name. Another sort of record is refused with what to pass instead."""

from collections.abc import Mapping
from typing import TypeAlias

from penult import coerce
from penult.errors import InvalidRequest, invalid, shown
from penult.records import Checkpoint, Dataset, Features, FeatureSet, Run

FeatureSetLike: TypeAlias = FeatureSet | str
"""A record, a digest, the start of one (at least 8 characters), or a name."""

_INSTEAD: Mapping[tuple[str, str], str] = {
    ("feature set", "Checkpoint"): "client.extract(checkpoint).wait()['train']",
    ("feature set", "Run"): "client.extract(run.checkpoints[-1]).wait()['train']",
    ("feature set", "Job"): "job.wait()['train'] of an extraction",
    ("feature set", "dict"): "one of its splits, such as sets['train']",
    ("feature set", "Dataset"): "client.extract(run.checkpoints[-1]).wait()['train']",
    ("feature set", "ndarray"): "client.features.upload(features, y, a)",
    ("checkpoint", "Run"): "run.checkpoints[-1]",
    ("checkpoint", "Job"): "job.wait().checkpoints[-1] of a finetuning",
    ("checkpoint", "JobGroup"): "job.wait().checkpoints[-1] of one of its jobs",
    ("checkpoint", "FeatureSet"): "features.checkpoint, empty where they were uploaded",
    ("checkpoint", "Features"): "features.feature_set.checkpoint, empty where they were uploaded",
    ("checkpoint", "tuple"): "one of them, such as run.checkpoints[-1]",
    ("checkpoint", "list"): "one of them, such as checkpoints[-1]",
    ("head", "Run"): "run.checkpoints[-1]",
    ("head", "Job"): "job.wait().checkpoints[-1] of a finetuning",
    ("head", "Checkpoint"): "the head that client.features.read gives: penult.Head(read.head_weight, read.head_bias)",
    ("head", "FeatureSet"): "the head first, the features after it",
    ("head", "Features"): "penult.Head(features.head_weight, features.head_bias)",
    ("head", "str"): "client.runs.checkpoint(digest)",
    ("head", "list"): "one of them, or penult.soup(heads)",
    ("head", "tuple"): "penult.Head(weight, bias) of shapes (C, D) and (C,), or one of several",
    ("run", "Job"): "job.wait()",
    ("run", "JobGroup"): "jobs.wait()[0]",
    ("run", "Checkpoint"): "checkpoint.run_id",
    ("dataset", "Run"): "run.spec.dataset",
    ("dataset", "Checkpoint"): "checkpoint.dataset",
    ("dataset", "FeatureSet"): "features.dataset, empty where they were uploaded",
}
"""What to pass in place of a record of another sort."""


def feature_set_name(value: FeatureSetLike | Features, argument: str = "features") -> str:
    """The digest or name that stands for a feature set. Raises `InvalidRequest`."""
    if isinstance(value, FeatureSet):
        return value.digest
    if isinstance(value, Features):
        return value.feature_set.digest
    return _named(argument, "feature set", value, "a FeatureSet, a digest or a name")


def checkpoint_digest(value: Checkpoint | str, argument: str = "checkpoint") -> str:
    """The digest that stands for a checkpoint. Raises `InvalidRequest`."""
    if isinstance(value, Checkpoint):
        return value.digest
    return _named(argument, "checkpoint", value, "a Checkpoint or its digest")


def run_id(value: Run | str, argument: str = "run") -> str:
    """The id that stands for a run. Raises `InvalidRequest`."""
    if isinstance(value, Run):
        return value.id
    return _named(argument, "run", value, "a Run or its id")


def dataset_name(value: Dataset | str, argument: str = "dataset") -> str:
    """The name that stands for a dataset. Raises `InvalidRequest`."""
    if isinstance(value, Dataset):
        return value.name
    return _named(argument, "dataset", value, "a Dataset or its name")


def wrong_sort(argument: str, sort: str, value: object, expected: str) -> InvalidRequest:
    """The refusal of something that is no `sort`, with what to pass instead where that is known."""
    instead = _INSTEAD.get((sort, type(value).__name__), "")
    hint = f": pass {instead}" if instead else ""
    return invalid(f"{argument}: a {sort} is {expected}; got {shown(value)}{hint}", argument=argument)


def _named(argument: str, sort: str, value: object, expected: str) -> str:
    if not isinstance(value, str) or not value:
        raise wrong_sort(argument, sort, value, expected)
    return coerce.text(argument, value)
