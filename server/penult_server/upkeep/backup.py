"""A store copied while it is used, and a store made from such a copy."""

import os
import shutil
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.datasets.stored import REGISTRATION_FILE
from penult_server.errors import ServiceError
from penult_server.registry.integrity.copies import copy_registry
from penult_server.registry.integrity.files import opened
from penult_server.stores.disk.durable import staged_directory, write_file
from penult_server.stores.disk.sealed import read_sealed, sealed_text, things
from penult_server.stores.places.opening import read_place
from penult_server.upkeep.damage import Verification
from penult_server.upkeep.verify import REGISTRY, verify_and_note, verify_store

ABOUT = "backup.json"
ATTEMPTS = 5
"""Times that a backup is started again because something was deleted meanwhile."""
CHANGING = ("logs",)
"""Folders whose files are appended to: always copied."""


def back_up(root: Path, target: Path, *, links: bool) -> Verification:
    """Copy a store to a directory that does not exist yet; a server may use the store meanwhile.

    The registry comes first, as it is at one moment; then what it knows. `links`: files that never change get another
    name in place of a copy, where the disk is the same: quick and without space, but no help against a bad disk.
    Returns what a look at all of the copy finds. Raises ServiceError (INVALID_ARGUMENT).
    """
    _check_store(root)
    _check_own(root)
    _check_absent(target)
    if target.resolve().is_relative_to(root.resolve()):
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"a backup cannot lie within its store: {target} is in {root}")
    for attempt in range(ATTEMPTS):
        try:
            with staged_directory(target) as staging:
                _copy_store(root, staging, links=links)
                found = verify_store(staging)
                said = {
                    "created": time.time(),
                    "root": str(root.resolve()),
                    "penult": version("penult"),
                    "checked": dict(found.checked),
                    "damages": [str(one) for one in found.damages],
                }
                write_file(staging / ABOUT, sealed_text(said).encode())
        except FileNotFoundError:  # deleted after the registry was copied, which then names too much
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return found
    raise AssertionError("not reached")


def restore(source: Path, root: Path) -> Verification:
    """Make a store from a backup, which stays as it is. Everything is looked at afterwards.

    Raises ServiceError: INVALID_ARGUMENT where `source` is no backup, or `root` holds something; STORE_CORRUPT where
    what the backup says of itself is damaged.
    """
    try:
        said = read_sealed(source / ABOUT)
    except FileNotFoundError as error:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{source} is no backup: it has no {ABOUT}; name what `penult store backup` made",
        ) from error
    except ValueError as error:
        raise ServiceError(ErrorKind.STORE_CORRUPT, f"{source / ABOUT} is damaged: {error}") from error
    _check_absent(root)
    with staged_directory(root) as staging:
        for path in sorted(source.iterdir()):
            if path.name != ABOUT:
                _copy(path, staging / path.name, links=False)
        _move_images(staging, Path(said["root"]), root.resolve())
    return verify_and_note(root)


def _copy_store(root: Path, staging: Path, *, links: bool) -> None:
    copy_registry(root / REGISTRY, staging / REGISTRY)
    for folder, names in _registered(staging / REGISTRY).items():
        for name in names:
            source = root / folder / name
            # A run may have failed before it had files; other things were deleted, if they are not there.
            if folder != "runs" or source.exists():
                _copy(source, staging / folder / name, links=links)
    for folder in ("uploads", *CHANGING):
        for path in things(root, folder) if folder == "uploads" else _files(root / folder):
            _copy(path, staging / folder / path.name, links=links and folder not in CHANGING)
    if (root / "token").exists():
        _copy(root / "token", staging / "token", links=False)


def _registered(registry: Path) -> dict[str, list[str]]:
    with opened(registry) as file:
        return {folder: sorted(names) for folder, names in file.registered().items()}


def _copy(source: Path, target: Path, *, links: bool) -> None:
    """A file or a tree, without what is half written; files by another name for them where that is possible."""
    if source.is_dir():
        target.mkdir(parents=True)
        for path in source.iterdir():
            if not path.name.startswith(".staging-"):
                _copy(path, target / path.name, links=links)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if links:
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, or one that has no links
            pass
        else:
            return
    shutil.copy2(source, target)


def _files(folder: Path) -> Iterable[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file()] if folder.is_dir() else []


def _move_images(staging: Path, before: Path, after: Path) -> None:
    """Images that lie within a store are found in the new one."""
    for dataset in things(staging, "datasets"):
        path = dataset / REGISTRATION_FILE
        registration = read_sealed(path)
        place = Path(registration["directory"])
        if place.is_relative_to(before):
            moved = registration | {"directory": str(after / place.relative_to(before))}
            write_file(path, sealed_text(moved, indent=None).encode())


def _check_own(root: Path) -> None:
    place = read_place(root)
    if place is not None:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"checkpoints and features of {root} lie in {place.url}, which is not copied file by file: keep "
            "versions of that bucket, or replicate it, by its own means, and copy the root while no server runs",
        )


def _check_store(root: Path) -> None:
    if not (root / REGISTRY).is_file():
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{root} is no store: it has no {REGISTRY}; name the directory that a server has",
        )


def _check_absent(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"{target} is not empty: name a directory that does not exist, or an empty one"
        )
    if target.exists():
        target.rmdir()
