"""Every kind of error of penult, each a stable name, and the gRPC status code it travels under.

The kind is what programs compare; messages are for people and may change. A failed call carries it as
``google.rpc.ErrorInfo`` (domain ``penult``, reason = the kind in upper case, metadata = the values that
the message names); a failed job carries it in ``penult.v1.Error``. Kinds are only ever added.
"""

# googleapis-common-protos carries its stubs beside a namespace package, where they are not looked for.
# pyright: reportMissingTypeStubs=false

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

DOMAIN = "penult"
DETAILS_KEY = "grpc-status-details-bin"
"""Key of the trailing metadata that holds ``google.rpc.Status``."""


class ErrorKind(StrEnum):
    """What went wrong, in one word; grouped by what the caller would do about it."""

    # Change the request.
    INVALID_ARGUMENT = "invalid_argument"
    WRONG_SHAPE = "wrong_shape"
    WRONG_DTYPE = "wrong_dtype"
    NOT_FINITE = "not_finite"
    LABEL_OUT_OF_RANGE = "label_out_of_range"
    ATTRIBUTE_MISSING = "attribute_missing"
    EMPTY_GROUP = "empty_group"
    OTHER_CLASSES = "other_classes"
    OTHER_CHECKPOINT = "other_checkpoint"
    OTHER_ROWS = "other_rows"
    ZERO_ROW = "zero_row"
    INCOMPLETE_UPLOAD = "incomplete_upload"
    BAD_TABLE = "bad_table"
    CORRUPT_IMAGE = "corrupt_image"
    TOO_LARGE = "too_large"
    INCOMPATIBLE_CHECKPOINTS = "incompatible_checkpoints"
    SELECTION_LEAK = "selection_leak"
    # Name something that exists.
    UNKNOWN_DATASET = "unknown_dataset"
    UNKNOWN_SPLIT = "unknown_split"
    UNKNOWN_BACKBONE = "unknown_backbone"
    UNKNOWN_RUN = "unknown_run"
    UNKNOWN_CHECKPOINT = "unknown_checkpoint"
    UNKNOWN_FEATURE_SET = "unknown_feature_set"
    UNKNOWN_RESULT = "unknown_result"
    UNKNOWN_GROUPING = "unknown_grouping"
    UNKNOWN_METHOD = "unknown_method"
    UNKNOWN_JOB = "unknown_job"
    # Something else stands in the way.
    NAME_TAKEN = "name_taken"
    IN_USE = "in_use"
    REQUEST_ID_REUSED = "request_id_reused"
    WEIGHTS_UNAVAILABLE = "weights_unavailable"
    DATASET_CHANGED = "dataset_changed"
    FILES_MISSING = "files_missing"
    STORE_LOCKED = "store_locked"
    VERSION_MISMATCH = "version_mismatch"
    # Stored data are damaged.
    STORE_CORRUPT = "store_corrupt"
    # Wait, then ask again.
    QUEUE_FULL = "queue_full"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    DISK_FAILED = "disk_failed"
    BUSY = "busy"
    QUOTA_EXCEEDED = "quota_exceeded"
    WORKER_DIED = "worker_died"
    SHUTTING_DOWN = "shutting_down"
    # Ended on request, or by the clock.
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    # Access.
    UNAUTHENTICATED = "unauthenticated"
    NOT_ALLOWED = "not_allowed"
    # Said by the client only: no server answered.
    UNREACHABLE = "unreachable"
    # Numerics that failed for reasons of their own.
    DIVERGED = "diverged"
    # A bug of ours.
    INTERNAL = "internal"


