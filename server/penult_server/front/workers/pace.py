"""How long a query still takes, from how fast it goes; so that one that cannot be ready in time is refused early."""

import time
from collections.abc import Callable

from penult_proto.errors import ErrorKind
from penult_proto.v1.jobs_pb2 import Progress
from penult_server.errors import ServiceError

SEEN_FOR = 2.0
"""Seconds of a stage after which its pace is believed."""
MUCH_LATER = 2.0
"""How many times the time left a stage must still need, for its query to be given up: paces change."""


class Pace:
    """The pace of the stage that a query is in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._since = 0.0
        self._first = 0.0

    def seconds_left(self, progress: Progress) -> float | None:
        """Seconds until the end of the stage at its mean pace; None while that is not known."""
        now = self._clock()
        if progress.stage != self._stage:
            self._stage, self._since, self._first = progress.stage, now, progress.done
        done = progress.done - self._first
        if done <= 0 or now - self._since < SEEN_FOR:
            return None
        return (progress.total - progress.done) * (now - self._since) / done


def too_late(seconds_left: float, allowed: float) -> ServiceError:
    """The refusal of a query that would be ready long after its deadline."""
    return ServiceError(
        ErrorKind.DEADLINE_EXCEEDED,
        f"at the pace so far this takes about {seconds_left:.0f} seconds more, and {max(allowed, 0):.0f} are left; "
        "allow more (timeout=), or ask for less",
        seconds_left=round(seconds_left),
        allowed=round(allowed),
    )
