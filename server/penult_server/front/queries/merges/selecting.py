"""What a method that chooses among networks goes by: checked, defaults filled in."""

import math
from collections.abc import Sequence

from penult_proto.errors import ErrorKind
from penult_proto.merge_methods import SELECT_METRICS
from penult_proto.v1 import datasets_pb2, merges_pb2
from penult_server.errors import ServiceError, unknown
from penult_server.front.queries.merges.numbers import invalid

USUAL = "val"


def complete_select(spec: merges_pb2.MergeSpec, dataset: datasets_pb2.Dataset, classes: Sequence[str]) -> None:
    """In place. Raises ServiceError: INVALID_ARGUMENT, UNKNOWN_SPLIT, EMPTY_GROUP, OTHER_CLASSES."""
    how = spec.select
    sizes = {one.name: one for one in dataset.splits}
    how.split = how.split or USUAL
    if how.split not in sizes:
        raise unknown(ErrorKind.UNKNOWN_SPLIT, f"split of dataset {dataset.name!r} called", how.split, list(sizes))
    if how.metric not in SELECT_METRICS:
        raise invalid("select['metric']", f"one of {', '.join(SELECT_METRICS)}", how.metric)
    if not (0 <= how.margin < math.inf):
        raise invalid("select['margin']", "at least 0", how.margin)
    if not sizes[how.split].n_examples:
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"split {how.split!r} of dataset {dataset.name!r} has no example to choose by; name another",
            split=how.split,
        )
    if sorted(classes) != sorted(dataset.classes):
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"the networks know the classes {', '.join(classes[:20])}, dataset {dataset.name!r} has "
            f"{', '.join(dataset.classes[:20])}; choose on a dataset of their classes",
            field="dataset",
        )
