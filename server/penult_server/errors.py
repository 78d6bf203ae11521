"""The exceptions of the service: a kind, a message for people, and the values it names."""

from collections.abc import Generator
from contextlib import contextmanager

from penult_proto.arrays import ArrayError
from penult_proto.errors import ErrorKind


class ServiceError(Exception):
    """A request that cannot be met, for a reason its sender can act on.

    Raised anywhere in the service, in any of its processes; the front turns it into a status with
    details, a job worker into the error of its job. Anything else that escapes is a bug and becomes
    `ErrorKind.INTERNAL`.

    Parameters
    ----------
    kind : what went wrong, for programs.
    message : what was expected, what was got, what to do; for people. One sentence or two.
    **metadata : the values that the message names, for programs. Converted to text.
    """

    def __init__(self, kind: ErrorKind, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after: float | None = None
        """Seconds after which to ask again, where it is known; otherwise by the kind."""
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}


class RegistryUnavailable(Exception):  # noqa: N818  a state, which may pass
    """The registry's database refused, or cannot be reached: its disk is full or fails, another holds it, it is down.

    What was asked of it did not happen. It is no fault of the request, and may pass.
    """

    def __init__(self, kind: ErrorKind, message: str, *, was_cut: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.was_cut = was_cut
        """Whether the connection was lost before anything was committed, so that the same can be done again."""


@contextmanager
def sent_by_client() -> Generator[None]:
    """Raise ServiceError for an array that cannot be read: of its own kind, and naming it."""
    try:
        yield
    except ArrayError as error:
        hint = "; nothing was stored, upload again" if error.kind is ErrorKind.INCOMPLETE_UPLOAD else ""
        raise ServiceError(error.kind, f"{error}{hint}", array=error.array) from None


def idle_upload(idle_seconds: float) -> ServiceError:
    """The error for an upload of which nothing comes."""
    return ServiceError(
        ErrorKind.DEADLINE_EXCEEDED,
        f"nothing of the upload came for {idle_seconds:g} seconds; nothing was stored, upload again",
        idle_seconds=idle_seconds,
    )


def unknown(kind: ErrorKind, what: str, name: str, known: list[str]) -> ServiceError:
    """The error for a name that does not exist; lists those that do."""
    listed = ", ".join(known) if known else "there are none yet"
    return ServiceError(kind, f"there is no {what} {name!r}; known: {listed}", name=name, known=", ".join(known))
