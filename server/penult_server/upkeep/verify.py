"""Every file, manifest and row of a store compared with its digest. Nothing of it is changed."""

import logging
from collections.abc import Callable
from pathlib import Path

from penult_server.datasets.stored import RegisteredDataset
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.registry.integrity.commits import count_file
from penult_server.registry.integrity.files import TABLES_OF, RegistryFile, opened
from penult_server.registry.integrity.place import place_of
from penult_server.stores.checkpoint_stream import CheckpointStream
from penult_server.stores.disk.sealed import SEALED_FILES, things
from penult_server.stores.disk.verified import note_look
from penult_server.stores.groupings import StoredGrouping
from penult_server.stores.manifest import damaged_files, read_manifest
from penult_server.stores.neighbours import damaged_graphs
from penult_server.stores.places.opening import copies_of, damaged_elsewhere
from penult_server.stores.runs import read_run_manifest, read_run_record
from penult_server.stores.training_states import damaged_states
from penult_server.upkeep.damage import KIND_OF, Verification

REGISTRY = "penult.db"
log = logging.getLogger("penult.store")


def verify_store(root: Path) -> Verification:
    """Look at everything. What is deleted meanwhile by a server is passed over."""
    found = Verification()
    known = _verify_registry(root, found)
    for folder, verify in _VERIFIERS.items():
        for thing in things(root, folder):
            found.checked[folder] += 1
            found.seen.append(f"{folder}/{thing.name}")
            try:
                verify(root, thing.name, found)
            except (ServiceError, OSError) as error:
                if thing.exists():
                    found.add(KIND_OF[folder], thing.name, _said(error))
            if known is not None and thing.name not in known.get(folder, ()):
                found.unregistered.append(f"{folder}/{thing.name}")
    for folder, names in (known or {}).items():
        for name in sorted(names):
            if folder in TABLES_OF and not (root / folder / name).is_dir():
                found.seen.append(f"{folder}/{name}")
                found.add(KIND_OF[folder], name, "its directory is missing")
    return found


def verify_and_note(root: Path) -> Verification:
    """Look at everything, and keep beside the store when that was and what it found, for servers to show."""
    found = verify_store(root)
    try:
        note_look(root, found.started, found.seen, found.by_thing())
    except OSError as error:  # a disk that is full, or may only be read
        log.warning("when %s was verified cannot be kept there: %s", root, error)
    return found


def _verify_registry(root: Path, found: Verification) -> dict[str, set[str]] | None:
    """Names of registered things by their folder; None where the registry cannot say."""
    path = root / REGISTRY
    if place_of(root):  # PostgreSQL looks after its own
        return None
    if not path.is_file() or not path.stat().st_size:
        there = [folder for folder in SEALED_FILES if any(things(root, folder))]
        if there:
            found.add("registry", REGISTRY, f"it is missing or empty beside {', '.join(there)}")
        return None
    try:
        with opened(path) as file:
            for line in file.structure():
                found.add("registry", REGISTRY, line.splitlines()[0])
            if not file.has_seals:
                found.add("registry", REGISTRY, "it is of an earlier version, without digests: a server adds them")
                return None
            _verify_rows(path, file, found)
            return file.registered()
    except RegistryUnavailable as error:
        found.add("registry", REGISTRY, f"it cannot be read: {error}")
        return None


def _verify_rows(path: Path, file: RegistryFile, found: Verification) -> None:
    for row in file.damaged_rows():
        found.add("registry", f"{row.table} {row.id}", f"its row is {row.what}")
    found.checked["rows"] = file.n_sealed()
    committed = file.committed()
    try:
        noted = int(count_file(path).read_text())
    except (OSError, ValueError):
        return
    # Read before the count: a server that commits meanwhile would be ahead of what was read.
    if noted > committed and file.committed() < noted:
        found.add(
            "registry", REGISTRY, f"the last {noted - committed} changes are lost: its -wal is missing or damaged"
        )


def _checkpoint(root: Path, digest: str, found: Verification) -> None:
    CheckpointStream(root, digest).verify()
    _elsewhere(root / "checkpoints" / digest, "checkpoint", found)


def _features(root: Path, digest: str, found: Verification) -> None:
    directory = root / "features" / digest
    for name in damaged_files(directory, read_manifest(directory)):
        if directory.exists():
            found.add("features", digest, f"its file {name} is missing or altered")
    for name in damaged_graphs(root, digest):
        found.add("features", digest, f"its {name} are altered; they are found again when they are asked for")


def _grouping(root: Path, digest: str, found: Verification) -> None:
    _ = StoredGrouping(root, digest).arrays
    _elsewhere(root / "groupings" / digest, "grouping", found)


def _elsewhere(directory: Path, kind: str, found: Verification) -> None:
    """What was read may have come from this machine's cache."""
    for name in damaged_elsewhere(directory):
        found.add(kind, directory.name, f"its file {name} is missing or altered in the bucket")


def _dataset(root: Path, digest: str, found: Verification) -> None:
    directory = root / "datasets" / digest
    for path in RegisteredDataset(directory).damaged_within(directory):
        found.add("dataset", digest, f"its file {path} is missing or altered")
    if copies := copies_of(root):
        for name in copies.damaged("datasets", digest):
            found.add("dataset", digest, f"its file {name} is missing or altered in the bucket")


def _run(root: Path, run: str, found: Verification) -> None:
    # An attempt that failed early may have no manifest; one that has succeeded has both.
    if read_run_record(root, run) is not None or (root / "runs" / run / "manifest.json").exists():
        read_run_manifest(root, run)
    for damage in damaged_states(root, run):
        found.add("run", run, f"its training state {damage}; it would start again")


_VERIFIERS: dict[str, Callable[[Path, str, Verification], None]] = {
    "checkpoints": _checkpoint,
    "datasets": _dataset,
    "features": _features,
    "groupings": _grouping,
    "runs": _run,
}


def _said(error: Exception) -> str:
    return error.message if isinstance(error, ServiceError) else str(error)
