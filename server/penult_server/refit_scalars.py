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


def read_scalar(request: pb.RefitRequest, name: str) -> float | None:
    """The number that a request gives, None when it gives none or there is no such number."""
    if name not in _OWNERS:
        return None
    owner = _OWNERS[name](request)
    return float(getattr(owner, name)) if owner.HasField(name) else None


def write_scalar(request: pb.RefitRequest, name: str, value: float) -> None:
    """Set a number."""
    setattr(_OWNERS[name](request), name, int(value) if name == "top_k" else value)


def has_scalar(request: pb.RefitRequest, name: str) -> bool:
    """Whether a request gives a number, itself or on its grid."""
    return read_scalar(request, name) is not None or any(axis.name == name for axis in request.grid)


def clear_scalar(request: pb.RefitRequest, name: str) -> None:
    """Take a number out of a request, but not off its grid."""
    if read_scalar(request, name) is not None:
        _OWNERS[name](request).ClearField(name)


def largest_of(request: pb.RefitRequest, name: str) -> float:
    """The largest value that a number takes over the grid, 0 where there is none."""
    on_grid = [value for axis in request.grid if axis.name == name for value in axis.values]
    return max(on_grid, default=read_scalar(request, name) or 0.0)


def candidates_of(request: pb.RefitRequest) -> Iterator[pb.RefitRequest]:
    """One request without a grid for each combination of its values, the last axis fastest; itself without a grid."""
    for values in product(*(axis.values for axis in request.grid)):
        candidate = pb.RefitRequest()
        candidate.CopyFrom(request)
        del candidate.grid[:]
        for axis, value in zip(request.grid, values, strict=True):
            write_scalar(candidate, axis.name, value)
        yield candidate
