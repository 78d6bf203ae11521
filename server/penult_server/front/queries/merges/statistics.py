"""What a merge asks of running statistics: checked, defaults filled in."""

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2, merges_pb2
from penult_server.errors import ServiceError
from penult_server.front.queries.merges.numbers import invalid

BATCH = 64
COUNT = 2048
MOST_BATCH = 4096
MOST_COUNT = 10_000_000
_MEASURED = ("stream", "batch_size", "count", "seed")
"""Fields that have an effect where statistics are measured."""


def complete_statistics(spec: merges_pb2.MergeSpec, *, has_batch_norm: bool, selects: bool) -> bool:
    """In place: how running statistics are found, but for what a dataset decides; whether one is needed.

    Raises ServiceError (INVALID_ARGUMENT) for what has no effect.
    """
    how = spec.batch_norm
    if not has_batch_norm:
        if spec.HasField("batch_norm"):
            raise _without_effect(
                "batch_norm",
                "the merge changes no weights below BatchNorm: the network has none, or only its head is merged",
            )
        if not selects:
            _check_without_data(spec, "no running statistics are measured")
        spec.ClearField("batch_norm")
        return False
    how.rule = how.rule or merges_pb2.BATCH_NORM_RULE_REESTIMATE
    if how.rule != merges_pb2.BATCH_NORM_RULE_REESTIMATE:
        for field in _MEASURED:
            if how.HasField(field) if field != "stream" else how.stream:
                raise _without_effect(f"bn_{field}", "running statistics are measured with bn='reestimate' alone")
        if not selects:
            _check_without_data(spec, "running statistics are measured with bn='reestimate' alone")
        return False
    how.stream = how.stream or merges_pb2.BATCH_NORM_STREAM_NATURAL
    if spec.attribute and not selects and how.stream != merges_pb2.BATCH_NORM_STREAM_GROUP:
        raise _without_effect("attribute", "groups are looked at with bn_stream='group' alone")
    how.batch_size = how.batch_size if how.HasField("batch_size") else BATCH
    how.count = how.count if how.HasField("count") else COUNT
    how.seed = how.seed
    for name, value, most in (("bn_batch_size", how.batch_size, MOST_BATCH), ("bn_count", how.count, MOST_COUNT)):
        if not 2 <= value <= most:
            raise invalid(name, f"in 2 .. {most}", value)
    return True


def check_modality(dataset: datasets_pb2.Dataset, *, is_text: bool) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for a dataset of what the networks do not read."""
    if is_text != (dataset.modality == datasets_pb2.MODALITY_TEXT):
        raise invalid("dataset", f"one of {'texts' if is_text else 'images'}, which the networks read", dataset.name)


def complete_rows(spec: merges_pb2.MergeSpec, dataset: datasets_pb2.Dataset) -> None:
    """In place: on how many rows networks are measured, at most all. Raises ServiceError: as `complete_data`."""
    n_rows = _training_rows(dataset, "networks are measured")
    if not n_rows:
        raise invalid("dataset", "one with training examples, on which networks are measured", n_rows)
    spec.numbers["rows"] = min(spec.numbers["rows"], n_rows)


def complete_data(spec: merges_pb2.MergeSpec, dataset: datasets_pb2.Dataset) -> None:
    """In place: what the training examples decide. Raises ServiceError: INVALID_ARGUMENT, UNKNOWN_SPLIT."""
    n_rows = _training_rows(dataset, "running statistics are measured")
    if n_rows < 2:
        raise invalid(
            "dataset", "one with at least two training examples, between which BatchNorm has a variance", n_rows
        )
    spec.batch_norm.count = min(spec.batch_norm.count, n_rows)


def _training_rows(dataset: datasets_pb2.Dataset, what: str) -> int:
    sizes = {one.name: one.n_examples for one in dataset.splits}
    if "train" not in sizes:
        mend = ", or take bn='average' or bn='first'" if what.startswith("running") else ""
        raise ServiceError(
            ErrorKind.UNKNOWN_SPLIT,
            f"dataset {dataset.name!r} has no split 'train', on which {what}; it has {', '.join(sizes)}: name another "
            f"dataset{mend}",
            split="train",
        )
    return sizes["train"]


def _check_without_data(spec: merges_pb2.MergeSpec, why: str) -> None:
    for field in ("dataset", "attribute"):
        if getattr(spec, field):
            raise _without_effect(field, why)


def _without_effect(argument: str, why: str) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"{argument} has no effect: {why}; leave it out",
        field=argument,
        argument=argument,
    )
