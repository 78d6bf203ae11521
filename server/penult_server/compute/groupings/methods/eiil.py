"""Environments that violate invariance most (EIIL: Creager et al. 2021, arXiv 2010.07249), in closed form."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from penult_kernels.sampling.weights import eiil_environments
from penult_server.compute.groupings.found import Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.predicted import logits_of, rule_of, ruled_logits

RULE = "eiil"
NAMES = ("environment 0", "environment 1")


def find(inputs: Inputs) -> Found:
    """The environments of the logits; for two classes those are the errors."""
    value = eiil_environments(logits_of(inputs.source), inputs.source.y)
    return Found(value=value, names=NAMES, rule=RULE, rule_arrays=rule_of(inputs))


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, None]:
    """The environments of other rows: the rule is about each row by itself."""
    return eiil_environments(ruled_logits(rule, rows), rows.y), None
