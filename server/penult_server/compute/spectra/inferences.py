"""Matched ratio, interval and p-value of every comparison of a query: by one pass over all rows, or by replicates.

Replicates draw from the residuals of a pair, float32 in memory; its rows are read twice for them, from the store where
the set is not in memory. A set in memory makes way for residuals that are nearly as large. A pair whose residuals do
not fit into what the server keeps for features has no inference if the rows had to decide, for the other pairs have; it
is refused where replicates were asked for.
"""

from collections.abc import Callable, Sequence

import numpy as np

from penult_kernels.moments.accumulation import MomentAccumulator
from penult_kernels.moments.moments import Moments
from penult_kernels.spectra.asymptotic import AsymptoticPairs, Asymptotics
from penult_kernels.spectra.imbalance import Pair
from penult_kernels.spectra.inference import (
    NOT_DEFINED,
    REPLICATES,
    ImbalanceInference,
    from_asymptotics,
    infer_imbalance,
    may_be_asymptotic,
)
from penult_proto.errors import ErrorKind
from penult_proto.v1 import spectra_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.memory import RESIDUAL_BYTES, available_bytes, inference_bytes, require
from penult_server.compute.spectra.parts import Parts
from penult_server.errors import ServiceError

MOST_PAIRS = 45
"""Comparisons that are inferred in one query at most: those of 10 classes."""
PLACE_OF_SET = 0.5
"""Share of a set's bytes from which on the residuals of a pair take its place in memory."""
SMALL_SET = 64 * 2**20
"""Bytes of a set up to which it stays there all the same."""
ADVICE = "ask for replicates=0, or look at fewer rows (rows=...)"


def check_inferences(request: pb.ComputeSpectraRequest, parts: Parts, pairs: Sequence[Pair], backend: Backend) -> None:
    """Refuse, before anything is computed, what cannot be inferred whatever the rows are like.

    Raises ServiceError: INVALID_ARGUMENT for too many pairs; OUT_OF_MEMORY.
    """
    if len(pairs) > MOST_PAIRS:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"there are {len(pairs)} pairs of classes to compare, and at most {MOST_PAIRS} are inferred; ask for "
            "replicates=0, which gives their ratios",
            pairs=len(pairs),
        )
    _check_replicates(request, parts, [pair for pair in pairs if not _is_candidate(request, parts, pair)], backend)


def inferences(
    request: pb.ComputeSpectraRequest, parts: Parts, pairs: Sequence[Pair], backend: Backend
) -> list[ImbalanceInference]:
    """Inferences for every pair; replicates have their own random streams: by the pair's class, or by its position.

    Raises ServiceError (OUT_OF_MEMORY) for replicates that were asked for, of rows that do not fit.
    """
    if request.HasField("replicates") and not request.replicates:
        return [NOT_DEFINED] * len(pairs)
    known = _without_replicates(request, parts, pairs, backend)
    found = {position: from_asymptotics(one) for position, one in known.items()}
    rest = [position for position in range(len(pairs)) if position not in known]
    _check_replicates(request, parts, [pairs[position] for position in rest], backend)
    rest = [position for position in rest if residuals_fit(parts, pairs[position])]
    report = parts.progress.stage("replicates", "resamples")

    def of_pair(place: int) -> Callable[[int, int], None]:
        return lambda done, total: report(place * total + done, len(rest) * total)

    for place, position in enumerate(rest):
        pair = pairs[position]
        if _take_the_place(parts, pair):
            parts.release()
        found[position] = infer_imbalance(
            parts.row_source(pair.minority),
            parts.row_source(pair.majority),
            replicates=request.replicates if request.HasField("replicates") else REPLICATES,
            confidence=request.confidence,
            seed=request.seed,
            stream=pair.y if pair.y >= 0 else position,
            center=request.center,
            check=parts.check,
            report=of_pair(place),
        )
    return [found.get(position, NOT_DEFINED) for position in range(len(pairs))]


def _take_the_place(parts: Parts, pair: Pair) -> bool:
    """Whether residuals are so large that a set in memory makes way for them, to be read again by whom needs it.

    Replicates of that many rows take minutes, where reading the rows takes a second.
    """
    manifest = parts.manifest
    of_set = manifest.n_examples * manifest.n_features * np.dtype(manifest.dtype).itemsize
    residuals = pair_rows(pair) * manifest.n_features * RESIDUAL_BYTES
    return of_set > SMALL_SET and residuals > PLACE_OF_SET * of_set


