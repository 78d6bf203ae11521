"""The numbers of a run that go to a tracker."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from penult.results.records import Run


class Scalar(NamedTuple):
    """One number of a run."""

    tag: str
    """Such as "test/sneaker, grass/accuracy"; `metric_name` makes names of it that MLflow takes."""
    step: int
    value: float
    seconds: float
    """When the run ended: the epochs themselves have no clock."""


def scalars(run: Run) -> Iterator[Scalar]:
    """Accuracies of every group, the average and the worst group of every split after every epoch, in their order."""
    ended = run.created.timestamp() if run.created is not None else 0.0
    for entry in sorted(run.history, key=lambda one: (one.epoch, one.split)):
        metrics = entry.metrics
        values = {
            **{
                f"{group.name}/accuracy": float(value)
                for group, value in zip(metrics.groups, metrics.group_accuracy, strict=True)
            },
            "average": metrics.average_accuracy,
            "worst_group": metrics.worst_group_accuracy,
            "loss": metrics.loss,
        }
        for name, value in values.items():
            if math.isfinite(value):
                yield Scalar(f"{entry.split}/{name}", entry.step, value, ended)
