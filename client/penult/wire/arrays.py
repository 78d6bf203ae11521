"""Arrays as requests carry them, and as answers do: one that is broken is a fault of the server."""

from collections.abc import Generator
from contextlib import contextmanager

from penult.errors import ServerBug
from penult_proto import arrays
from penult_proto.arrays import AnyArray, ArrayError, encode
from penult_proto.v1 import arrays_pb2

__all__ = ["AnyArray", "decode", "encode", "sent_by_server"]


@contextmanager
def sent_by_server() -> Generator[None]:
    """Raise `ServerBug` for an array that cannot be read."""
    try:
        yield
    except ArrayError as error:
        raise ServerBug(f"the server sent a broken array: {error}") from None


@sent_by_server()
def decode(message: arrays_pb2.Array) -> AnyArray:
    """The array in a message, read-only. Raises `ServerBug` when the bytes do not fill its shape."""
    return arrays.decode(message, "array")
