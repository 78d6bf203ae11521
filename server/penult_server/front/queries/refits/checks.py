"""Checks of a complete refit request: the ranges of its numbers, and which parts go together."""

import math
from collections.abc import Mapping

from penult_proto.enums import name_of
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.front.queries.refits.defaults import NUMBERS, TOP_ROWS, Range, is_strength
from penult_server.messages import BALANCE_BY, BALANCE_METHODS
from penult_server.questions.refit_scalars import has_scalar, values_of

MOST_REPEATS = 10_000
MOST_CANDIDATES = 20_000
MOST_STEPS = 1_000_000


def _up_to(most: int) -> Range:
    return lambda value: 1 <= value <= most, f"1 .. {most}"


RANGES: Mapping[str, Range] = {
    "repeats": _up_to(MOST_REPEATS),
    "tolerance": (lambda value: 0 < value < 1, "between 0 and 1"),
    "max_iterations": _up_to(10_000),
}
PATH_RANGES: Mapping[str, Range] = {
    "steps": _up_to(MOST_STEPS),
    "epochs": _up_to(MOST_STEPS),
    "momentum": (lambda value: 0 <= value < 1, "in [0, 1)"),
    "weight_decay": (is_strength, "a finite number, at least 0"),
    "clip_norm": (is_strength, "a finite number, 0 for none"),
    "batch_size": (lambda value: value >= 0, "at least 1"),
}


def check_request(request: pb.RefitRequest) -> None:
    """Raises ServiceError (INVALID_ARGUMENT), naming the argument, what was expected and what was got."""
    _check_ranges(request, RANGES)
    _check_balance(request)
    _check_scaling("standardize", request.scaling)
    _check_rows(request.rows)
    _check_choice(request)
    if request.HasField("path"):
        _check_path("path", request.path)
    if request.weights.kind == pb.WEIGHTS_KIND_DETECTED:
        _check_path("detector", request.weights.detector)
        if request.weights.detector.keep == pb.PATH_KEEP_BEST:
            raise refusal("detector.keep", "'last': nothing scores a detector", "'best'")
    if request.center.kind == pb.HEAD_KIND_RANDOM:
        raise refusal("center", "a head to penalise towards: zero, stored, a refit or a head", "a random one")
    _check_risk(request)
    _check_grid(request)
    if has_scalar(request, "subspace"):
        _check_subspace(request)
    if request.link == pb.LINK_HINGE:
        _check_hinge(request)


def refusal(field: str, expected: str, got: object) -> ServiceError:
    """The error for an argument that is not what it must be."""
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{field} must be {expected}, got {got}", field=field)


def _check_ranges(
    message: pb.RefitRequest | pb.Select | pb.Path, ranges: Mapping[str, Range], prefix: str = ""
) -> None:
    """Check the numbers that a message has."""
    for name, (is_legal, expected) in ranges.items():
        if message.HasField(name) and not is_legal(value := getattr(message, name)):  # pyright: ignore[reportArgumentType]
            raise refusal(prefix + name, expected, value)


def _check_grid(request: pb.RefitRequest) -> None:
    """Check every value of the numbers on the grid."""
    needed = {"top_k": request.rows.kind in TOP_ROWS, "learning_rate": request.HasField("path")}
    for name, number in NUMBERS.items():
        is_legal, expected = number.range
        values = values_of(request, name)
        if not values and needed.get(name, False):
            raise refusal(name, f"given: {expected}", "none")
        for value in values:
            if not is_legal(value):
                raise refusal(name, expected, value)


def _check_balance(request: pb.RefitRequest) -> None:
    method, by = request.balance.method, request.balance.by
    if method not in BALANCE_METHODS:
        raise refusal("balance.method", "known to this server", method)
    if by not in BALANCE_BY:
        raise refusal("balance.by", "known to this server", by)
    upsampled = (groups_pb2.BALANCE_METHOD_UPSAMPLING, groups_pb2.BALANCE_METHOD_MIXTURE)
    if request.HasField("path") and method in upsampled and not request.path.batch_size:
        raise refusal("batch_size", "set where balancing draws batches", "a path over all rows")


def _check_risk(request: pb.RefitRequest) -> None:
    """Check that a robust risk has a penalty, without which its saddle point need not exist."""
    if request.risk.kind == pb.RISK_KIND_MEAN:
        return
    if request.HasField("path"):
        raise refusal("risk", "the mean on a path: robust risks are solved to their saddle point", "a path")
    if request.link != pb.LINK_SOFTMAX:
        raise refusal("link", "softmax under a robust risk", "one class against the rest")
    if not any(values and all(values) for values in (values_of(request, "l1"), values_of(request, "l2"))):
        raise refusal(
            "l1 or l2",
            "above 0 under a robust risk, whose saddle point need not exist without a penalty; 1e-3 is a weak one",
            "neither",
        )


