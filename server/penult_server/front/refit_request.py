"""A refit request made complete: preset and defaults filled in, and everything it says checked."""

import math
from collections.abc import Callable

from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.errors import ServiceError, unknown
from penult_server.front.presets import (
    DEFAULTS,
    PATH_DEFAULTS,
    PRESETS,
    ROBUST_TOLERANCE,
    SELECT_DEFAULTS,
    TOLERANCE,
)
from penult_server.front.refit_effects import TOP_ROWS, check_effects
from penult_server.messages import BALANCE_BY, BALANCE_METHODS
from penult_server.refit_scalars import SCALARS, candidates_of, clear_scalar, has_scalar, read_scalar

MOST_REPEATS = 10_000
MOST_CANDIDATES = 20_000
MOST_STEPS = 1_000_000
SMALLEST_STRENGTH = 1e-30
"""Of what is above 0: halves, quotients and squares of anything smaller are not numbers that a proof could use."""


def expand(request: pb.RefitRequest) -> None:
    """Fill in, in place, everything that the request left out, and check what it said.

    Raises ServiceError (INVALID_ARGUMENT).
    """
    if request.preset not in PRESETS:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "preset", request.preset, [name for name in PRESETS if name])
    asked = pb.RefitRequest()
    asked.CopyFrom(request)
    _check_said_once(asked)
    preset = pb.RefitRequest()
    preset.CopyFrom(PRESETS[asked.preset])
    _leave_to(asked, preset)
    request.CopyFrom(DEFAULTS)
    request.MergeFrom(preset)
    request.MergeFrom(asked)
    if not request.HasField("tolerance"):
        request.tolerance = TOLERANCE if request.risk.kind == pb.RISK_KIND_MEAN else ROBUST_TOLERANCE
    if request.HasField("path"):
        _fill(request.path, PATH_DEFAULTS)
    if request.weights.HasField("detector"):
        _fill(request.weights.detector, PATH_DEFAULTS)
    _check_axes(request)
    unheard = check_effects(request, asked, DEFAULTS)
    _drop_axes(request, unheard)
    _drop_select(request, asked, preset)
    if request.HasField("select"):
        _fill_select(request)
    _check(request)
    for candidate in candidates_of(request):
        _check_numbers(candidate)


def _check_said_once(asked: pb.RefitRequest) -> None:
    """A number is given, or is on the grid; a path's length is steps, or epochs; heads and scalings say their kind."""
    for axis in asked.grid:
        if read_scalar(asked, axis.name) is not None:
            raise _refuse(axis.name, "given once: as a number, or on the grid", "both")
    for name, path in (("path", asked.path), ("detector", asked.weights.detector)):
        if path.HasField("steps") and path.HasField("epochs"):
            raise _refuse(f"{name}.steps", "left out where epochs are given", "both")
    for name, source in (
        ("center", asked.center),
        ("path.start", asked.path.start),
        ("detector.start", asked.weights.detector.start),
    ):
        if (source.refit and source.kind != pb.HEAD_KIND_REFIT) or (
            source.HasField("head") and source.kind != pb.HEAD_KIND_EXPLICIT
        ):
            raise _refuse(name, "of the kind of what it holds", "another kind")
    for name, scaling in (("standardize", asked.scaling), ("select.standardize", asked.select.scaling)):
        if scaling.feature_set and scaling.kind != pb.SCALING_KIND_SET:
            raise _refuse(name, "of the kind 'set' where it names a feature set", "another kind")


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
    unknown_axes = [axis.name for axis in request.grid if axis.name not in SCALARS]
    if unknown_axes:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "number to put on a grid", unknown_axes[0], list(SCALARS))
    names = [axis.name for axis in request.grid]
    if len(set(names)) < len(names) or any(not axis.values for axis in request.grid):
        raise _refuse("grid", "axes of different names with at least one value each", names)
    for axis in request.grid:
        if axis.name == "top_k" and not all(math.isfinite(value) and value == int(value) for value in axis.values):
            raise _refuse("grid['top_k']", "whole numbers", list(axis.values))


def _drop_axes(request: pb.RefitRequest, unheard: set[str]) -> None:
    """Axes of the preset whose number is not heard any more; a number that has an axis has no value beside it."""
    kept = [axis for axis in request.grid if axis.name not in unheard]
    del request.grid[:]
    request.grid.extend(kept)
    for axis in kept:
        clear_scalar(request, axis.name)


