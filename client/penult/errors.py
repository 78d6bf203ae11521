"""What the client raises, grouped by what a handler would do.

    PenultError
    ├── InvalidRequest      change the request
    ├── NotFound            name something that exists
    ├── Conflict            something of that name, key or place is there already
    ├── PreconditionFailed  put right what the message names, then ask again
    ├── StoreCorrupt        stored data are damaged: restore or recompute them
    ├── Busy                wait, then ask again
    ├── Unavailable         no server answers, or it lost what it was doing: ask again
    ├── Cancelled           it was ended on request
    ├── DeadlineExceeded    allow more time
    │   └── StillRunning    the job goes on: wait for it again
    ├── Unauthenticated     give a token that the server knows
    ├── NotAllowed          ask for what your role and the server's --data-root allow
    ├── VersionMismatch     install the same version on both sides
    └── ServerBug           report it

Each carries a stable `kind` (see ``penult_proto.errors.ErrorKind``); messages are for people and may change.
"""

# The names say what happened; a suffix would only repeat that they are raised.
# ruff: noqa: N818

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from grpc import StatusCode

from penult_proto.errors import STATUS_CODES, ErrorKind


class PenultError(Exception):
    """Base class of every error that penult raises.

    Attributes
    ----------
    kind : what went wrong, in one stable word, such as ``"unknown_dataset"``.
    message : what was expected, what was got, what to do.
    metadata : the values that the message names, as text.
    retryable : whether the same request may succeed later.
    retry_after : seconds that the server asks to wait before that, or None.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        kind: str = ErrorKind.INTERNAL,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = str(kind)
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message} [{self.kind}]"


class InvalidRequest(PenultError):
    """The request cannot be met as it stands: change it."""


class NotFound(PenultError):
    """There is nothing of that name; the message lists what there is."""


class Conflict(PenultError):
    """Something else has that name, that request id or that store."""


class PreconditionFailed(PenultError):
    """The request is sound, but something it rests on is missing, has changed or did not work out."""


class StoreCorrupt(PenultError):
    """Stored data are damaged or incomplete; nothing is made up in their place."""


class Busy(PenultError):
    """The server is short of memory, disk space or queue places: wait `retry_after` seconds (if given), ask again."""

    retryable = True


class Unavailable(PenultError):
    """No server answers at that address, or it ended while it worked on this. Ask again."""

    retryable = True


class Cancelled(PenultError):
    """The job or call was cancelled."""


class DeadlineExceeded(PenultError):
    """There was no answer in the time allowed; a larger ``timeout=`` may help."""


class StillRunning(DeadlineExceeded):
    """The time given to `Job.wait` or `JobGroup.wait` has passed, and the server says that the work goes on.

    A `DeadlineExceeded`, because the mend is the same: allow more time. That class alone means that the server had not
    answered. No server sends this error; its `kind` is that of its parent.

    Attributes
    ----------
    job : the job that was waited for; of a group the first that has not ended. ``job.wait()`` follows it again.
    jobs : all that have not ended, in order.
    """

    def __init__(self, message: str, jobs: Sequence[Any], **rest: Any) -> None:
        super().__init__(message, kind=ErrorKind.DEADLINE_EXCEEDED, **rest)
        self.jobs = tuple(jobs)
        self.job = self.jobs[0]


class Unauthenticated(PenultError):
    """The server wants a token, or another one."""


class NotAllowed(PenultError):
    """The server knows the token, and its user may not do this."""


class VersionMismatch(PenultError):
    """Client and server speak different protocols."""


class ServerBug(PenultError):
    """A fault of penult itself; the server's log has the traceback."""


_BY_STATUS: dict[StatusCode, type[PenultError]] = {
    StatusCode.INVALID_ARGUMENT: InvalidRequest,
    StatusCode.NOT_FOUND: NotFound,
    StatusCode.ALREADY_EXISTS: Conflict,
    StatusCode.FAILED_PRECONDITION: PreconditionFailed,
    StatusCode.DATA_LOSS: StoreCorrupt,
    StatusCode.RESOURCE_EXHAUSTED: Busy,
    StatusCode.UNAVAILABLE: Unavailable,
    StatusCode.CANCELLED: Cancelled,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    StatusCode.UNAUTHENTICATED: Unauthenticated,
    StatusCode.PERMISSION_DENIED: NotAllowed,
    StatusCode.INTERNAL: ServerBug,
}
_BY_KIND: dict[ErrorKind, type[PenultError]] = {
    ErrorKind.REQUEST_ID_REUSED: Conflict,
    ErrorKind.STORE_LOCKED: Conflict,
    ErrorKind.VERSION_MISMATCH: VersionMismatch,
}
"""Class of each kind whose class does not follow from its status code."""

CLASSES: dict[str, type[PenultError]] = {
    str(kind): _BY_KIND.get(kind, _BY_STATUS[code]) for kind, code in STATUS_CODES.items()
}
"""Class of each kind: its own, else that of its status code."""


def from_kind(
    kind: str,
    message: str,
    metadata: Mapping[str, str] | None = None,
    retry_after: float | None = None,
) -> PenultError:
    """The error of a kind; a kind that only a newer server knows becomes a plain `PenultError`."""
    error = CLASSES.get(kind, PenultError)
    return error(message, kind=kind, metadata=metadata, retry_after=retry_after)


def install(extra: str) -> str:
    """How to install what an extra brings, for an error about a missing package."""
    return f"from a checkout of penult: pip install '.[{extra}]'"


MOST_SHOWN = 120
"""Most characters of a value that a message repeats."""


def shown(value: object) -> str:
    """How a value reads in a message: on one line, cut, and without anything that cannot be printed."""
    try:
        found = repr(value)
    except Exception:
        found = f"a {type(value).__name__} that cannot be shown"
    line = " ".join(found.encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= MOST_SHOWN else f"{line[: MOST_SHOWN - 4]} ..."


def invalid(message: str, kind: ErrorKind = ErrorKind.INVALID_ARGUMENT, **metadata: object) -> InvalidRequest:
    """An error that the client finds in a request before any call."""
    return InvalidRequest(message, kind=kind, metadata={key: str(value) for key, value in metadata.items()})
