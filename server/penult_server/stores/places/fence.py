"""Whether who writes may still commit: asked by every commit, after all is written and before it can be seen.

A job's attempt may be over while its process goes on: its server was cut off, and another has taken the job over. Such
a process must publish nothing. Who has no attempt, as who stores an upload, is not asked.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar


def _nobody_asks() -> None:
    """Nobody else may have the work."""


_FENCE: ContextVar[Callable[[], None]] = ContextVar("fence", default=_nobody_asks)


@contextmanager
def fenced(check_held: Callable[[], None]) -> Generator[None, None, None]:
    """Within the block, and in its thread, each commit first calls this, which returns only to who may commit."""
    before = _FENCE.set(check_held)
    try:
        yield
    finally:
        _FENCE.reset(before)


def check_fence() -> None:
    """Raise what the block's `check_held` raises; to be called by a commit just before it is seen."""
    _FENCE.get()()
