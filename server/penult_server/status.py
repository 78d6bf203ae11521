"""From any exception to the service's error, and from that to a google.rpc.Status with its details."""

import logging
from typing import Never

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

from penult_proto.errors import DETAILS_KEY, DOMAIN, STATUS_CODES, ErrorKind, said_by
from penult_proto.services import REQUEST_KEY
from penult_server.errors import ServiceError
from penult_server.machine.disks import refusal_of_disk

_RETRY_SECONDS = {
    ErrorKind.QUEUE_FULL: 30,
    ErrorKind.WORKER_DIED: 1,
    ErrorKind.SHUTTING_DOWN: 2,
    ErrorKind.BUSY: 1,
    ErrorKind.QUOTA_EXCEEDED: 30,
}
_BLAMES_A_FILE = frozenset(
    {
        ErrorKind.STORE_CORRUPT,
        ErrorKind.FILES_MISSING,
        ErrorKind.WEIGHTS_UNAVAILABLE,
        ErrorKind.BAD_TABLE,
        ErrorKind.CORRUPT_IMAGE,
        ErrorKind.DATASET_CHANGED,
    }
)
"""Kinds that say that something is wrong with a file."""
_LONGEST = 1500
"""Most bytes of a message, and of all values together: trailers are limited to about 8 KiB."""


def status_of(error: ServiceError) -> status_pb2.Status:
    """The status that carries an error."""
    code = STATUS_CODES[error.kind].value[0]
    each = _LONGEST // max(len(error.metadata), 1)
    metadata = {key: shortened(value, each) for key, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.kind.upper(), domain=DOMAIN, metadata=metadata)
    details = [pack(info)]
    seconds = error.retry_after or _RETRY_SECONDS.get(error.kind)
    if seconds:
        delay = Duration()
        delay.FromMilliseconds(round(1000 * seconds))
        details.append(pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=code, message=shortened(error.message), details=details)


def shortened(text: str, limit: int = _LONGEST) -> str:
    """The text, or its beginning when it has more than `limit` bytes."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "..."


def pack(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> Any:
    """A detail, wrapped."""
    wrapped = Any()
    wrapped.Pack(message)
    return wrapped


def trailers_of(error: ServiceError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that carries an error."""
    return ((DETAILS_KEY, status_of(error).SerializeToString()),)


def translate(error: BaseException) -> ServiceError:
    """The error to answer with: a ServiceError itself, the machine's limits by their kind, or INTERNAL for a bug.

    A file that could not be read because the disk failed is not a damaged one. A bug is logged with its trace. The
    frameworks' own memory errors are known by their names, so that none has to be imported here.
    """
    if isinstance(error, ServiceError):
        of_disk = refusal_of_disk(error.__cause__) if error.kind in _BLAMES_A_FILE and error.__cause__ else None
        return of_disk or error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ServiceError(
            ErrorKind.OUT_OF_MEMORY, f"not enough memory ({error}); ask for less, or use another machine"
        )
    if type(error) is grpc.RpcError:
        # What grpc raises out of a call's requests when the caller has gone; nobody reads the answer.
        return ServiceError(ErrorKind.CANCELLED, "the caller left before it had sent everything")
    if (of_disk := refusal_of_disk(error)) is not None:
        logging.getLogger("penult").error("%s: %s", of_disk.kind, error)
        return of_disk
    logging.getLogger("penult").error("unexpected %s", type(error).__name__, exc_info=error)
    return ServiceError(
        ErrorKind.INTERNAL,
        f"the server made a mistake ({type(error).__name__}: {error}); its log has the trace",
    )


def from_call(error: grpc.aio.AioRpcError) -> ServiceError | None:
    """The error that another process of the server sent, or None when gRPC itself failed."""
    said = said_by(error.trailing_metadata() or ())
    return ServiceError(ErrorKind(said.kind), said.message, **said.metadata) if said else None


async def abort(context: "grpc.aio.ServicerContext[object, object]", error: ServiceError) -> Never:
    """End a call of the front with an error; trailers that were set before, as the call's number, go with it."""
    before = tuple(context.trailing_metadata() or ())
    request_id = dict(before).get(REQUEST_KEY)
    if error.kind is ErrorKind.INTERNAL and request_id:
        error = ServiceError(error.kind, f"{error.message}, request {request_id}", **error.metadata)
    await context.abort(
        STATUS_CODES[error.kind], shortened(error.message), trailing_metadata=before + trailers_of(error)
    )
