"""The files of a dataset's images, found, then read, hashed and decoded once by several threads."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_IMAGE_BYTES
from penult_server.datasets.images import ImageError, check_image
from penult_server.datasets.rows import Rows
from penult_server.datasets.tables.table import bad_table, first_repeat
from penult_server.errors import ServiceError
from penult_server.named.opening import IrregularError, check_regular, open_below
from penult_server.named.roots import READING

_AT_ONCE = 256
"""Files handed to the threads together."""


class ReportProgress(Protocol):
    """Called with how far the work is: a stage, how many of how many are done, and of what."""

    def __call__(self, stage: str, done: float, total: float, unit: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFiles:
    """The files of N images, in their order; all empty for texts."""

    directory: Path
    """Links resolved."""
    paths: list[str]
    """Relative to the directory, links resolved."""
    sha256: NDArray[np.uint8]
    """(N, 32)."""
    n_bytes: NDArray[np.int64]


def read_images(rows: Rows, progress: ReportProgress, check_cancelled: Callable[[], None]) -> ImageFiles:
    """Find every file, then read, hash and decode all of them. Texts have none.

    Finding comes first, so that a missing file is told at once and not after the images before it.

    Raises ServiceError: BAD_TABLE (a path that leads out of the directory, or a file named twice without ids),
    FILES_MISSING, CORRUPT_IMAGE, and whatever `check_cancelled` raises.
    """
    directory = _base(rows)
    files = _find(rows, directory)
    paths = [file.relative_to(directory).as_posix() for file in files]
    if rows.ids is None:
        _check_named_once(rows, paths)
    sha256 = np.empty((len(files), 32), np.uint8)
    n_bytes = np.empty(len(files), np.int64)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="images") as pool:
        try:
            for first in range(0, len(files), _AT_ONCE):
                some = range(first, min(first + _AT_ONCE, len(files)))
                looked_at = pool.map(partial(_inspect, rows, directory, files), some)
                for i, (digest, size) in zip(some, looked_at, strict=True):
                    check_cancelled()
                    sha256[i] = np.frombuffer(digest, np.uint8)
                    n_bytes[i] = size
                    progress("reading", i + 1, len(files), "files")
        except BaseException:  # those that no thread has taken up are not read any more
            pool.shutdown(cancel_futures=True)
            raise
    return ImageFiles(directory=directory, paths=paths, sha256=sha256, n_bytes=n_bytes)


def _base(rows: Rows) -> Path:
    """The directory of the images, links resolved. Raises ServiceError (NOT_ALLOWED)."""
    base = rows.base.resolve()
    return base if rows.is_unpacked else READING.get().roots.resolved(base)


def _find(rows: Rows, directory: Path) -> list[Path]:
    """Every file, links resolved. Raises ServiceError: BAD_TABLE, or FILES_MISSING with how many are."""
    resolve, roots = _Resolver(directory), READING.get().roots
    files: list[Path] = []
    missing: list[tuple[int, str]] = []
    for row, written in enumerate(rows.paths):
        try:
            file = resolve(written)
            # Where a path leads out, not even whether there is a file is told.
            if not file.is_relative_to(directory):
                raise bad_table(
                    f"{rows.where(row)}: {written!r} leads outside {directory}; images must lie in it or below",
                    row=_row(rows, row),
                    file=written,
                )
            if not rows.is_unpacked:
                roots.root_of(file, written)
            check_regular(file.stat().st_mode)
        except ValueError:
            missing.append((row, "it holds a NUL character"))
            continue
        except IrregularError:
            missing.append((row, "it is not a file"))
            continue
        except (OSError, RuntimeError) as error:  # a loop of links: which of the two depends on the version
            missing.append((row, getattr(error, "strerror", None) or "its links lead nowhere"))
            continue
        files.append(file)
    if missing:
        raise _missing(rows, *missing[0], n_others=len(missing) - 1)
    return files


class _Resolver:
    """Resolves the links of paths; those of each directory once, since a data set has many files in few of them."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._parents: dict[str, Path] = {}

    def __call__(self, written: str) -> Path:
        parent, name = os.path.split(written)
        if name in ("", ".", ".."):
            return (self._base / written).resolve()
        if parent not in self._parents:
            self._parents[parent] = (self._base / parent).resolve()
        file = self._parents[parent] / name
        return file.resolve() if file.is_symlink() else file


def _check_named_once(rows: Rows, paths: Sequence[str]) -> None:
    """Refuse a file that is named twice: the same example counted twice, or a leak between splits."""
    repeat = first_repeat(np.array(paths, np.str_))
    if repeat is not None:
        row, first = repeat
        raise bad_table(
            f"{rows.where(row)} repeats the file {paths[row]!r} of {rows.where(first)}; if that is meant, add a column "
            "'id'",
            row=_row(rows, row),
            file=paths[row],
        )


def _inspect(rows: Rows, directory: Path, files: Sequence[Path], row: int) -> tuple[bytes, int]:
    """sha256 and size of a file that decodes."""
    try:
        with open_below(directory, files[row], MOST_IMAGE_BYTES) as opened:
            content = opened.read()
    except OSError as error:
        raise _missing(rows, row, error.strerror or "it cannot be read") from error
    try:
        check_image(content)
    except ImageError as error:
        raise ServiceError(
            ErrorKind.CORRUPT_IMAGE,
            f"{rows.where(row)}: {rows.paths[row]!r} is no image that can be decoded: {error}",
            row=_row(rows, row),
            file=rows.paths[row],
        ) from error
    return hashlib.sha256(content).digest(), len(content)


def _missing(rows: Rows, row: int, why: str, n_others: int = 0) -> ServiceError:
    others = f"; {n_others} other files cannot be read either" if n_others else ""
    return ServiceError(
        ErrorKind.FILES_MISSING,
        f"{rows.where(row)}: {rows.paths[row]!r} cannot be read: {why}{others}",
        row=_row(rows, row),
        file=rows.paths[row],
    )


def _row(rows: Rows, row: int) -> str:
    """The number alone, for programs."""
    return rows.where(row).split()[1]