def _drop_select(request: pb.RefitRequest, asked: pb.RefitRequest, preset: pb.RefitRequest) -> None:
    """Where nothing of a preset's grid is left to choose from, its choice is left out, too."""
    is_still_a_choice = bool(request.grid) or request.path.keep == pb.PATH_KEEP_BEST
    if PRESETS[asked.preset].grid and not is_still_a_choice and not asked.HasField("select"):
        request.ClearField("select")


def _fill(path: pb.Path, defaults: pb.Path) -> None:
    filled = pb.Path()
    filled.CopyFrom(defaults)
    filled.MergeFrom(path)
    path.CopyFrom(filled)


def _fill_select(request: pb.RefitRequest) -> None:
    filled = pb.Select()
    filled.CopyFrom(SELECT_DEFAULTS)
    filled.MergeFrom(request.select)
    if not filled.HasField("repeats"):
        filled.repeats = request.repeats
    if not filled.scaling.kind:
        filled.scaling.CopyFrom(request.scaling)
    request.select.CopyFrom(filled)


def _refuse(field: str, expected: str, got: object) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{field} must be {expected}, got {got}", field=field)


def _check(request: pb.RefitRequest) -> None:
    """What does not depend on the grid."""
    for name, is_legal, expected, got in (
        ("balance.method", request.balance.method in BALANCE_METHODS, "known to this server", request.balance.method),
        ("balance.by", request.balance.by in BALANCE_BY, "known to this server", request.balance.by),
        ("repeats", 1 <= request.repeats <= MOST_REPEATS, f"1 .. {MOST_REPEATS}", request.repeats),
        (
            "tolerance",
            not request.HasField("tolerance") or 0 < request.tolerance < 1,
            "between 0 and 1",
            request.tolerance,
        ),
        (
            "max_iterations",
            not request.HasField("max_iterations") or 1 <= request.max_iterations <= 10_000,
            "1 .. 10000",
            request.max_iterations,
        ),
    ):
        if not is_legal:
            raise _refuse(name, expected, got)
    _check_scaling("standardize", request.scaling)
    _check_rows(request.rows)
    _check_choice(request)
    if request.HasField("path"):
        _check_path("path", request.path)
        if request.risk.kind != pb.RISK_KIND_MEAN:
            raise _refuse("risk", "the mean on a path: robust risks are solved to their saddle point", "a path")
    if request.center.kind == pb.HEAD_KIND_RANDOM:
        raise _refuse("center", "a head to be pulled to: zero, stored, a refit or a head", "a random one")
    if request.risk.kind != pb.RISK_KIND_MEAN and request.link != pb.LINK_SOFTMAX:
        raise _refuse("link", "softmax under a robust risk", "one class against the rest")
    if request.weights.kind == pb.WEIGHTS_KIND_DETECTED:
        _check_path("detector", request.weights.detector)
        if request.weights.detector.keep == pb.PATH_KEEP_BEST:
            raise _refuse("detector.keep", "'last': nothing scores a detector", "'best'")
    upsampled = (groups_pb2.BALANCE_METHOD_UPSAMPLING, groups_pb2.BALANCE_METHOD_MIXTURE)
    if request.HasField("path") and request.balance.method in upsampled and not request.path.batch_size:
        raise _refuse("batch_size", "set where balancing draws batches", "a path over all rows")


def _check_rows(rows: pb.Rows) -> None:
    if rows.kind == pb.ROWS_KIND_TOP_DISAGREEMENT and not rows.other:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "rows of the largest disagreement need the feature set that is disagreed with, the same split under "
            "another checkpoint: other=",
            field="other",
        )


def _check_scaling(name: str, scaling: pb.Scaling) -> None:
    if scaling.kind == pb.SCALING_KIND_SET and not scaling.feature_set:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"this preset standardises by another feature set: give it as {name}= (of dfr_2022, the training "
            "features), or use dfr_2023, which standardises by the rows given",
            field=name,
        )


