"""What was tried, for the record of the long versions."""

import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")
SECONDS = float(os.environ.get("PENULT_BREAKING_SECONDS", "inf"))
"""Time for each long test; what it does not come to is left out, by chance."""

SEED = int(os.environ.get("PENULT_BREAKING_SEED", "0"))
"""Another seed tries others first."""


@dataclass
class Tally:
    """Numbers of trials."""

    counts: Counter[str] = field(default_factory=Counter)

    def count(self, what: str, n: int = 1) -> None:
        self.counts[what] += n

    def in_time(self, trials: Iterable[T]) -> Iterator[T]:
        """The trials, in the order of chance, until the time is over."""
        shuffled = list(trials)
        random.Random(SEED).shuffle(shuffled)
        until = time.monotonic() + SECONDS
        for one in shuffled:
            if time.monotonic() >= until:
                self.count("left out, no time")
                continue
            yield one
