"""How the metrics of a run are kept while it is going on."""

from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray

from penult_server.progress import MetricsRecord

Record = TypeVar("Record")


def record_to_json(record: MetricsRecord) -> dict[str, Any]:
    """Arrays with types and shapes; Python's JSON keeps every float64, NaN included, bit for bit."""
    return cast(dict[str, Any], _plain(record))


def record_from_json(content: dict[str, Any]) -> MetricsRecord:
    """The record back. Raises KeyError or TypeError for another release's fields."""
    return _record(MetricsRecord, content)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, np.ndarray):
        array = cast(NDArray[np.generic], value)
        return {"dtype": str(array.dtype), "shape": array.shape, "values": array.ravel().tolist()}
    return value


def _record(kind: type[Record], content: dict[str, Any]) -> Record:
    """A record of this kind, and the records and arrays in it, as its own annotations say."""
    hints = get_type_hints(kind)
    values = {
        name: _record(hints[name], value) if is_dataclass(hints[name]) else _array(value)
        for name, value in content.items()
    }
    return kind(**values)


def _array(value: Any) -> Any:
    if isinstance(value, dict):
        stored = cast(dict[str, Any], value)
        return np.array(stored["values"], dtype=stored["dtype"]).reshape(stored["shape"])
    return value
