"""What a root's disk had before the root had a bucket, moved there: each thing whole in one place or the other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from penult_server.datasets.catalog import DATASETS_DIRECTORY
from penult_server.errors import ServiceError
from penult_server.stores.checkpoint_stream import CheckpointStream
from penult_server.stores.disk.sealed import things
from penult_server.stores.groupings import StoredGrouping
from penult_server.stores.manifest import damaged_files, read_manifest
from penult_server.stores.places.opening import store_of
from penult_server.stores.places.store import MANIFEST, OBJECTS
from penult_server.stores.runs import FOLDER as RUNS
from penult_server.stores.runs import MANIFEST_NAME, RECORD_NAME
from penult_server.stores.training_states import publish_state, state_file


def move_to_bucket(root: Path) -> list[str]:
    """Move what lies on the disk to the root's bucket; to be called with the root's lock, and again after a failure.

    What is damaged stays where it is. Returns what was done, for people. Raises ServiceError (DISK_FAILED).
    """
    said: list[str] = []
    for kind, files_of_thing in _FILES.items():
        moved = 0
        for thing in things(root, kind):
            if (thing / OBJECTS).exists():
                continue
            try:
                names = files_of_thing(root, thing.name)
            except (ServiceError, OSError) as error:
                said.append(f"left where it is: {kind}/{thing.name}: {error}")
                continue
            _move(root, kind, thing, names)
            moved += 1
        said.append(f"moved: {moved} {kind}")
    store = store_of(root)
    for thing in things(root, DATASETS_DIRECTORY):
        store.keep(DATASETS_DIRECTORY, thing.name)
    for thing in things(root, RUNS):
        for path in (thing / MANIFEST_NAME, thing / RECORD_NAME):
            if path.is_file():
                store.share(RUNS, thing.name, path)
        if state_file(root, thing.name).exists():
            publish_state(root, thing.name, 0)
    said.append("copied: datasets, and runs with their training states")
    return said


def _move(root: Path, kind: str, thing: Path, names: list[str]) -> None:
    """Put a thing's files; its entry in the bucket, and then its directory in the root, take the place of what was."""
    attempt = store_of(root).attempt(kind)
    try:
        files = {name: attempt.put(name, _content(thing / name)) for name in names}
        attempt.commit(thing.name, (thing / MANIFEST).read_text(encoding="utf-8"), files, lambda _: False)
    finally:
        attempt.discard()


def _content(path: Path) -> "bytes | np.memmap[tuple[int], np.dtype[np.uint8]]":
    return np.memmap(path, np.uint8, mode="r") if path.stat().st_size else b""


def _checkpoint(root: Path, digest: str) -> list[str]:
    CheckpointStream(root, digest).verify()
    return _all_files(root / "checkpoints" / digest)


def _features(root: Path, digest: str) -> list[str]:
    """The files of the manifest alone: stored neighbours are found again when they are asked for."""
    directory = root / "features" / digest
    manifest = read_manifest(directory)
    if wrong := damaged_files(directory, manifest):
        raise FileNotFoundError(f"{wrong[0]} is missing or altered")
    return list(manifest.files)


def _grouping(root: Path, digest: str) -> list[str]:
    _ = StoredGrouping(root, digest).arrays
    return _all_files(root / "groupings" / digest)


def _all_files(directory: Path) -> list[str]:
    found = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if path.name != MANIFEST)


_FILES: dict[str, Callable[[Path, str], list[str]]] = {
    "checkpoints": _checkpoint,
    "features": _features,
    "groupings": _grouping,
}
"""The files of a thing of each kind, after a look at all of them."""
