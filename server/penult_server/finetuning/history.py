"""Metrics over the course of a run, and how they are kept while it is going on."""

from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from penult_kernels.metrics import GroupMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsRecord:
    """Metrics of one split after so many steps."""

    epoch: float
    """step / (steps of an epoch)."""
    step: int
    split: str
    metrics: GroupMetrics


def record_to_json(record: MetricsRecord) -> dict[str, Any]:
    """Arrays with their types; Python's JSON keeps every float64, NaN included, bit for bit."""
    metrics = {one.name: _plain(getattr(record.metrics, one.name)) for one in fields(GroupMetrics)}
    return {"epoch": record.epoch, "step": record.step, "split": record.split, "metrics": metrics}


def record_from_json(content: dict[str, Any]) -> MetricsRecord:
    """The record back. Raises KeyError or TypeError for another release's fields."""
    metrics = GroupMetrics(**{name: _array(value) for name, value in content["metrics"].items()})
    return MetricsRecord(epoch=content["epoch"], step=content["step"], split=content["split"], metrics=metrics)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        array = cast(NDArray[np.generic], value)
        return {"dtype": str(array.dtype), "values": array.tolist()}
    return value


def _array(value: Any) -> Any:
    if isinstance(value, dict):
        stored = cast(dict[str, Any], value)
        return np.array(stored["values"], dtype=stored["dtype"])
    return value
