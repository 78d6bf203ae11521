"""Rows above or below the quantile of chosen features within their class; several features are crossed."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from numpy.typing import NDArray

from penult_kernels.groupings.ranks import above, columns_of, thresholds
from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Found, Inputs, Integers, Rows
from penult_server.compute.groupings.methods.chosen import indices_of
from penult_server.errors import ServiceError

MOST = 6
"""Features at most: each doubles the groups."""


def find(inputs: Inputs) -> Found:
    """sum_j 2^j 1[feature j of the row is above its quantile over the rows of the class in `fit`]."""
    chosen = indices_of(inputs, MOST)
    if not chosen.size:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "method 'units' cuts classes in two by features: say which, indices=[17] for example",
            field="indices",
        )
    fit = inputs.fit
    limits = thresholds(columns_of(fit.features, chosen), fit.y, len(fit.labels.classes), inputs.numbers["quantile"])
    rule = {"indices": chosen, "limits": limits}
    value, _ = assign(rule, inputs.source)
    return Found(value=value, names=_names(chosen), rule="units", rule_arrays=rule)


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, None]:
    """The same limits for other rows."""
    return above(columns_of(rows.features, rule["indices"]), rows.y, rule["limits"]), None


def _names(chosen: Integers) -> tuple[str, ...]:
    """Names of all values, in their order: the first feature changes fastest."""
    ends = product(("low", "high"), repeat=chosen.size)
    return tuple(
        ", ".join(f"unit {unit} {end}" for unit, end in zip(chosen, reversed(one), strict=True)) for one in ends
    )
