"""Class x predicted class (Correct-N-Contrast, stage 1: Zhang et al. 2022, arXiv 2203.01517)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.loss import log_softmax
from penult_server.compute.groupings.found import Floats, Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.predicted import logits_of, rule_of, ruled_logits

RULE = "predictions"


def find(inputs: Inputs) -> Found:
    """The class that the head predicts."""
    value, soft = _predicted(logits_of(inputs.source))
    return Found(
        value=value,
        names=inputs.source.labels.classes,
        soft=soft,
        rule=RULE,
        rule_arrays=rule_of(inputs),
        scores={"accuracy": float(np.count_nonzero(value == inputs.source.y) / value.size)},
    )


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, NDArray[np.float32]]:
    """The class that the rule's head predicts for other rows."""
    return _predicted(ruled_logits(rule, rows))


def _predicted(logits: Floats) -> tuple[Integers, NDArray[np.float32]]:
    return logits.argmax(axis=1).astype(np.int64), np.exp(log_softmax(logits)).astype(np.float32)
