"""What the work of a job may tell the service, and ask it, while it runs."""

from typing import Protocol

from penult_server.finetuning.history import MetricsRecord
from penult_server.stores.checkpoints import CheckpointManifest


class JobContext(Protocol):
    """Given to the function that does a job's work."""

    def progress(self, stage: str, done: float, total: float, unit: str) -> None:
        """Say how far the whole job is. Cheap: may be called for every batch."""
        ...

    def metrics(self, record: MetricsRecord) -> None:
        """Report the metrics of a split."""
        ...

    def checkpoint(self, manifest: CheckpointManifest) -> None:
        """Register a checkpoint that lies whole in the store."""
        ...

    def check_cancelled(self) -> None:
        """Raise ServiceError (CANCELLED) when the job has been cancelled. Cheap."""
        ...
