"""The numbers of a refit request that a grid may vary, by name, and the candidates that a grid makes."""

from collections.abc import Iterator, Sequence
from itertools import product

from penult_proto.fields.refit import GRID
from penult_proto.v1 import refits_pb2 as pb


def read_scalar(request: pb.RefitRequest, name: str) -> float | None:
    """The number that a request gives, None when it gives none or there is no such number."""
    value = GRID[name].value(request) if name in GRID else None
    return None if value is None else float(value)


def write_scalar(request: pb.RefitRequest, name: str, value: float) -> None:
    """Set a number."""
    owner = GRID[name].owner(request)
    setattr(owner, name, type(getattr(owner, name))(value))


def has_scalar(request: pb.RefitRequest, name: str) -> bool:
    """Whether a request gives a number, itself or on its grid."""
    return read_scalar(request, name) is not None or any(axis.name == name for axis in request.grid)


def clear_scalar(request: pb.RefitRequest, name: str) -> None:
    """Take a number out of a request, but not off its grid."""
    if read_scalar(request, name) is not None:
        GRID[name].owner(request).ClearField(name)


def values_of(request: pb.RefitRequest, name: str) -> list[float]:
    """The values that a number takes over the grid, or the one that is given; none where there is none."""
    on_grid = [value for axis in request.grid if axis.name == name for value in axis.values]
    given = read_scalar(request, name)
    return on_grid or ([] if given is None else [given])


def candidates_of(request: pb.RefitRequest) -> Iterator[pb.RefitRequest]:
    """One request without a grid for each combination of its values, the last axis fastest; itself without a grid."""
    for values in product(*(axis.values for axis in request.grid)):
        yield _with(request, values)


def candidate_at(request: pb.RefitRequest, index: int) -> pb.RefitRequest:
    """The candidate at a place among `candidates_of`."""
    return _with(request, grid_values(request, index))


def grid_values(request: pb.RefitRequest, index: int) -> list[float]:
    """Numbers of the index-th combination of the grid, the last axis fastest."""
    values: list[float] = []
    for axis in reversed(request.grid):
        index, own = divmod(index, len(axis.values))
        values.append(axis.values[own])
    return values[::-1]


def _with(request: pb.RefitRequest, values: Sequence[float]) -> pb.RefitRequest:
    candidate = pb.RefitRequest()
    candidate.CopyFrom(request)
    del candidate.grid[:]
    for axis, value in zip(request.grid, values, strict=True):
        write_scalar(candidate, axis.name, value)
    return candidate
