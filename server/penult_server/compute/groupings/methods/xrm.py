"""Twin heads that unlearn what the other finds easy (XRM: Pezeshki et al. 2023, arXiv 2309.16748), of many seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import asarray_like, to_host
from penult_kernels.groupings.twin_heads import crossed, twin_heads
from penult_proto.errors import ErrorKind
from penult_server.compute.groupings.found import Found, Inputs, Integers, Rows
from penult_server.errors import ServiceError

NAMES = ("agreed", "crossed")


def find(inputs: Inputs) -> Found:
    """1 where either twin misses the class of a row, for more than half of the seeds.

    `agreement` is the mean share of seeds that say what the majority says, 1 where all seeds agree; `flipped` the share
    of the labels fitted that the twins changed. Raises ServiceError (EMPTY_GROUP) where no row is crossed.
    """
    numbers, fit = inputs.numbers, inputs.fit
    twins = twin_heads(
        fit.features,
        fit.y,
        len(fit.labels.classes),
        seeds=[[inputs.seed, number] for number in range(int(numbers["seeds"]))],
        steps=int(numbers["steps"]),
        learning_rate=numbers["learning_rate"],
        check=inputs.check,
        report=inputs.progress.stage("fitting twin heads", "steps"),
    )
    weight = to_host(twins.weight)
    value, share = _vote(weight, inputs.source)
    if not value.any():
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"the twin heads of most seeds find the class of all {value.size} rows, so that nothing tells groups "
            "apart: take fewer steps, or fit on other rows (fit=...)",
            field="numbers",
        )
    agreed = np.maximum(share, 1 - share)
    y, classes = inputs.source.y, inputs.source.labels.classes
    of_classes = {f"agreement of {name}": float(agreed[y == c].mean()) for c, name in enumerate(classes)}
    return Found(
        value=value,
        names=NAMES,
        soft=_soft(share),
        rule="xrm",
        rule_arrays={"weight": weight},
        scores={"agreement": float(agreed.mean()), "flipped": float(twins.flipped.mean()), **of_classes},
    )


def assign(rule: Mapping[str, NDArray[Any]], rows: Rows) -> tuple[Integers, NDArray[np.float32]]:
    """What the twins of all seeds say of other rows with classes."""
    value, share = _vote(rule["weight"], rows)
    return value, _soft(share)


def _vote(weight: NDArray[Any], rows: Rows) -> tuple[Integers, NDArray[np.float64]]:
    """(N,) the majority's value, and (N,) the share of seeds that find a row crossed."""
    share = crossed(asarray_like(weight, rows.features), rows.features, rows.y).mean(axis=0)
    return (share > 0.5).astype(np.int64), share


def _soft(share: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.stack([1 - share, share], axis=1).astype(np.float32)
