"""Files and directories that are either whole and on disk, or not there.

Everything is written under a temporary name beside its target, flushed to the disk (file by file, then
the directories), and renamed: a crash or a power cut at any moment leaves the old state or the new one.
"""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

STAGING_PREFIX = ".staging-"
SAFETENSORS_PREFIX = ".tmp"
"""How safetensors names a file that it writes, before it has the name that was asked for."""

LARGE_FILE = 2**20
"""Bytes of a file from which it is flushed by itself, and its digest computed meanwhile; small ones go together."""
FLUSHED_AT_ONCE = 8
"""Files or directories of one tree that are flushed at the same time."""


@contextmanager
def staged_directory(target: Path, *, makes_parent: bool = True) -> Generator[Path, None, None]:
    """Yield an empty directory that becomes `target` when the block ends without an error.

    Without `makes_parent` FileNotFoundError is raised where the directory in which it is to lie is not there.

    Names are digests of the content, so a `target` that exists already is the same thing: it is kept
    and the new copy dropped. On an error nothing is left behind.
    """
    if makes_parent:
        target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=target.parent))
    try:
        yield staging
        sync_tree(staging)
        if not target.exists():
            rename_directory(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def rename_directory(source: Path, target: Path) -> bool:
    """Rename onto `target`; when another writer of the same content was faster, keep theirs: then it is false."""
    is_ours = True
    while True:
        try:
            source.rename(target)
        except OSError as error:
            if target.is_dir():
                is_ours = False
                break
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Theirs was there, and is already removed: it is ours to place.
        else:
            break
    sync_place(target)
    return is_ours


def write_file(target: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace `target` by `content` in one step that survives a power cut."""
    with staged_file(target) as staging:
        staging.write_bytes(content)
        staging.chmod(mode)


@contextmanager
def staged_file(target: Path) -> Generator[Path, None, None]:
    """Yield a path beside `target`; the file written there replaces it, flushed, when the block ends without error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f"{STAGING_PREFIX}{target.name}-", dir=target.parent)
    os.close(descriptor)
    staging = Path(name)
    try:
        yield staging
        sync_path(staging)
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    sync_place(target)


def write_synced(path: Path, content: memoryview) -> str:
    """Write a new file, flush it, and return its sha256 (hex); its name is not flushed yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if len(content) < LARGE_FILE:
        sync_path(path)
        return hashlib.sha256(content).hexdigest()
    with ThreadPoolExecutor(1, thread_name_prefix="flush") as pool:
        flushed = pool.submit(sync_path, path)
        digest = hashlib.sha256(content).hexdigest()
        flushed.result()
    return digest


def sync_tree(directory: Path) -> None:
    """Flush every file below `directory`, then every directory.

    Several at a time: a file system's journal takes them together, which takes a fifth of the time.
    """
    found = [(Path(parent), [Path(parent, file) for file in files]) for parent, _, files in os.walk(directory)]
    with ThreadPoolExecutor(max_workers=FLUSHED_AT_ONCE, thread_name_prefix="flush") as pool:
        list(pool.map(sync_path, [file for _, files in found for file in files]))
        list(pool.map(sync_path, [parent for parent, _ in found]))


def sync_place(path: Path) -> None:
    """Flush the name of a file or directory, and that of the directory in which it lies, which may be as new."""
    sync_path(path.parent)
    with suppress(PermissionError):  # above a store: a directory that is somebody else's was there before
        sync_path(path.parent.parent)


def sync_path(path: Path) -> None:
    """Flush one file or directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def staged(parent: Path) -> Iterator[Path]:
    """What is being written in `parent` and the directories in it, or was by writers that died."""
    for prefix in (STAGING_PREFIX, SAFETENSORS_PREFIX):
        yield from parent.glob(f"{prefix}*")
        yield from parent.glob(f"*/{prefix}*")
