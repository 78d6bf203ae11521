"""Files and directories that are whole or not there: written under another name, flushed, then renamed."""

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from penult.arguments import coerce
from penult.errors import invalid, shown


@contextmanager
def whole_file(path: str | Path) -> Generator[Path]:
    """A place beside `path` to write a file to, which replaces `path` at the end; an error leaves nothing.

    Raises `InvalidRequest` where `path` cannot be written.
    """
    target = _target(path)
    if target.is_dir():
        raise invalid(f"{target} is a directory; name a file", argument="path")
    staging = _staging(target)
    try:
        with _writing(target):
            yield staging
            _flush(staging)
            os.replace(staging, target)
            _flush_directory(target.parent)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def whole_directory(path: str | Path) -> Generator[Path]:
    """A new directory that is called `path` at the end; an error leaves nothing.

    Raises `InvalidRequest` where something has that name, or it cannot be written.
    """
    target = _target(path)
    if target.exists():
        raise invalid(f"{target} is there already; name a new directory, or remove it first", argument="path")
    staging = _staging(target)
    try:
        with _writing(target):
            staging.mkdir()
            yield staging
            for file in staging.rglob("*"):
                if file.is_file():
                    _flush(file)
            os.rename(staging, target)
            _flush_directory(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _target(path: str | Path) -> Path:
    try:
        target = Path(coerce.path("path", path)).expanduser().absolute()
        is_there = target.parent.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise invalid(f"path must name a place; got {shown(path)} ({error})", argument="path") from None
    if not target.name or not is_there:
        raise invalid(f"there is no directory {target.parent}: make it first", argument="path")
    return target


def _staging(target: Path) -> Path:
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")


@contextmanager
def _writing(target: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise invalid(f"{target} cannot be written: {error.strerror or error}", argument="path") from error


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_directory(directory: Path) -> None:
    """Flush a directory's entries, where the system can."""
    try:
        _flush(directory)
    except OSError:
        return