def _check_hinge(request: pb.RefitRequest) -> None:
    """Check that a machine is asked for what it has; without an l2 it is the head of the largest margin."""
    if request.HasField("path"):
        raise refusal("link", "softmax or ovr on a path: hinge losses are solved to the optimum", "hinge")
    if request.intercept == pb.INTERCEPT_FREE:
        raise refusal("intercept", "'none' or 'penalized' with link='hinge'", "'free'")
    if any(values_of(request, "l1")):
        raise refusal("l1", "0 with link='hinge', which has an l2", "a penalty")
    if has_scalar(request, "subspace"):
        raise refusal("subspace", "left out with link='hinge'", "directions")
    strengths = values_of(request, "l2")
    if strengths and all(strengths):
        return
    hard = "of the largest margin (link='hinge' without l2), where every row counts alike: give l2="
    if request.balance.method == groups_pb2.BALANCE_METHOD_UPWEIGHTING:
        raise refusal("balance", f"another than 'upweighting' for the head {hard}", "'upweighting'")
    if request.weights.kind not in (pb.WEIGHTS_KIND_UNIFORM, pb.WEIGHTS_KIND_EXPLICIT):
        raise refusal("weights", f"uniform, or zeros that leave rows out, for the head {hard}", "weights")
    if any(one != 1.0 for one in values_of(request, "class_ratio")):
        raise refusal("class_ratio", f"1 for the head {hard}", "another")


def _check_subspace(request: pb.RefitRequest) -> None:
    """Check that a correction in a subspace does not depend on the axes of the features, or of the subspace."""
    scalings = [request.scaling] + ([request.select.scaling] if request.HasField("select") else [])
    if any(one.kind != pb.SCALING_KIND_NONE for one in scalings):
        raise refusal("standardize", "False with subspace=: its directions are those of the features", "a scaling")
    if any(values_of(request, "l1")):
        raise refusal("l1", "0 with subspace=: it would depend on how its directions are turned", "a penalty")
    if request.risk.kind != pb.RISK_KIND_MEAN:
        raise refusal("risk", "the mean with subspace=", name_of(pb.RiskKind.DESCRIPTOR, request.risk.kind))
    if not request.HasField("path"):
        return
    if request.path.keep == pb.PATH_KEEP_BEST:
        raise refusal("path.keep", "'last' with subspace=", "'best'")
    if request.path.start != request.center:
        raise refusal("path.start", "the center with subspace=, where the correction is zero", "another head")
    if request.balance.method in (groups_pb2.BALANCE_METHOD_UPSAMPLING, groups_pb2.BALANCE_METHOD_MIXTURE):
        raise refusal("balance", "one that weighs or chooses rows, on a path with subspace=", "one that draws batches")


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
    """Check that a grid has something to choose by, and a choice something to choose from."""
    n_candidates = math.prod(len(axis.values) for axis in request.grid)
    if n_candidates > MOST_CANDIDATES:
        raise refusal("grid", f"of at most {MOST_CANDIDATES} candidates", n_candidates)
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
            raise refusal("select", "given what scores, 'on': a feature set or 'half'", "nothing to score on")
        _check_scaling("select.standardize", request.select.scaling)
        _check_ranges(request.select, {"repeats": RANGES["repeats"]}, "select.")
        if keeps_the_best and request.select.final == pb.SELECT_FINAL_REFIT:
            raise refusal("select.final", "the chosen head where the best step of a path is kept", "a refit")


def _check_path(name: str, path: pb.Path) -> None:
    _check_ranges(path, PATH_RANGES, f"{name}.")
    optimizer, has_batches = path.optimizer, path.batch_size > 0
    for field, is_legal, expected, got in (
        ("optimizer", optimizer != pb.PATH_OPTIMIZER_UNSPECIFIED, "gd, sgd or adamw", "none"),
        ("steps", path.HasField("steps") or path.HasField("epochs"), "given, or epochs", "neither"),
        (
            "momentum",
            path.momentum == 0 or optimizer != pb.PATH_OPTIMIZER_ADAMW,
            "left out for adamw, which has its own",
            path.momentum,
        ),
        (
            "normalize",
            not path.normalize or optimizer != pb.PATH_OPTIMIZER_ADAMW,
            "left out for adamw, which scales each parameter's gradient itself",
            path.normalize,
        ),
        (
            "clip_norm",
            not path.normalize or not path.clip_norm,
            "left out with normalize, which gives every gradient the same norm",
            path.clip_norm,
        ),
        (
            "schedule",
            path.schedule in (pb.PATH_SCHEDULE_CONSTANT, pb.PATH_SCHEDULE_COSINE),
            "constant or cosine",
            path.schedule,
        ),
        (
            "batch_size",
            optimizer != pb.PATH_OPTIMIZER_SGD or has_batches,
            "set for sgd; with all rows in every step it is gd",
            path.batch_size,
        ),
        (
            "batch_size",
            optimizer != pb.PATH_OPTIMIZER_GD or not has_batches,
            "left out for gd, which uses all rows",
            path.batch_size,
        ),
    ):
        if not is_legal:
            raise refusal(f"{name}.{field}", expected, got)
