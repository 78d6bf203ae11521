"""What a waiting user sees: a bar, and a line for each split after each epoch."""

import sys
from typing import Any, Protocol

from penult.results.metrics import EpochMetrics
from penult_proto.v1 import jobs_pb2


class Watcher(Protocol):
    """Told what happens to a job."""

    def advance(self, progress: jobs_pb2.Progress) -> None:
        """How far the whole job is."""
        ...

    def report(self, entry: EpochMetrics) -> None:
        """Metrics of a split after an epoch."""
        ...

    def close(self) -> None:
        """Nothing more comes. May be called again."""
        ...


class Silent:
    """Shows nothing."""

    def advance(self, progress: jobs_pb2.Progress) -> None:
        """Shows nothing."""

    def report(self, entry: EpochMetrics) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Has nothing to close."""


class ProgressBar:
    """A tqdm bar on stderr, in a terminal or a notebook."""

    def __init__(self, title: str) -> None:
        # Loading tqdm takes a fifth of a second, which only those who watch should pay.
        from tqdm.auto import tqdm

        self._bar: tqdm[Any] = tqdm(
            desc=title,
            total=1,
            file=sys.stderr,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:g}/{total:g} {unit} [{elapsed}<{remaining}]",
        )

    def advance(self, progress: jobs_pb2.Progress) -> None:
        """Move the bar; the stage stands in front of it."""
        self._bar.total = progress.total or 1
        self._bar.set_description_str(progress.stage, refresh=False)
        self._bar.unit = progress.unit
        # Negative after a restart, when the work resumes from an earlier point.
        self._bar.update(progress.done - self._bar.n)

    def report(self, entry: EpochMetrics) -> None:
        """Write the line above the bar."""
        self._bar.write(epoch_line(entry), file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def epoch_line(entry: EpochMetrics) -> str:
    """Accuracies of a split after an epoch, in a line."""
    metrics = entry.metrics
    return (
        f"epoch {entry.epoch:>5.4g}  {entry.split:<8} average {metrics.average_accuracy:.3f}  "
        f"worst group {metrics.worst_group_accuracy:.3f} ({metrics.worst_group.name})"
    )
