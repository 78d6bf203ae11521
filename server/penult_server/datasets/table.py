"""Registration of a user's own images or texts, listed in a CSV file.

Columns: `split`, `y`, and either `path` (an image, relative to the CSV's directory, or absolute inside
it) or `text`; optionally `id`; every further column is an attribute, and at least one is needed. Values
of `split`, `y`, `id` and the attributes are stripped of surrounding blanks. Class names and attribute
values are ordered by number when all are integers, else by text. Row ids are the column `id` where it
holds whole numbers, else the position of the row in the table, from 0.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.datasets.footwear.dataset import NAME as PACKAGED_NAME
from penult_server.datasets.images import ImageError, decode_image
from penult_server.datasets.model import DatasetInfo
from penult_server.datasets.rows import Rows, bad_table, read_rows
from penult_server.datasets.stored import (
    LabelArrays,
    Manifest,
    Registration,
    TableDataset,
    check_files,
    write_content,
    write_registration,
)
from penult_server.errors import ServiceError
from penult_server.stores.durable import staged_directory

__all__ = ["TableDataset", "check_files", "check_name", "register"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,20}")
_LARGEST_ROW_ID = 2**64 - 1


class Progress(Protocol):
    """How far the work is: a stage, how many of how many, of what."""

    def __call__(self, stage: str, done: float, total: float, unit: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The files of a table's images, in its order; all empty for texts."""

    paths: list[str]
    """Relative to the table's directory, links resolved."""
    sha256: NDArray[np.uint8]
    """(N, 32)."""
    n_bytes: NDArray[np.int64]


def register(
    table: Path,
    name: str,
    description: str,
    out: Path,
    progress: Progress,
    check_cancelled: Callable[[], None],
) -> DatasetInfo:
    """Read a table, check every example, and write the dataset to `out / digest`.

    Every image is read and fully decoded. Texts are stored; images stay where they are, known by their
    sha256. Nothing is left in `out` on an error. The same content registered again keeps its directory
    and takes the new name, description and place.

    Raises ServiceError: INVALID_ARGUMENT or NAME_TAKEN for the name, BAD_TABLE, ATTRIBUTE_MISSING,
    FILES_MISSING, CORRUPT_IMAGE, and whatever `check_cancelled` raises.
    """
    check_name(name)
    table = table.absolute()
    rows = read_rows(table)
    directory = table.parent.resolve()
    files = _read_files(rows, directory, progress, check_cancelled)
    ids = _ids(rows, files)
    labels = LabelArrays(
        row_id=_row_ids(rows),
        y=rows.y,
        a=rows.a,
        split_index=rows.split_index,
        sha256=files.sha256,
        n_bytes=files.n_bytes,
    )
    manifest = Manifest(
        digest=_digest(rows, ids, files),
        modality=rows.modality,
        classes=rows.classes,
        attributes=rows.attributes,
        splits=rows.splits,
        texts=rows.examples if rows.modality == "text" else (),
    )
    check_cancelled()
    registration = Registration(name=name, description=description, directory=str(directory), paths=files.paths)
    return _store(out / manifest.digest, manifest, labels, registration)


def check_name(name: str) -> None:
    """Raises ServiceError: INVALID_ARGUMENT for a name out of form, NAME_TAKEN for a packaged one."""
    if not _NAME.fullmatch(name):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{name!r} is no name for a dataset: expected a small letter or digit, then small letters, "
            "digits, dots, underscores or hyphens, at most 63 in all",
            name=name,
        )
    if name == PACKAGED_NAME:
        raise ServiceError(ErrorKind.NAME_TAKEN, f"{name!r} is the packaged dataset; choose another name", name=name)


def _store(directory: Path, manifest: Manifest, labels: LabelArrays, registration: Registration) -> DatasetInfo:
    with staged_directory(directory) as staging:
        write_content(staging, manifest, labels)
        write_registration(staging, registration)
    # When the content was there already, the staged copy was dropped and the old registration stayed.
    write_registration(directory, registration)
    return TableDataset(directory).info


