"""The numbers of a refit request that a grid may vary, by name, and the candidates that a grid makes."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from penult_proto.v1 import refits_pb2 as pb

_OWNERS: dict[str, Callable[[pb.RefitRequest], Any]] = {
    "l1": lambda request: request,
    "l2": lambda request: request,
    "ratio": lambda request: request.balance,
    "gamma": lambda request: request.weights,
    "up": lambda request: request.weights,
    "class_ratio": lambda request: request.weights,
    "detector_l1": lambda request: request.weights,
    "tau": lambda request: request.offset,
    "alpha": lambda request: request.risk,
    "top_k": lambda request: request.rows,
    "learning_rate": lambda request: request.path,
}
SCALARS = tuple(_OWNERS)
_PLAIN = ("ratio", "top_k", "learning_rate")
"""Fields without presence: 0 says that they were left out."""


def read_scalar(request: pb.RefitRequest, name: str) -> float | None:
    """The number that a request gives, None when it gives none or there is no such number."""
    if name not in _OWNERS:
        return None
    owner = _OWNERS[name](request)
    is_given = bool(getattr(owner, name)) if name in _PLAIN else owner.HasField(name)
    return float(getattr(owner, name)) if is_given else None


def write_scalar(request: pb.RefitRequest, name: str, value: float) -> None:
    """Set a number."""
    setattr(_OWNERS[name](request), name, int(value) if name == "top_k" else value)


def candidates_of(request: pb.RefitRequest) -> Iterator[pb.RefitRequest]:
    """One request without a grid for each combination of its values, the last axis fastest; itself without a grid."""
    for values in product(*(axis.values for axis in request.grid)):
        candidate = pb.RefitRequest()
        candidate.CopyFrom(request)
        del candidate.grid[:]
        for axis, value in zip(request.grid, values, strict=True):
            write_scalar(candidate, axis.name, value)
        yield candidate
