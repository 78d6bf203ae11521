"""Calls that a server had no place for, made again after the time that it asked for.

`busy` is said before anything is started, or of queries, whose answers are stored: so the same call again is harmless.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

import grpc

from penult.connection.scope import sleep
from penult.errors import PenultError
from penult_proto.errors import ErrorKind

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
FIRST_WAIT, LONGEST_GROWN = 0.25, 2.0
"""Seconds of the first wait where the server says less, and of the longest that it grows to."""
LONGEST_WAIT = 8.0
"""Seconds between two attempts at most."""


class Patience:
    """How long a call may still be tried, within its own deadline.

    The server says after what time there is likely to be a place; where it says little, the waits grow. Each is drawn
    at random, so that those who were refused together do not come back together.
    """

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout
        self._n_refused = 0

    @property
    def left(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def outlasts(self, failure: PenultError) -> bool:
        """Whether the call may be made again; returns when it is time. False at once for any other failure."""
        if failure.kind != ErrorKind.BUSY or failure.retry_after is None:
            return False
        grown = min(FIRST_WAIT * 2**self._n_refused, LONGEST_GROWN)
        wait = min(max(failure.retry_after, grown), LONGEST_WAIT) * random.uniform(0.5, 1.0)
        self._n_refused += 1
        if self._end is not None and time.monotonic() + wait >= self._end:
            return False
        sleep(wait)
        return True


class Call(Protocol[T_co]):
    """A stream of answers."""

    def __iter__(self) -> Iterator[T_co]: ...

    def __next__(self) -> T_co: ...

    def cancel(self) -> object:
        """End it. May be called again."""
        ...


class PatientCall(Generic[T]):
    """A stream of answers; where the server was busy it is opened again, and what had come is passed over."""

    def __init__(
        self,
        begin: Callable[[float | None], Call[T]],
        patience: Patience,
        meaning: Callable[[grpc.RpcError], PenultError],
    ) -> None:
        self._begin, self._patience, self._meaning = begin, patience, meaning
        self._call = begin(patience.left)
        self._n_received = 0
        self._is_cancelled = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        to_pass_over = 0
        while True:
            try:
                for _ in range(to_pass_over):
                    next(self._call)
                    to_pass_over -= 1
                answer = next(self._call)
            except grpc.RpcError as error:
                if self._is_cancelled or not self._patience.outlasts(self._meaning(error)):
                    raise
                self._call, to_pass_over = self._begin(self._patience.left), self._n_received
            else:
                self._n_received += 1
                return answer

    def cancel(self) -> object:
        """End it. May be called again."""
        self._is_cancelled = True
        return self._call.cancel()
