"""Which refit or checkpoint a name means, where a head is wanted that either has."""

from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2, runs_pb2
from penult_server.errors import ServiceError
from penult_server.registry.catalog import Catalog


def refit_or_checkpoint(catalog: Catalog, name: str, field: str) -> refits_pb2.Refit | runs_pb2.Checkpoint:
    """What a name, a digest or the start of one stands for.

    Raises ServiceError: UNKNOWN_CHECKPOINT when it is neither, INVALID_ARGUMENT when it is both.
    """
    found: list[refits_pb2.Refit | runs_pb2.Checkpoint] = []
    refusals: list[ServiceError] = []
    for kind, look in (
        (ErrorKind.UNKNOWN_CHECKPOINT, catalog.checkpoint),
        (ErrorKind.UNKNOWN_RESULT, catalog.refit),
    ):
        try:
            found.append(look(name))
        except ServiceError as error:
            if error.kind != kind:
                raise
            refusals.append(error)
    if len(found) > 1:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{name!r} is both checkpoint {found[0].digest[:12]} and refit {found[1].digest[:12]}; give more of the "
            "digest of the one that is meant",
            field=field,
        )
    if not found:
        raise ServiceError(
            ErrorKind.UNKNOWN_CHECKPOINT,
            f"{field} names neither a checkpoint nor a refit: {'; '.join(one.message for one in refusals)}",
            field=field,
        )
    return found[0]
