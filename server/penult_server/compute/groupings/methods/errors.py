"""Rows that a head misclassifies (JTT: Liu et al. 2021, arXiv 2107.09044)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.sampling.weights import misclassified
from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Floats, Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.predicted import doubt, logits_of, rule_of, ruled_logits
from penult_server.errors import ServiceError

RULE = "errors"
NAMES = ("right", "errors")


def find(inputs: Inputs) -> Found:
    """1 where the head that was given, or the stored logits, err."""
    return found_errors(inputs, logits_of(inputs.source), rule_of(inputs))


def found_errors(inputs: Inputs, logits: Floats, rule: Mapping[str, NDArray[Any]]) -> Found:
    """The groups by the errors of logits (N, C). Raises ServiceError (EMPTY_GROUP) where there are none."""
    y = inputs.source.y
    value = misclassified(logits, y).astype(np.int64)
    if not value.any():
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"the head classifies all {y.size} rows correctly, so that its errors make no group: look at rows it was "
            "not fitted on, at an earlier checkpoint (head=...), or use method='regularised_errors'",
        )
    return Found(
        value=value,
        names=NAMES,
        soft=doubt(logits, y),
        rule=RULE,
        rule_arrays=rule,
        scores={"accuracy": float(np.count_nonzero(value == 0) / y.size)},
    )


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, NDArray[np.float32] | None]:
    """1 where the rule's head errs on other rows."""
    logits = ruled_logits(rule, rows)
    return misclassified(logits, rows.y).astype(np.int64), doubt(logits, rows.y)
