"""Answers that no message could hold are refused before they are computed."""

from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refit_problems import ProblemMaker
from penult_server.errors import ServiceError
from penult_server.refit_scalars import candidates_of

MOST_BYTES = 48 * 2**20
"""Of a head, or of a plan: messages hold 64 MiB."""
BYTES_OF_A_ROW = 16
"""Of a plan: its id and its weight."""


def check_sizes(request: pb.RefitRequest, maker: ProblemMaker) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) where the head, or the plan that is asked for, is too large to be sent."""
    n_features = int(maker.rows.resident.features.shape[1])
    if 8 * maker.n_classes * (n_features + 1) > MOST_BYTES:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"a head of {maker.n_classes} classes and {n_features} features takes more than {MOST_BYTES >> 20} MiB, "
            "which no answer holds: use pooled features",
            field="feature_set",
        )
    if not request.plan:
        return
    most_rows = MOST_BYTES // BYTES_OF_A_ROW
    listed = _rows_of_plan(request, maker)
    if listed > most_rows:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"plan=True would list {listed:,} rows in all draws, at most {most_rows:,} fit in an answer: ask for fewer "
            "repeats, or leave plan= out, which changes nothing else",
            field="plan",
        )


def _rows_of_plan(request: pb.RefitRequest, maker: ProblemMaker) -> int:
    """Rows in all draws of the candidate with most of them."""
    most, seen = 0, set[bytes]()
    for candidate in candidates_of(request):
        key = candidate.balance.SerializeToString(deterministic=True) + candidate.rows.SerializeToString(
            deterministic=True
        )
        if key in seen:
            continue
        seen.add(key)
        try:
            draws = maker.rows.draws(candidate, maker.universe, request.repeats)
        except ValueError:
            continue  # Said of the candidate when it is fitted.
        most = max(most, sum(draw.rows.size for draw in draws))
    return most
