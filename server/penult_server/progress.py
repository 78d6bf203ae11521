"""What the work of a job tells the service, and asks it, while it runs."""

from dataclasses import dataclass
from typing import Protocol

from penult_kernels.metrics.accuracy import GroupMetrics
from penult_server.stores.checkpoints import CheckpointManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsRecord:
    """Metrics of one split after so many steps of a run."""

    epoch: float
    """step / (steps of an epoch)."""
    step: int
    split: str
    metrics: GroupMetrics


class JobContext(Protocol):
    """What a function that does a job's work reports to, and asks whether the job was cancelled."""

    def progress(self, stage: str, done: float, total: float, unit: str) -> None:
        """Say how far the whole job is. Cheap: may be called for every batch."""
        ...

    def metrics(self, record: MetricsRecord) -> None:
        """Report the metrics of a split."""
        ...

    def checkpoint(self, manifest: CheckpointManifest) -> None:
        """Register a checkpoint that lies whole in the store."""
        ...

    def saved(self, amount: float) -> None:
        """So much need not be done again should this process die: a number that only grows from attempt to attempt."""
        ...

    def needed(self, digests: list[str]) -> None:
        """Say which of the checkpoints reported so far are still needed; the others may be deleted."""
        ...

    def check_cancelled(self) -> None:
        """Raise ServiceError (CANCELLED) when the job has been cancelled. Cheap."""
        ...
