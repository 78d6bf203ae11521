"""A refit request made complete: preset and defaults filled in, and everything it says checked."""

import math
from functools import lru_cache
from typing import TypeVar

from google.protobuf.descriptor import FieldDescriptor

from penult_proto.errors import ErrorKind
from penult_proto.fields.refit import GRID
from penult_proto.presets import PRESETS
from penult_proto.v1 import refits_pb2 as pb
from penult_server.errors import unknown
from penult_server.front.queries.digests import MOST_KEPT, SMALL
from penult_server.front.queries.refits.checks import check_request, refusal
from penult_server.front.queries.refits.defaults import (
    DEFAULTS,
    PATH_DEFAULTS,
    ROBUST_TOLERANCE,
    SELECT_DEFAULTS,
    TOLERANCE,
)
from penult_server.front.queries.refits.effects import check_effects
from penult_server.questions.refit_scalars import clear_scalar, has_scalar, read_scalar

WHOLE = (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64)
_Part = TypeVar("_Part", pb.Path, pb.Select)


def expand(request: pb.RefitRequest) -> None:
    """Fill in, in place, everything that the request left out, and check what it said.

    Raises ServiceError (INVALID_ARGUMENT).
    """
    if request.ByteSize() > SMALL:
        _expand(request)
    else:
        request.ParseFromString(_known_expanded(request.SerializeToString(deterministic=True)))


@lru_cache(MOST_KEPT)
def _known_expanded(content: bytes) -> bytes:
    request = pb.RefitRequest.FromString(content)
    _expand(request)
    return request.SerializeToString()


def _expand(request: pb.RefitRequest) -> None:
    asked, preset = _copy(request), _preset(request.preset)
    _check_said_once(asked)
    _leave_to(asked, preset)
    _complete(request, asked, preset)
    _check_axes(request)
    removed = check_effects(request, asked)
    _drop_axes(request, removed)
    _complete_select(request, asked)
    check_request(request)


def _copy(request: pb.RefitRequest) -> pb.RefitRequest:
    copy = pb.RefitRequest()
    copy.CopyFrom(request)
    return copy


def _preset(name: str) -> pb.RefitRequest:
    """What a preset fills in, nothing without one. Raises ServiceError for a name that there is not."""
    if not name:
        return pb.RefitRequest()
    if name not in PRESETS:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "preset", name, list(PRESETS))
    return _copy(PRESETS[name].request)


def _complete(request: pb.RefitRequest, asked: pb.RefitRequest, preset: pb.RefitRequest) -> None:
    """Merge what is asked for over the preset, and that over the defaults."""
    request.CopyFrom(DEFAULTS)
    request.MergeFrom(preset)
    request.MergeFrom(asked)
    if request.link == pb.LINK_HINGE and not (preset.intercept or asked.intercept):
        request.intercept = pb.INTERCEPT_NONE
    if not request.HasField("tolerance"):
        request.tolerance = TOLERANCE if request.risk.kind == pb.RISK_KIND_MEAN else ROBUST_TOLERANCE
    if request.HasField("path"):
        if has_scalar(request, "subspace") and not request.path.HasField("start"):
            # The correction begins at zero.
            request.path.start.CopyFrom(request.center)
        _fill(request.path, PATH_DEFAULTS)
    if request.weights.HasField("detector"):
        _fill(request.weights.detector, PATH_DEFAULTS)


def _check_said_once(asked: pb.RefitRequest) -> None:
    """Check that a number is given or on the grid, a path's length steps or epochs, and kinds fit what they hold."""
    for axis in asked.grid:
        if read_scalar(asked, axis.name) is not None:
            raise refusal(axis.name, "given once: as a number, or on the grid", "both")
    for name, path in (("path", asked.path), ("detector", asked.weights.detector)):
        if path.HasField("steps") and path.HasField("epochs"):
            raise refusal(f"{name}.steps", "left out where epochs are given", "both")
    for name, source in (
        ("center", asked.center),
        ("path.start", asked.path.start),
        ("detector.start", asked.weights.detector.start),
    ):
        if (source.refit and source.kind != pb.HEAD_KIND_REFIT) or (
            source.HasField("head") and source.kind != pb.HEAD_KIND_EXPLICIT
        ):
            raise refusal(name, "of the kind of what it holds", "another kind")
    for name, scaling in (("standardize", asked.scaling), ("select.standardize", asked.select.scaling)):
        if scaling.feature_set and scaling.kind != pb.SCALING_KIND_SET:
            raise refusal(name, "of the kind 'set' where it names a feature set", "another kind")


def _leave_to(asked: pb.RefitRequest, preset: pb.RefitRequest) -> None:
    """Take out of a preset what the request says in another way: a number or an axis, steps or epochs."""
    kept = [axis for axis in preset.grid if not has_scalar(asked, axis.name)]
    del preset.grid[:]
    preset.grid.extend(kept)
    for own, other in ((preset.path, asked.path), (preset.weights.detector, asked.weights.detector)):
        if other.HasField("epochs"):
            own.ClearField("steps")
        if other.HasField("steps"):
            own.ClearField("epochs")


def _check_axes(request: pb.RefitRequest) -> None:
    unknown_axes = [axis.name for axis in request.grid if axis.name not in GRID]
    if unknown_axes:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "number to put on a grid", unknown_axes[0], list(GRID))
    names = [axis.name for axis in request.grid]
    if len(set(names)) < len(names) or any(not axis.values for axis in request.grid):
        raise refusal("grid", "axes of different names with at least one value each", names)
    for axis in request.grid:
        is_whole = GRID[axis.name].field.type in WHOLE
        if is_whole and not all(math.isfinite(value) and value == int(value) for value in axis.values):
            raise refusal(f"grid[{axis.name!r}]", "whole numbers", list(axis.values))


def _drop_axes(request: pb.RefitRequest, removed: set[str]) -> None:
    """Remove axes of the preset whose number has no effect now, and the value of a number that has an axis."""
    kept = [axis for axis in request.grid if axis.name not in removed]
    del request.grid[:]
    request.grid.extend(kept)
    for axis in kept:
        clear_scalar(request, axis.name)


def _fill(part: _Part, defaults: _Part) -> None:
    """Fill in what a part leaves out."""
    filled = type(part)()
    filled.CopyFrom(defaults)
    filled.MergeFrom(part)
    part.CopyFrom(filled)


def _complete_select(request: pb.RefitRequest, asked: pb.RefitRequest) -> None:
    """Fill in the defaults of `select`; remove a preset's choice where nothing of its grid is left to choose from."""
    is_still_a_choice = bool(request.grid) or request.path.keep == pb.PATH_KEEP_BEST
    if not is_still_a_choice and not asked.HasField("select") and _preset(asked.preset).grid:
        request.ClearField("select")
    if request.HasField("select"):
        _fill(request.select, SELECT_DEFAULTS)
        if not request.select.HasField("repeats"):
            request.select.repeats = request.repeats
        if not request.select.scaling.kind:
            request.select.scaling.CopyFrom(request.scaling)