def _check_choice(request: pb.RefitRequest) -> None:
    """A grid needs something to choose by, and the other way round."""
    n_candidates = math.prod(len(axis.values) for axis in request.grid)
    if n_candidates > MOST_CANDIDATES:
        raise _refuse("grid", f"of at most {MOST_CANDIDATES} candidates", n_candidates)
    keeps_the_best = request.HasField("path") and request.path.keep == pb.PATH_KEEP_BEST
    has_choice = request.HasField("select") and request.select.WhichOneof("on") is not None
    if (n_candidates > 1 or keeps_the_best) and not has_choice:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{n_candidates} candidates, or the best step of a path, need something to be chosen by: "
            "select={'on': feature set} or select={'on': 'half'}",
            field="select",
        )
    if request.HasField("select"):
        if not has_choice:
            raise _refuse("select", "given what scores, 'on': a feature set or 'half'", "nothing to score on")
        _check_scaling("select.standardize", request.select.scaling)
        if not 1 <= request.select.repeats <= MOST_REPEATS:
            raise _refuse("select.repeats", f"1 .. {MOST_REPEATS}", request.select.repeats)
        if keeps_the_best and request.select.final == pb.SELECT_FINAL_REFIT:
            raise _refuse("select.final", "the chosen head where the best step of a path is kept", "a refit")


def _check_path(name: str, path: pb.Path) -> None:
    for field, is_legal, expected, got in (
        ("optimizer", path.optimizer != pb.PATH_OPTIMIZER_UNSPECIFIED, "gd, sgd or adamw", "none"),
        ("steps", path.HasField("steps") or path.HasField("epochs"), "given, or epochs", "neither"),
        ("steps", not path.HasField("steps") or 1 <= path.steps <= MOST_STEPS, f"1 .. {MOST_STEPS}", path.steps),
        ("epochs", not path.HasField("epochs") or 1 <= path.epochs <= MOST_STEPS, f"1 .. {MOST_STEPS}", path.epochs),
        (
            "momentum",
            path.momentum == 0 or path.optimizer != pb.PATH_OPTIMIZER_ADAMW,
            "left out for adamw, which has its own",
            path.momentum,
        ),
        (
            "schedule",
            path.schedule in (pb.PATH_SCHEDULE_CONSTANT, pb.PATH_SCHEDULE_COSINE),
            "constant or cosine",
            path.schedule,
        ),
        ("momentum", 0 <= path.momentum < 1, "in [0, 1)", path.momentum),
        ("weight_decay", _is_strength(path.weight_decay), "a finite number, at least 0", path.weight_decay),
        ("clip_norm", _is_strength(path.clip_norm), "a finite number, 0 for none", path.clip_norm),
        ("batch_size", path.batch_size >= 0, "at least 1", path.batch_size),
        (
            "batch_size",
            (path.optimizer == pb.PATH_OPTIMIZER_SGD) <= (path.batch_size > 0),
            "set for sgd; with all rows in every step it is gd",
            path.batch_size,
        ),
        (
            "batch_size",
            (path.optimizer == pb.PATH_OPTIMIZER_GD) <= (path.batch_size == 0),
            "left out for gd, which uses all rows",
            path.batch_size,
        ),
    ):
        if not is_legal:
            raise _refuse(f"{name}.{field}", expected, got)


def _check_numbers(request: pb.RefitRequest) -> None:
    """What a grid may change, where it is heard."""
    if request.risk.kind != pb.RISK_KIND_MEAN and not (request.l1 or request.l2):
        raise _refuse(
            "l1 or l2",
            "above 0 under a robust risk, whose saddle point nothing bounds without a penalty; 1e-3 is little",
            "neither",
        )
    needed = {"top_k": request.rows.kind in TOP_ROWS, "learning_rate": request.HasField("path")}
    for name, (is_legal, expected) in LEGAL.items():
        value = read_scalar(request, name)
        if value is None and needed.get(name, False):
            raise _refuse(name, f"given: {expected}", "none")
        if value is not None and not is_legal(value):
            raise _refuse(name, expected, value)


def _is_strength(value: float) -> bool:
    return value == 0 or (math.isfinite(value) and value >= SMALLEST_STRENGTH)


def _is_positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


STRENGTH = (_is_strength, f"0, or a finite number of at least {SMALLEST_STRENGTH:g}")
POSITIVE = (_is_positive, "a finite number above 0")
LEGAL: dict[str, tuple[Callable[[float], bool], str]] = {
    "l1": STRENGTH,
    "l2": STRENGTH,
    "ratio": (lambda value: math.isfinite(value) and value >= 1, "a finite number, at least 1"),
    "gamma": STRENGTH,
    "up": POSITIVE,
    "detector_l1": STRENGTH,
    "class_ratio": POSITIVE,
    "tau": (math.isfinite, "a finite number"),
    "alpha": (lambda value: 0 < value <= 1, "in (0, 1]"),
    "top_k": (lambda value: 1 <= value < 2**53, "a whole number, at least 1"),
    "learning_rate": POSITIVE,
}
"""Of every number that a grid may vary."""
