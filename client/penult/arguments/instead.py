"""What to pass in place of a record of another sort, for the message that refuses it."""

from collections.abc import Mapping

from penult.errors import InvalidRequest, invalid, shown

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
    ("head", "str"): "client.results.get(name)",
    ("head", "list"): "one of them, or penult.soup(heads)",
    ("head", "tuple"): "penult.Head(weight, bias) of shapes (C, D) and (C,), or one of several",
    ("run", "Job"): "job.wait()",
    ("run", "JobGroup"): "jobs.wait()[0]",
    ("run", "Checkpoint"): "checkpoint.run_id",
    ("dataset", "Run"): "run.spec.dataset",
    ("dataset", "Checkpoint"): "checkpoint.dataset",
    ("dataset", "FeatureSet"): "features.dataset, empty where they were uploaded",
}
"""What to pass, by the sort that is wanted and the type that was given."""


def wrong_sort(argument: str, sort: str, value: object, expected: str) -> InvalidRequest:
    """The refusal of something that is no `sort`, with what to pass instead where that is known."""
    instead = _INSTEAD.get((sort, type(value).__name__), "")
    hint = f": pass {instead}" if instead else ""
    return invalid(f"{argument}: a {sort} is {expected}; got {shown(value)}{hint}", argument=argument)