_CODES: dict[StatusCode, tuple[ErrorKind, ...]] = {
    StatusCode.INVALID_ARGUMENT: (
        ErrorKind.INVALID_ARGUMENT,
        ErrorKind.WRONG_SHAPE,
        ErrorKind.WRONG_DTYPE,
        ErrorKind.NOT_FINITE,
        ErrorKind.LABEL_OUT_OF_RANGE,
        ErrorKind.ATTRIBUTE_MISSING,
        ErrorKind.EMPTY_GROUP,
        ErrorKind.OTHER_CLASSES,
        ErrorKind.OTHER_CHECKPOINT,
        ErrorKind.OTHER_ROWS,
        ErrorKind.ZERO_ROW,
        ErrorKind.UNKNOWN_METHOD,
        ErrorKind.INCOMPLETE_UPLOAD,
        ErrorKind.BAD_TABLE,
        ErrorKind.CORRUPT_IMAGE,
        ErrorKind.TOO_LARGE,
        ErrorKind.INCOMPATIBLE_CHECKPOINTS,
        ErrorKind.SELECTION_LEAK,
        ErrorKind.REQUEST_ID_REUSED,
    ),
    StatusCode.NOT_FOUND: (
        ErrorKind.UNKNOWN_DATASET,
        ErrorKind.UNKNOWN_SPLIT,
        ErrorKind.UNKNOWN_BACKBONE,
        ErrorKind.UNKNOWN_RUN,
        ErrorKind.UNKNOWN_CHECKPOINT,
        ErrorKind.UNKNOWN_FEATURE_SET,
        ErrorKind.UNKNOWN_RESULT,
        ErrorKind.UNKNOWN_GROUPING,
        ErrorKind.UNKNOWN_JOB,
    ),
    StatusCode.ALREADY_EXISTS: (ErrorKind.NAME_TAKEN,),
    StatusCode.FAILED_PRECONDITION: (
        ErrorKind.IN_USE,
        ErrorKind.WEIGHTS_UNAVAILABLE,
        ErrorKind.DATASET_CHANGED,
        ErrorKind.FILES_MISSING,
        ErrorKind.STORE_LOCKED,
        ErrorKind.VERSION_MISMATCH,
        ErrorKind.DIVERGED,
    ),
    StatusCode.DATA_LOSS: (ErrorKind.STORE_CORRUPT,),
    StatusCode.RESOURCE_EXHAUSTED: (
        ErrorKind.QUEUE_FULL,
        ErrorKind.OUT_OF_MEMORY,
        ErrorKind.DISK_FULL,
        ErrorKind.BUSY,
        ErrorKind.QUOTA_EXCEEDED,
    ),
    StatusCode.UNAVAILABLE: (
        ErrorKind.WORKER_DIED,
        ErrorKind.SHUTTING_DOWN,
        ErrorKind.DISK_FAILED,
        ErrorKind.UNREACHABLE,
    ),
    StatusCode.CANCELLED: (ErrorKind.CANCELLED,),
    StatusCode.DEADLINE_EXCEEDED: (ErrorKind.DEADLINE_EXCEEDED,),
    StatusCode.UNAUTHENTICATED: (ErrorKind.UNAUTHENTICATED,),
    StatusCode.PERMISSION_DENIED: (ErrorKind.NOT_ALLOWED,),
    StatusCode.INTERNAL: (ErrorKind.INTERNAL,),
}

STATUS_CODES: dict[ErrorKind, StatusCode] = {kind: code for code, kinds in _CODES.items() for kind in kinds}
"""The one table from kind to status code."""

FALLBACK_KINDS: dict[StatusCode, ErrorKind] = {
    StatusCode.INVALID_ARGUMENT: ErrorKind.INVALID_ARGUMENT,
    StatusCode.CANCELLED: ErrorKind.CANCELLED,
    StatusCode.DEADLINE_EXCEEDED: ErrorKind.DEADLINE_EXCEEDED,
    StatusCode.UNAUTHENTICATED: ErrorKind.UNAUTHENTICATED,
    StatusCode.PERMISSION_DENIED: ErrorKind.NOT_ALLOWED,
    StatusCode.UNAVAILABLE: ErrorKind.UNREACHABLE,
    StatusCode.UNIMPLEMENTED: ErrorKind.VERSION_MISMATCH,
    # A message beyond MESSAGE_BYTES.
    StatusCode.RESOURCE_EXHAUSTED: ErrorKind.INVALID_ARGUMENT,
}
"""Kinds of statuses without details, which gRPC itself sends. Every other code is INTERNAL."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Said:
    """What the details of a failed call say."""

    kind: str
    message: str
    metadata: Mapping[str, str]
    retry_after: float | None
    """Seconds; None where waiting does not help."""


def said_by(trailers: Iterable[tuple[str, str | bytes]]) -> Said | None:
    """What the trailing metadata of a failed call says; None where gRPC itself failed, or nothing can be read."""
    status = _status(trailers)
    details = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    retry_after: float | None = None
    for entry in status.details:
        # Unpack leaves a message alone, and says so, when the entry is of another type.
        if entry.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
        entry.Unpack(details)
    if details.domain != DOMAIN:
        return None
    kind = details.reason.lower()
    return Said(kind=kind, message=status.message, metadata=dict(details.metadata), retry_after=retry_after)


def _status(trailers: Iterable[tuple[str, str | bytes]]) -> status_pb2.Status:
    """The status with details, empty when there is none that can be read."""
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()
