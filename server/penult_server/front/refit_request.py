"""A refit request made complete: preset and defaults filled in, and everything it says checked."""

import math

from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.errors import ServiceError, unknown
from penult_server.front.presets import DEFAULTS, PATH_DEFAULTS, PRESETS, SELECT_DEFAULTS
from penult_server.messages import BALANCE_BY, BALANCE_METHODS
from penult_server.refit_scalars import SCALARS, candidates_of, read_scalar

MOST_REPEATS = 10_000
MOST_CANDIDATES = 20_000
MOST_STEPS = 1_000_000


def expand(request: pb.RefitRequest) -> None:
    """Fill in, in place, everything that the request left out, and check what it said.

    Raises ServiceError (INVALID_ARGUMENT).
    """
    if request.preset not in PRESETS:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "preset", request.preset, [name for name in PRESETS if name])
    asked = pb.RefitRequest()
    asked.CopyFrom(request)
    request.CopyFrom(DEFAULTS)
    request.MergeFrom(PRESETS[asked.preset])
    _replace_grid(request, asked)
    request.MergeFrom(asked)
    request.balance.ratio = request.balance.ratio or 1.0
    if request.HasField("path"):
        _fill(request.path, PATH_DEFAULTS)
    if request.weights.HasField("detector"):
        _fill(request.weights.detector, PATH_DEFAULTS)
    if request.HasField("select"):
        _fill_select(request)
    _check(request)
    for candidate in candidates_of(request):
        _check_numbers(candidate)


def _replace_grid(request: pb.RefitRequest, asked: pb.RefitRequest) -> None:
    """Axes that the request names itself, or whose number it gives, leave the preset's grid; so does what chooses."""
    named = {axis.name for axis in asked.grid}
    kept = [axis for axis in request.grid if axis.name not in named and read_scalar(asked, axis.name) is None]
    had_a_grid = bool(request.grid)
    del request.grid[:]
    request.grid.extend(kept)
    is_still_a_choice = bool(kept) or bool(asked.grid) or request.path.keep == pb.PATH_KEEP_BEST
    if had_a_grid and not is_still_a_choice and not asked.HasField("select"):
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
        ("tolerance", 0 < request.tolerance < 1, "between 0 and 1", request.tolerance),
        ("max_iterations", 1 <= request.max_iterations <= 10_000, "1 .. 10000", request.max_iterations),
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
        _check_path("weights.detector", request.weights.detector)
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
    unknown_axes = [axis.name for axis in request.grid if axis.name not in SCALARS]
    if unknown_axes:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "number to put on a grid", unknown_axes[0], list(SCALARS))
    names = [axis.name for axis in request.grid]
    if len(set(names)) < len(names) or any(not axis.values for axis in request.grid):
        raise _refuse("grid", "axes of different names with at least one value each", names)
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
        _check_scaling("select.standardize", request.select.scaling)
        if not 1 <= request.select.repeats <= MOST_REPEATS:
            raise _refuse("select.repeats", f"1 .. {MOST_REPEATS}", request.select.repeats)
        if keeps_the_best and request.select.final == pb.SELECT_FINAL_REFIT:
            raise _refuse("select.final", "the chosen head where the best step of a path is kept", "a refit")


def _check_path(name: str, path: pb.Path) -> None:
    for field, is_legal, expected, got in (
        ("optimizer", path.optimizer != pb.PATH_OPTIMIZER_UNSPECIFIED, "gd, sgd or adamw", "none"),
        ("steps", 0 <= path.steps <= MOST_STEPS, f"1 .. {MOST_STEPS}", path.steps),
        ("epochs", path.epochs >= 0 and (path.steps or path.epochs) > 0, "at least 1, or steps", path.epochs),
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
    """What a grid may change."""
    weights = request.weights
    for name, is_legal, expected, got in (
        ("l1", _is_strength(request.l1), "a finite number, at least 0", request.l1),
        ("l2", _is_strength(request.l2), "a finite number, at least 0", request.l2),
        (
            "ratio",
            math.isfinite(request.balance.ratio) and request.balance.ratio >= 1,
            "at least 1",
            request.balance.ratio,
        ),
        ("gamma", _is_strength(weights.gamma), "a finite number, at least 0", weights.gamma),
        ("up", _is_strength(weights.up) and weights.up > 0, "a finite number above 0", weights.up),
        ("detector_l1", _is_strength(weights.detector_l1), "a finite number, at least 0", weights.detector_l1),
        (
            "class_ratio",
            _is_strength(weights.class_ratio) and weights.class_ratio > 0,
            "a finite number above 0",
            weights.class_ratio,
        ),
        ("tau", math.isfinite(request.offset.tau), "a finite number", request.offset.tau),
        ("alpha", 0 < request.risk.alpha <= 1, "in (0, 1]", request.risk.alpha),
        (
            "top_k",
            request.rows.kind not in (pb.ROWS_KIND_TOP_LOSS, pb.ROWS_KIND_TOP_DISAGREEMENT) or request.rows.top_k >= 1,
            "at least 1",
            request.rows.top_k,
        ),
        (
            "learning_rate",
            not request.HasField("path")
            or (_is_strength(request.path.learning_rate) and request.path.learning_rate > 0),
            "a finite number above 0",
            request.path.learning_rate,
        ),
    ):
        if not is_legal:
            raise _refuse(name, expected, got)


def _is_strength(value: float) -> bool:
    return math.isfinite(value) and value >= 0
