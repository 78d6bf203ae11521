"""Which calls are slow: those that take many times what calls of their method usually take."""

from collections import defaultdict, deque
from statistics import median

from penult_server.front.observed.methods import ENDLESS

TIMES = 10.0
"""A slow call takes more than so many times the median."""
LEAST_SECONDS = 1.0
"""No shorter call is slow."""
MOST_CALLS = 101
"""Calls of a method that its median is taken of."""
FEWEST_CALLS = 20


class Slowness:
    """Remembers how long the latest calls of each method took."""

    def __init__(self) -> None:
        self._latest: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_CALLS))

    def is_slow(self, method: str, seconds: float) -> bool:
        """Whether a call that took so long was slow; it counts from now on."""
        latest = self._latest[method]
        is_known = len(latest) >= FEWEST_CALLS and method not in ENDLESS
        # The median is taken only of calls that are long enough to be told of.
        is_slow = seconds >= LEAST_SECONDS and is_known and seconds > TIMES * median(latest)
        latest.append(seconds)
        return is_slow
