"""Several jobs that were asked for together."""


# pandas has no stubs of its own.
# pyright: reportMissingTypeStubs=false

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from penult.arguments.coerce import seconds
from penult.calls.job import UNFINISHED, Job
from penult.calls.waiting.interrupts import told
from penult.display.html import card as html_card
from penult.display.html import table
from penult.errors import DeadlineExceeded, PenultError, StillRunning, Unavailable
from penult.results.frames import frame

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
MOST_LISTED = 6
"""Jobs of a group that one line names."""


class JobGroup(Generic[T]):
    """Several jobs that were asked for together, in order; a sequence of `Job`."""

    def __init__(self, jobs: Sequence[Job[T]]) -> None:
        self.jobs = tuple(jobs)

    def wait(self, *, progress: bool | None = None, timeout: float | None = None) -> list[T]:
        """Wait until all have ended and return what they made, in order.

        Raises what `Job.wait` raises, for the first that did not succeed, when all have ended. `timeout` is for all
        of them together; `StillRunning` then holds those that have not ended.
        """
        deadline = None if timeout is None else time.monotonic() + seconds(timeout)
        failure: PenultError | None = None
        for index, job in enumerate(self.jobs):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                job._awaited(progress=progress, timeout=left)  # pyright: ignore[reportPrivateUsage]
            except KeyboardInterrupt as error:
                told(error, self._left(index))
                raise
            except StillRunning as error:
                raise self._still_running(error) from None
            except (DeadlineExceeded, Unavailable):
                raise
            except PenultError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return [job.result for job in self.jobs]

    def _left(self, index: int) -> str:
        """What becomes of the jobs when nobody waits any more; `index`: the one that was waited for."""
        after = len(self.jobs) - index - 1
        more = f"\n  after it in its group: {after} more, not cancelled either" if after else ""
        return self.jobs[index]._left() + more  # pyright: ignore[reportPrivateUsage]

    def _still_running(self, first: StillRunning) -> StillRunning:
        """The error of one of the jobs as that of the group, with every job that has not ended."""
        unfinished = [job for job in self.jobs if not job.ended and not job.refresh().ended]
        states = [job.state for job in unfinished]
        counts = ", ".join(f"{states.count(state)} {state}" for state in UNFINISHED if state in states)
        message = f"{len(unfinished)} of {len(self.jobs)} jobs have not ended ({counts}); {first.message}"
        return StillRunning(message, unfinished or first.jobs)

    def cancel(self, *, timeout: float = 30.0) -> "JobGroup[T]":
        """End all of them early, the last first; returns itself. Those that have ended stay as they are."""
        for job in reversed(self.jobs):
            job.cancel(timeout=timeout)
        return self

    def __iter__(self) -> Iterator[Job[T]]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Job[T]:
        return self.jobs[index]

    def to_frame(self) -> "pd.DataFrame":
        """One row per job, as they stood at their last `refresh` or `wait`. Raises ImportError when pandas is missing.

        Columns: `id`, `kind`, `title`, `state`, `stage`, `attempt` (how often it was started) and `error`, the message
        of a job that did not succeed.
        """
        columns = ("id", "kind", "title", "state", "stage", "attempt")
        errors = ["" if job.error is None else str(job.error) for job in self.jobs]
        return frame({name: [getattr(job, name) for job in self.jobs] for name in columns} | {"error": errors})

    def __repr__(self) -> str:
        if len(self.jobs) <= MOST_LISTED:
            return f"JobGroup({', '.join(f'{job.id} {job.state}' for job in self.jobs)})"
        return f"JobGroup({len(self.jobs)} jobs: {self._states()})"

    def _repr_html_(self) -> str:
        """The jobs for a notebook."""
        rows = [(job.id, job.title, job.state, job.stage) for job in self.jobs]
        jobs = table(["id", "what", "state", "stage"], rows, n_text=4, longest=120)
        return html_card(f"JobGroup: {len(self.jobs)} jobs, {self._states()}", jobs)

    def _states(self) -> str:
        counts = Counter(job.state for job in self.jobs)
        return ", ".join(f"{count} {state}" for state, count in counts.items())
