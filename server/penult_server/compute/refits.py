"""Refits and evaluations over resident features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.metrics import group_metrics
from penult_kernels.refit import BalancedFit, balanced_refit
from penult_kernels.selection import BalanceBy, EmptyLabelError
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.resident import Resident, ResidentFeatures
from penult_server.errors import ServiceError
from penult_server.messages import (
    BALANCE_BY,
    BALANCE_METHODS,
    array_from_proto,
    array_to_proto,
    metrics_to_proto,
)
from penult_server.stores.checkpoints import read_head


def compute_refit(
    request: pb.RefitRequest, residents: ResidentFeatures, backend: Backend, check: Callable[[], None]
) -> pb.Refit:
    """Fit one head as the request says (every field is set by now) and score it.

    Raises ServiceError: EMPTY_GROUP, ATTRIBUTE_MISSING, WRONG_SHAPE, INVALID_ARGUMENT and what loading raises.
    """
    train = residents.get(request.feature_set, check)
    check()
    fit = _fit(request, train)
    weight, bias = backend.to_host(fit.weight), backend.to_host(fit.bias)
    metrics = {
        name: score(weight, bias, residents.get(digest, check), backend)
        for name, digest in sorted(request.evaluate.items())
    }
    certificate = fit.certificate
    return pb.Refit(
        request=request,
        head=pb.Head(weight=array_to_proto(weight), bias=array_to_proto(bias)),
        certificate=pb.Certificate(
            converged=certificate.converged,
            gap=certificate.gap,
            gradient_norm=certificate.gradient_norm,
            iterations=certificate.iterations,
            passes=certificate.passes,
            objective=certificate.objective,
        ),
        metrics=metrics,
        n_rows=fit.n_rows,
    )


def _fit(request: pb.RefitRequest, train: Resident) -> BalancedFit:
    labels = train.manifest.labels
    by = BALANCE_BY[request.balance.by]
    method = BALANCE_METHODS[request.balance.method]
    if by is BalanceBy.GROUP and not labels.attribute_values:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            f"feature set {train.manifest.digest[:12]} has no attribute, so it has no groups to balance: upload "
            "it with a=..., or balance by class",
        )
    try:
        return balanced_refit(
            train.features,
            train.y,
            train.g,
            len(labels.classes),
            labels.n_groups,
            method=method,
            by=by,
            ratio=request.balance.ratio,
            l2=request.l2,
            standardize=request.standardize,
            repeats=request.repeats,
            seed=request.seed,
            tolerance=request.tolerance,
            max_iterations=request.max_iterations,
        )
    except EmptyLabelError as error:
        raise _empty(error, train, by) from error


def _empty(error: EmptyLabelError, train: Resident, by: BalanceBy) -> ServiceError:
    labels = train.manifest.labels
    if by is BalanceBy.GROUP and labels.attribute_values:
        y, a = divmod(error.label, labels.n_attributes)
        name = f"group {error.label} ({labels.classes[y]}, {labels.attribute_values[a]})"
    else:
        name = f"class {error.label} ({labels.classes[error.label]})"
    return ServiceError(
        ErrorKind.EMPTY_GROUP,
        f"{name} has no example in feature set {train.manifest.digest[:12]}, so it cannot be balanced or fitted; "
        "use a set that has all of them",
        label=error.label,
        by=by,
    )


def score(weight: NDArray[Any], bias: NDArray[Any], resident: Resident, backend: Backend) -> groups_pb2.Metrics:
    """Metrics of the head (C, D), (C,) on a resident set.

    Raises ServiceError (WRONG_SHAPE) when the head does not fit the set.
    """
    labels = resident.manifest.labels
    expected = (len(labels.classes), resident.manifest.n_features)
    if weight.shape != expected or bias.shape != expected[:1]:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"the head is {weight.shape} with bias {bias.shape}; feature set {resident.manifest.digest[:12]} needs "
            f"{expected} (classes, features) with bias {expected[:1]}",
        )
    xp = backend.xp
    head = backend.to_device(np.asarray(weight, np.float64)).T
    logits = xp.asarray(resident.features, dtype=xp.float64) @ head + backend.to_device(np.asarray(bias, np.float64))
    shares = np.asarray(resident.manifest.train_shares) if resident.manifest.train_shares else None
    metrics = group_metrics(
        logits,
        backend.to_device(resident.y),
        backend.to_device(resident.g),
        labels.n_groups,
        average_weights=shares,
    )
    return metrics_to_proto(metrics, labels)


def evaluate(
    request: pb.EvaluateRequest,
    root: Path,
    residents: ResidentFeatures,
    backend: Backend,
    check: Callable[[], None],
) -> groups_pb2.Metrics:
    """Score a given head, or a checkpoint's own. Raises what `score` and loading raise."""
    if request.WhichOneof("head") == "checkpoint":
        weight, bias = read_head(root, request.checkpoint)
    else:
        weight = array_from_proto(request.explicit.weight, "head.weight")
        bias = array_from_proto(request.explicit.bias, "head.bias")
    for name, part in (("head.weight", weight), ("head.bias", bias)):
        if not np.isfinite(np.asarray(part, np.float64)).all():
            raise ServiceError(ErrorKind.NOT_FINITE, f"{name} holds NaN or infinity; a head must be finite", array=name)
    return score(weight, bias, residents.get(request.feature_set, check), backend)