def _read_files(rows: Rows, directory: Path, progress: Progress, check_cancelled: Callable[[], None]) -> _Files:
    """Read, hash and decode every image. Texts have no files."""
    listed = list(zip(rows.examples, rows.numbers, strict=True)) if rows.modality == "image" else []
    paths: list[str] = []
    sha256 = np.empty((len(listed), 32), np.uint8)
    n_bytes = np.empty(len(listed), np.int64)
    for i, (written, number) in enumerate(listed):
        check_cancelled()
        path = _resolve(directory, written, number)
        content = _read_image(path, written, number)
        paths.append(path.relative_to(directory).as_posix())
        sha256[i] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)
        n_bytes[i] = len(content)
        progress("reading", i + 1, len(listed), "files")
    return _Files(paths=paths, sha256=sha256, n_bytes=n_bytes)


def _resolve(directory: Path, written: str, number: int) -> Path:
    """Where a written path leads, links followed. Raises ServiceError: BAD_TABLE outside `directory`."""
    try:
        path = (directory / written).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links: which of the two depends on the version
        raise _missing(written, number, "its links lead nowhere") from error
    if not path.is_relative_to(directory):
        raise bad_table(
            f"row {number}: {written!r} leads outside the table's directory {directory}; images must lie "
            "in it or below",
            row=number,
            file=written,
        )
    return path


def _read_image(path: Path, written: str, number: int) -> bytes:
    """The bytes of a file that decodes. Raises ServiceError: FILES_MISSING, CORRUPT_IMAGE."""
    try:
        if not path.is_file():
            raise _missing(written, number, "it is not a file" if path.exists() else "there is no such file")
        content = path.read_bytes()
    except OSError as error:
        raise _missing(written, number, error.strerror or "it cannot be read") from error
    try:
        decode_image(content)
    except ImageError as error:
        raise ServiceError(
            ErrorKind.CORRUPT_IMAGE,
            f"row {number}: {written!r} is no image that can be decoded: {error}",
            row=number,
            file=written,
        ) from error
    return content


def _missing(written: str, number: int, why: str) -> ServiceError:
    return ServiceError(
        ErrorKind.FILES_MISSING, f"row {number}: {written!r} cannot be read: {why}", row=number, file=written
    )


def _ids(rows: Rows, files: _Files) -> list[str]:
    """What tells the examples apart: the column `id`, else their files, else their positions.

    Raises ServiceError: BAD_TABLE when a file occurs twice without ids, which would be the same example
    counted twice, or a leak between splits.
    """
    if rows.ids is not None:
        return list(rows.ids)
    if rows.modality == "text":
        return [str(i) for i in range(len(rows.examples))]
    first: dict[str, int] = {}
    for path, number in zip(files.paths, rows.numbers, strict=True):
        if path in first:
            raise bad_table(
                f"row {number} repeats the file {path!r} of row {first[path]}; if that is meant, add a column 'id'",
                row=number,
                file=path,
            )
        first[path] = number
    return files.paths


def _row_ids(rows: Rows) -> NDArray[np.uint64]:
    """The column `id` as numbers where it holds whole numbers that differ, else positions."""
    n_rows = len(rows.examples)
    if rows.ids is not None and all(map(_WHOLE_NUMBER.fullmatch, rows.ids)):
        numbers = {int(value) for value in rows.ids}
        if len(numbers) == n_rows and max(numbers) <= _LARGEST_ROW_ID:
            return np.array([int(value) for value in rows.ids], np.uint64)
    return np.arange(n_rows, dtype=np.uint64)


def _digest(rows: Rows, ids: list[str], files: _Files) -> str:
    """sha256 over names, ids, labels and the content of the examples; not over the files' places."""
    document = {
        "modality": rows.modality,
        "classes": rows.classes,
        "attributes": [asdict(attribute) for attribute in rows.attributes],
        "splits": rows.splits,
        "ids": ids,
        "split_index": rows.split_index.tolist(),
        "y": rows.y.tolist(),
        "a": rows.a.tolist(),
        "files": [row.tobytes().hex() for row in files.sha256],
        "texts": list(rows.examples) if rows.modality == "text" else [],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
