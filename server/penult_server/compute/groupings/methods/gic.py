"""A value that goes with the class here and otherwise in a comparison set (after GIC: Han & Zou 2024)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.groupings.gic import hidden_value
from penult_kernels.linear.problem import Head
from penult_kernels.loss import log_softmax
from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.predicted import head_logits
from penult_server.errors import ServiceError


def find(inputs: Inputs) -> Found:
    """The value of largest probability under the head that maximises information and divergence."""
    numbers, fit, other = inputs.numbers, inputs.fit, _compared(inputs)
    n_values = int(numbers["values"])
    head = hidden_value(
        fit.features,
        fit.y,
        other.features,
        other.y,
        n_classes=len(fit.labels.classes),
        n_values=n_values,
        gamma=numbers["gamma"],
        l2=numbers["l2"],
        learning_rate=numbers["learning_rate"],
        steps=int(numbers["steps"]),
        starts=int(numbers["starts"]),
        seed=inputs.seed,
        check=inputs.check,
        report=inputs.progress.stage("fitting hidden values", "steps"),
    )
    rule = {"weight": head.weight, "bias": head.bias}
    value, soft = assign(rule, inputs.source)
    if np.unique(value).size < 2:
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"all {value.size} rows have one value, so that there are no groups: compare with a set that is more "
            "unlike this one (other=...), or lower gamma or l2",
            field="other",
        )
    return Found(
        value=value,
        names=tuple(str(number) for number in range(n_values)),
        soft=soft,
        rule="gic",
        rule_arrays=rule,
        scores={"information": head.information, "divergence": head.divergence},
    )


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, NDArray[np.float32]]:
    """The value that the head says of other rows."""
    logits = head_logits(Head(weight=rule["weight"], bias=rule["bias"]), rows)
    return logits.argmax(axis=1).astype(np.int64), np.exp(log_softmax(logits)).astype(np.float32)


def _compared(inputs: Inputs) -> Rows:
    """The comparison set. Raises ServiceError: INVALID_ARGUMENT without one; EMPTY_GROUP where it lacks a class."""
    other = inputs.other
    if other is None:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "method 'gic' compares with a set whose classes go with the shortcut in other shares: give other=..., such "
            "as the validation set",
            field="other",
        )
    classes = inputs.fit.labels.classes
    counts = np.bincount(other.y, minlength=len(classes))
    if not counts.all():
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"class {classes[int(np.argmin(counts))]!r} has no row in the comparison set `other`: give one that has "
            "rows of every class",
            field="other",
        )
    return other
