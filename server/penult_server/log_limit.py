"""Warnings and errors that repeat: a client that fails a thousand times a second must not fill the disk."""

import logging
import time
from collections import Counter
from typing import TypeAlias

PER_PERIOD, PERIOD_SECONDS = 20, 10.0
Place: TypeAlias = tuple[str, int]
"""A line of code that logs."""


class RepeatLimit(logging.Filter):
    """Lets through the first of what one line of code says in a period; later, it tells how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._period = 0
        self._counts: Counter[Place] = Counter()
        self._left_out: Counter[Place] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written; adds to its message what was left out before it."""
        if record.levelno < logging.WARNING:
            return True
        period = int(time.monotonic() / PERIOD_SECONDS)
        if period != self._period:
            self._period = period
            self._counts.clear()
        place = (record.pathname, record.lineno)
        self._counts[place] += 1
        if self._counts[place] > PER_PERIOD:
            self._left_out[place] += 1
            return False
        if left_out := self._left_out.pop(place, 0):
            record.msg, record.args = f"{record.getMessage()} ({left_out} more of these were left out before)", ()
        return True
