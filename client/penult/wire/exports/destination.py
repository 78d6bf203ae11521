"""The directory of an export: whole, or not there."""

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from penult.arguments.coerce import path as path_text
from penult.errors import invalid
from penult_proto.files import ABOUT


def destination(path: "str | os.PathLike[str]", *, overwrite: bool) -> Path:
    """The absolute path of a directory that may be written. Raises `InvalidRequest` for what is in the way."""
    found = Path(path_text("path", path)).expanduser().absolute()
    if not found.exists() and not found.is_symlink():
        return found
    if not found.is_dir() or found.is_symlink():
        raise invalid(f"{str(found)!r} is there and is no directory; give another path", argument="path")
    inside = {one.name for one in found.iterdir()}
    if inside and not overwrite:
        raise invalid(
            f"the directory {str(found)!r} is not empty; give another path, or overwrite=True to replace an earlier "
            "export",
            argument="path",
        )
    if inside and ABOUT not in inside:
        raise invalid(
            f"the directory {str(found)!r} holds no {ABOUT}, so that it is no earlier export, and overwrite=True "
            "replaces nothing else; give another path",
            argument="overwrite",
        )
    return found


@contextmanager
def staged(target: Path) -> Generator[Path]:
    """Yield an empty directory that replaces `target` when the block ends without an error; else nothing is left.

    Raises `InvalidRequest` where nothing can be written.
    """
    staging = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
    except OSError as error:
        raise invalid(f"nothing can be written at {str(target)!r}: {error.strerror}", argument="path") from None
    try:
        yield staging
        _replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(staging: Path, target: Path) -> None:
    """Rename onto the target; what was there is removed afterwards."""
    if not target.exists():
        staging.rename(target)
        return
    trash = staging.with_suffix(".old")
    target.rename(trash)
    try:
        staging.rename(target)
    except OSError:
        trash.rename(target)
        raise
    shutil.rmtree(trash, ignore_errors=True)
