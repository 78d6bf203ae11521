"""Questions that are read off a neighbour graph: defaults filled in, and what cannot be answered refused."""

import math
from typing import Any

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, spectra_pb2
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.errors import ServiceError

DEFAULT_KS = (10, 20, 100, 200)
"""What DINO's evaluation takes."""
DEFAULT_TEMPERATURE = 0.07
DEFAULT_K = 20
DEFAULT_FOLDS = 5
MOST_NEIGHBOURS = 2048
"""Most neighbours of a row: as many as a GPU finds."""
MOST_KS = 32
MOST_FOLDS = 100


def fill_in_evaluation(request: pb.EvaluateNeighboursRequest, most: int) -> None:
    """In place; `most` is the number of neighbours that a row has. Raises ServiceError (INVALID_ARGUMENT)."""
    if len(request.k) > MOST_KS:
        raise _refused("k", f"takes at most {MOST_KS} numbers, got {len(request.k)}")
    for k in request.k:
        _check_k(k, most)
    # Of the defaults, those that there are rows for; of few rows, all of them.
    ks = sorted(set(request.k)) or [k for k in DEFAULT_KS if k <= most] or [most]
    del request.k[:]
    request.k.extend(ks)
    _fill_in_temperature(request)


def fill_in_label_noise(request: pb.FindLabelNoiseRequest, most: int) -> None:
    """In place. Raises ServiceError (INVALID_ARGUMENT)."""
    _fill_in_k(request, most)
    _fill_in_temperature(request)
    request.folds = request.folds if request.HasField("folds") else min(DEFAULT_FOLDS, most + 1)
    if request.folds and not 2 <= request.folds <= min(MOST_FOLDS, most + 1):
        raise _refused(
            "folds", f"must be 0 (no head is asked) or 2 .. {min(MOST_FOLDS, most + 1)}, got {request.folds}"
        )
    if not request.folds:
        request.seed = 0


def fill_in_rates(request: pb.ComputeNeighbourRatesRequest, most: int) -> None:
    """In place. Raises ServiceError (INVALID_ARGUMENT)."""
    _fill_in_k(request, most)
    request.metric = request.metric or pb.NEIGHBOUR_METRIC_COSINE
    _check_metric(request.metric, {pb.NEIGHBOUR_METRIC_COSINE, pb.NEIGHBOUR_METRIC_L2, pb.NEIGHBOUR_METRIC_INNER})


def fill_in_duplicates(request: pb.FindDuplicatesRequest) -> None:
    """In place. Raises ServiceError (INVALID_ARGUMENT)."""
    request.metric = request.metric or pb.NEIGHBOUR_METRIC_COSINE
    _check_metric(request.metric, {pb.NEIGHBOUR_METRIC_COSINE, pb.NEIGHBOUR_METRIC_L2})
    if request.HasField("threshold") and not (math.isfinite(request.threshold) and request.threshold >= 0):
        raise _refused("threshold", f"must be a distance of at least 0, got {request.threshold}")
    if not request.HasField("against"):
        # Nothing is shuffled within one set.
        request.seed = 0


def neighbours_of(source: features_pb2.FeatureSet, among: features_pb2.FeatureSet | None) -> int:
    """How many neighbours a row has. Raises ServiceError (INVALID_ARGUMENT) where that is none."""
    pool = source if among is None else among
    is_in_pool = (pool.dataset_digest, pool.split) == (source.dataset_digest, source.split) and bool(source.split)
    most = pool.n_examples - (1 if among is None or is_in_pool else 0)
    if most < 1:
        raise _refused("features", f"must have at least two rows; feature set {pool.digest[:12]} has one")
    return min(most, MOST_NEIGHBOURS)


def check_whole(source: spectra_pb2.FeatureSource, argument: str) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) where rows of a set are chosen: what is read off neighbours is of all."""
    if source.HasField("rows"):
        raise _refused(argument, "is a whole set here: neighbours are looked for among all of its rows; leave rows out")


def _fill_in_k(request: Any, most: int) -> None:
    request.k = request.k if request.HasField("k") else min(DEFAULT_K, most)
    _check_k(request.k, most)


def _check_k(k: int, most: int) -> None:
    if not 1 <= k <= most:
        why = "a row has no more neighbours" if most < MOST_NEIGHBOURS else "more are not looked for"
        raise _refused("k", f"must lie in 1 .. {most}, as {why}; got {k}")


def _fill_in_temperature(request: Any) -> None:
    request.temperature = request.temperature if request.HasField("temperature") else DEFAULT_TEMPERATURE
    if not (math.isfinite(request.temperature) and request.temperature > 0):
        raise _refused("temperature", f"must be a positive number, such as 0.07; got {request.temperature}")


def _check_metric(metric: "pb.NeighbourMetric.ValueType", known: "set[pb.NeighbourMetric.ValueType]") -> None:
    if metric not in known:
        names = [pb.NeighbourMetric.Name(one).removeprefix("NEIGHBOUR_METRIC_").lower() for one in sorted(known)]
        raise _refused("metric", f"must be {' or '.join(names)} here; got number {metric}")


def _refused(argument: str, why: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{argument} {why}", field=argument)
