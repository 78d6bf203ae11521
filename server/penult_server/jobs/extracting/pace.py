"""How many ranges make one task."""

TASK_SECONDS = 30.0
"""Work of one task: enough that its start does not count, little enough that a death costs little."""

MOST_CHUNKS = 1000
"""Chunks of one task where there are several: its answer names every file, and is of less than a megabyte."""


class Pace:
    """Learns from the tasks that have ended how long a range takes."""

    def __init__(self, at_once: int, *, is_here: bool = False) -> None:
        """`at_once` tasks are under way; `is_here` for one in this process, of which nothing is gained by several."""
        self._at_once = at_once
        self._is_here = is_here
        self._seconds: float | None = None
        """Seconds of a range; None before the first task has ended."""

    def took(self, n_ranges: int, seconds: float) -> None:
        """A task has ended."""
        self._seconds = seconds / n_ranges

    def ranges_of_a_task(self, left: int, chunks_of_a_range: int = 1) -> int:
        """How many of the `left` ranges of a split the next task does."""
        if self._is_here:
            return left
        if self._seconds is None:
            return 1
        # The last tasks are short, so that all workers end together.
        fair = -(-left // (2 * self._at_once))
        worth = int(TASK_SECONDS / max(self._seconds, 1e-3))
        return max(1, min(fair, worth, MOST_CHUNKS // max(1, chunks_of_a_range)))
