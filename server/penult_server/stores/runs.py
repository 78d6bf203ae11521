"""The files of a run besides its checkpoints and its training state.

`runs/<id>/manifest.json` is enough to run it again; `runs/<id>/record.json` is what the registry says of one that has
succeeded. Where the root has a bucket they lie there, too.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.durable import write_file
from penult_server.stores.disk.sealed import read_sealed, sealed_text
from penult_server.stores.places.opening import store_of

FOLDER = "runs"
MANIFEST_NAME = "manifest.json"
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
    return root / FOLDER / run_id


def write_run_manifest(root: Path, manifest: RunManifest) -> None:
    """Store or replace a run's manifest."""
    path = run_directory(root, manifest.run_id) / MANIFEST_NAME
    write_file(path, sealed_text(asdict(manifest)).encode())
    store_of(root).share(FOLDER, manifest.run_id, path)


def read_run_manifest(root: Path, run_id: str) -> RunManifest:
    """The manifest of a run.

    Raises ServiceError: UNKNOWN_RUN when there is none; STORE_CORRUPT when it cannot be read.
    """
    path = run_directory(root, run_id) / MANIFEST_NAME
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
    path = run_directory(root, run_id) / RECORD_NAME
    write_file(path, sealed_text(record).encode())
    store_of(root).share(FOLDER, run_id, path)


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
