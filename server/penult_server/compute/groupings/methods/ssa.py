"""An attribute known of few rows, spread to many (SSA: Nam et al. 2022, arXiv 2204.02070), by heads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.groupings.ssa import Few, attribute_probabilities, spread_attribute
from penult_kernels.linear.problem import Head
from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Floats, Found, Inputs, Integers, Rows
from penult_server.errors import ServiceError


def find(inputs: Inputs) -> Found:
    """The attribute of `other`, as heads say it of the source: each fold's own, or all folds' where `fit` is given.

    `worst_accuracy` is the worst group's, of the labelled rows that were held out, on average over the folds.
    """
    numbers, fit, few = inputs.numbers, inputs.fit, _labelled(inputs)
    n_folds, labels = int(numbers["folds"]), few.labels
    if fit.y.size < n_folds:
        raise _refused(f"{n_folds} folds need as many rows, got {fit.y.size}: take more rows, or fewer folds", "folds")
    spread = spread_attribute(
        fit.features,
        fit.y,
        Few(features=few.features, y=few.y, a=few.a),
        n_classes=len(fit.labels.classes),
        n_values=len(labels.attribute_values),
        l2=numbers["l2"],
        tau=numbers["tau"],
        n_folds=n_folds,
        rounds=int(numbers["rounds"]),
        seed=inputs.seed,
        check=inputs.check,
        report=inputs.progress.stage("labelling folds", "folds"),
    )
    is_fitted = inputs.fit is inputs.source
    probability = spread.probability if is_fitted else attribute_probabilities(spread.heads, inputs.source.features)
    return Found(
        value=_values(probability),
        names=labels.attribute_values,
        soft=probability.astype(np.float32),
        rule="ssa",
        rule_arrays={
            "weight": np.stack([head.weight for head in spread.heads]),
            "bias": np.stack([head.bias for head in spread.heads]),
        },
        scores={"worst_accuracy": float(np.mean(spread.accuracy)), "rounds": float(np.mean(spread.rounds))},
    )


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, NDArray[np.float32]]:
    """The likeliest value by the mean over the heads of all folds."""
    heads = [Head(weight=weight, bias=bias) for weight, bias in zip(rule["weight"], rule["bias"], strict=True)]
    probability = attribute_probabilities(heads, rows.features)
    return _values(probability), probability.astype(np.float32)


def _labelled(inputs: Inputs) -> Rows:
    """The rows with an attribute. Raises ServiceError: ATTRIBUTE_MISSING; EMPTY_GROUP for a value of too few rows."""
    few = inputs.other
    if few is None or not few.labels.attribute_values:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            "method 'ssa' spreads the attribute of a labelled set over these rows: give other=... a set that has one",
            field="other",
        )
    values = few.labels.attribute_values
    if len(values) < 2:
        raise _refused(
            f"the attribute of `other` has one value only, {', '.join(values)!r}: nothing tells groups apart", "other"
        )
    counts = np.bincount(few.a, minlength=len(values))
    if counts.min() < 2:
        name = values[int(np.argmin(counts))]
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"value {name!r} of the attribute has {counts.min()} rows in `other`, and needs 2 at least, one to fit and "
            "one to check: label more rows",
            field="other",
        )
    return few


def _refused(text: str, field: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, text, field=field)


def _values(probability: Floats) -> Integers:
    return probability.argmax(axis=1).astype(np.int64)
