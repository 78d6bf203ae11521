"""What the methods that look at predictions share: the logits, and the rule that asks a head about other rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.linear.problem import Head
from penult_kernels.loss import log_softmax
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Floats, Inputs, Integers, Rows
from penult_server.errors import ServiceError


def logits_of(rows: Rows) -> Floats:
    """(N, C). Raises ServiceError (INVALID_ARGUMENT) where there are none."""
    if rows.logits is None:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "these groups follow from what a head predicts, and the rows have neither logits nor a head: upload them "
            "with logits=... or head=...",
        )
    return rows.logits


def ruled_logits(rule: Mapping[str, NDArray[Any]], rows: Rows) -> Floats:
    """(N, C) by which a rule assigns rows: of the head that is stored with it, or without one the rows' own."""
    if "weight" not in rule:
        return logits_of(rows)
    return head_logits(Head(weight=rule["weight"], bias=rule["bias"]), rows)


def head_logits(head: Head, rows: Rows) -> Floats:
    """(N, C) of a head on the host."""
    return to_host(logits_of_heads(rows.features, [head])[0])


def rule_of(inputs: Inputs) -> dict[str, NDArray[Any]]:
    """Arrays of a rule about the logits of a question: the head that was given; none where they are those stored."""
    if inputs.head is None:
        return {}
    return {"weight": np.asarray(inputs.head.weight), "bias": np.asarray(inputs.head.bias)}


def doubt(logits: Floats, y: Integers) -> NDArray[np.float32]:
    """(N, 2) probabilities of a row's own class, and of all others."""
    own = np.exp(log_softmax(logits))[np.arange(y.size), y]
    return np.stack([own, 1 - own], axis=1).astype(np.float32)
