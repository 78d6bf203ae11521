"""The files of a run besides its checkpoints: the manifest, and while it runs the training state.

`runs/<id>/manifest.json` is enough to run it again; `runs/<id>/record.json` is what the registry says of one that has
succeeded. `runs/<id>/training_state.safetensors` is what a run that was
killed resumes from; it is removed when the run has ended. Where it ended for a reason that lies outside it (its worker
died too often, no memory, a full disk) the state is kept, and moves to the next run that is asked to do the same.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.durable import SAFETENSORS_PREFIX, STAGING_PREFIX, sync_place, write_file
from penult_server.stores.disk.sealed import read_sealed, sealed_text

STATE_NAME = "training_state.safetensors"
RECORD_NAME = "record.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunManifest:
    """What is needed to run a run again."""

    run_id: str
    config: dict[str, Any]
    """Every field of the configuration."""
    dataset: str
    dataset_digest: str
    weights: str
    """What the starting weights were: "package NAME VERSION", "directory SHA256", "hub NAME" or "random"."""
    kept_row_ids: list[int]
    """Training examples of an epoch: those that the balancing kept, in the order of the split; then, again, those that
    are repeated."""
    versions: dict[str, str]
    """Versions of the libraries that decide the numbers, and of Python."""
    device: str
    threads: int
    """Threads that torch used on the CPU."""
    resumed_at: list[int]
    """Steps from which the run was resumed after it had been killed."""
    created: float
    """Unix time of the first start."""


def run_directory(root: Path, run_id: str) -> Path:
    """Where a run keeps its files."""
    return root / "runs" / run_id


def state_file(root: Path, run_id: str) -> Path:
    """Where a run keeps its training state while it is going on."""
    return run_directory(root, run_id) / STATE_NAME


def runs_with_state(root: Path) -> list[str]:
    """Ids of the runs that have a training state."""
    return [path.parent.name for path in root.glob(f"runs/*/{STATE_NAME}")]


def write_run_manifest(root: Path, manifest: RunManifest) -> None:
    """Store or replace a run's manifest."""
    write_file(run_directory(root, manifest.run_id) / "manifest.json", sealed_text(asdict(manifest)).encode())


def read_run_manifest(root: Path, run_id: str) -> RunManifest:
    """The manifest of a run.

    Raises ServiceError: UNKNOWN_RUN when there is none; STORE_CORRUPT when it cannot be read.
    """
    path = run_directory(root, run_id) / "manifest.json"
    try:
        manifest = RunManifest(**read_sealed(path))
        if manifest.run_id != run_id:
            raise ValueError(f"it is that of run {manifest.run_id}")
        return manifest
    except FileNotFoundError as error:
        raise ServiceError(
            ErrorKind.UNKNOWN_RUN,
            f"there are no files of a run {run_id!r}: it has not started, or was deleted; list the runs",
            run=run_id,
        ) from error
    except (ValueError, TypeError) as error:
        raise ServiceError(
            ErrorKind.STORE_CORRUPT, f"the manifest of run {run_id} cannot be read: {error}", run=run_id, file=path
        ) from error


def write_run_record(root: Path, run_id: str, record: dict[str, Any]) -> None:
    """Store what the registry has of a finished run, so that it can be rebuilt."""
    write_file(run_directory(root, run_id) / RECORD_NAME, sealed_text(record).encode())


def read_run_record(root: Path, run_id: str) -> dict[str, Any] | None:
    """It back; None where there is none. Raises ServiceError (STORE_CORRUPT)."""
    path = run_directory(root, run_id) / RECORD_NAME
    try:
        record = read_sealed(path)
        if record.get("id") != run_id:
            raise ValueError(f"it is that of run {record.get('id')}")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ServiceError(
            ErrorKind.STORE_CORRUPT, f"the record of run {run_id} cannot be read: {error}", run=run_id, file=path
        ) from error
    return record


def adopt_training_state(root: Path, run_id: str, earlier: Sequence[str]) -> None:
    """Give a run the training state that the first of the `earlier` runs left which has one; its own comes first."""
    own = state_file(root, run_id)
    for left in (state_file(root, other) for other in earlier):
        if own.exists():
            return
        if left.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # deleted just now
                left.replace(own)
            sync_place(own)


def discard_training_state(root: Path, run_id: str) -> None:
    """Remove the training state of a run that has ended, and what a killed writer left of one."""
    path = state_file(root, run_id)
    staged = (f"{STAGING_PREFIX}{path.name}-*", f"{SAFETENSORS_PREFIX}*")
    for leftover in (path, *(one for pattern in staged for one in path.parent.glob(pattern))):
        leftover.unlink(missing_ok=True)