def residuals_fit(parts: Parts, pair: Pair) -> bool:
    """Whether the residuals of a pair may be in memory."""
    return parts.is_resident or pair_rows(pair) * parts.manifest.n_features * RESIDUAL_BYTES <= parts.memory


def pair_rows(pair: Pair) -> int:
    """Rows of both sides."""
    return pair.n_minority + pair.n_majority


def _is_candidate(request: pb.ComputeSpectraRequest, parts: Parts, pair: Pair) -> bool:
    """Whether the rows of the pair decide if replicates are needed."""
    return (
        not request.HasField("replicates")
        and may_be_asymptotic(pair.n_minority, parts.manifest.n_features)
        and (parts.has_moments or parts.is_resident)
    )


def _without_replicates(
    request: pb.ComputeSpectraRequest, parts: Parts, pairs: Sequence[Pair], backend: Backend
) -> dict[int, Asymptotics]:
    """By the position of the pair, where one pass over all rows is enough."""
    candidates = [position for position, pair in enumerate(pairs) if _is_candidate(request, parts, pair)]
    if not candidates:
        return {}
    asked = [(pairs[position].minority, pairs[position].majority) for position in candidates]
    moments = _moments(parts, sorted({index for pair in asked for index in pair}), backend)
    work = AsymptoticPairs(asked, moments, center=request.center, check=parts.check)
    if not any(work.could_hold()):
        return {}
    add = parts.progress.each("interval", "rows", parts.manifest.n_examples)
    for rows, g in parts.labelled_blocks():
        parts.check()
        work.add(rows, g)
        add(len(g))
    found = zip(candidates, work.infer(request.confidence), strict=True)
    return {position: one for position, one in found if one is not None}


def _moments(parts: Parts, indices: Sequence[int], backend: Backend) -> Callable[[int], Moments]:
    """Moments of the parts on the device: as they are stored or summed, else by a pass over the rows in memory."""
    if parts.has_moments:
        return lambda index: _on_device(parts.moments(index), backend)
    places = np.full(len(parts.groups) + 1, -1)
    places[list(indices)] = np.arange(len(indices))
    xp, manifest = backend.xp, parts.manifest
    dtype = xp.dtype(manifest.dtype)
    # Float32 moves lambda_1 by less than 1e-6 of it, far below its standard error.
    products = "float64" if dtype == xp.float64 else "float32"
    sums = MomentAccumulator(len(indices), manifest.n_features, dtype=dtype, products=products, xp=xp)
    add = parts.progress.each("summing", "rows", manifest.n_examples)
    for rows, g in parts.labelled_blocks():
        parts.check()
        sums.add(rows, places[g])
        add(len(g))
    every = sums.finish()

    def one(index: int) -> Moments:
        place = slice(int(places[index]), int(places[index]) + 1)
        return Moments(
            count=every.count[place], weight=every.weight[place], mean=every.mean[place, :], m2=every.m2[place, :, :]
        )

    return one


def _on_device(moments: Moments, backend: Backend) -> Moments:
    of = backend.to_device
    return Moments(count=of(moments.count), weight=of(moments.weight), mean=of(moments.mean), m2=of(moments.m2))


def _check_replicates(request: pb.ComputeSpectraRequest, parts: Parts, pairs: Sequence[Pair], backend: Backend) -> None:
    """Refuse replicates of these pairs where they do not fit in memory: all where they were asked for, else none."""
    too_large = [pair for pair in pairs if not residuals_fit(parts, pair)]
    if too_large and request.HasField("replicates"):
        raise ServiceError(
            ErrorKind.OUT_OF_MEMORY,
            f"replicates draw from a pair's rows in memory, where {pair_rows(too_large[0]):,} of feature set "
            f"{parts.manifest.digest[:12]} do not fit ({parts.memory / 2**30:.1f} GiB are kept for features); "
            f"{ADVICE}, or start the server with a larger --resident-bytes",
            budget=parts.memory,
        )
    drawn = [pair for pair in pairs if residuals_fit(parts, pair)]
    require(inference_bytes(drawn, parts.manifest.n_features), available_bytes(backend), ADVICE)
