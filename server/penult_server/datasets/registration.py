"""Registration of a user's own images or texts: read, checked whole, and made known under a name."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# pyarrow is untyped.

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from penult_proto.errors import ErrorKind
from penult_server.datasets.footwear.dataset import NAME as PACKAGED_NAME
from penult_server.datasets.image_files import ImageFiles, ReportProgress, read_images
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.reading import TABLE, read_layout
from penult_server.datasets.model import DatasetInfo
from penult_server.datasets.rows import Rows
from penult_server.datasets.stored import (
    LabelArrays,
    Manifest,
    RegisteredDataset,
    Registration,
    TextBytes,
    write_content,
    write_registration,
)
from penult_server.datasets.tables.table import Texts
from penult_server.errors import ServiceError
from penult_server.records import check_no_id
from penult_server.stores.disk.durable import STAGING_PREFIX, staged_directory

IMAGES_DIRECTORY = "images"
"""Directory in that of a dataset, for images that came inside other files."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be registered."""

    name: str
    source: Path
    """A file, or a directory."""
    layout: str = TABLE
    columns: Columns = field(default_factory=Columns)
    """Names of columns, where they are not the usual ones; unused for published layouts."""
    description: str = ""


def register(request: Request, out: Path, progress: ReportProgress, check_cancelled: Callable[[], None]) -> DatasetInfo:
    """Read the labels, check every example, and write the dataset to `out / digest`.

    Every image is read and fully decoded. Texts are stored, and so are images that come inside other files; other
    images stay where they are, known by their sha256. Nothing is left in `out` on an error. The same content
    registered again keeps its directory and takes the new name, description, notes and place.

    Raises ServiceError: INVALID_ARGUMENT or NAME_TAKEN for the name, BAD_TABLE, ATTRIBUTE_MISSING,
    EMPTY_GROUP, FILES_MISSING, CORRUPT_IMAGE, and whatever `check_cancelled` raises.
    """
    check_name(request.name)
    unpacked = out / f"{STAGING_PREFIX}{IMAGES_DIRECTORY}-{secrets.token_hex(8)}"
    try:
        return _register(request, out, unpacked, progress, check_cancelled)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _register(
    request: Request, out: Path, unpacked: Path, progress: ReportProgress, check_cancelled: Callable[[], None]
) -> DatasetInfo:
    rows = read_layout(request.layout, request.source.absolute(), request.columns, unpacked)
    files = read_images(rows, progress, check_cancelled)
    texts = _text_bytes(rows.texts)
    labels = LabelArrays(
        row_id=rows.row_id,
        y=rows.y,
        a=rows.a,
        masks=rows.in_masks if rows.masks else np.zeros((len(rows), 0), np.bool_),
        split_index=rows.split_index,
        sha256=files.sha256,
        n_bytes=files.n_bytes,
        text_ends=texts.ends,
    )
    manifest = Manifest(
        digest=_digest(rows, files, labels, texts),
        modality=rows.modality,
        classes=rows.classes,
        attributes=rows.attributes,
        splits=rows.splits,
        masks=rows.masks,
        texts_sha256=hashlib.sha256(texts.content).hexdigest(),
    )
    check_cancelled()
    directory = out / manifest.digest
    registration = Registration(
        name=request.name,
        description=request.description,
        notes=rows.notes,
        directory=IMAGES_DIRECTORY if unpacked.exists() else str(files.directory),
        paths=files.paths,
    )
    return _store(directory, manifest, labels, texts, registration, unpacked)


def check_name(name: str) -> None:
    """Raises ServiceError: INVALID_ARGUMENT for a name out of form, NAME_TAKEN for a packaged one."""
    if not _NAME.fullmatch(name):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{name!r} is no name for a dataset: expected a small letter or digit, then small letters, "
            "digits, dots, underscores or hyphens, at most 63 in all",
            name=name,
        )
    check_no_id(name, "dataset")
    if name == PACKAGED_NAME:
        raise ServiceError(ErrorKind.NAME_TAKEN, f"{name!r} is the packaged dataset; choose another name", name=name)


def _store(
    directory: Path,
    manifest: Manifest,
    labels: LabelArrays,
    texts: TextBytes,
    registration: Registration,
    unpacked: Path,
) -> DatasetInfo:
    """Write the dataset, and with it the images that are no files elsewhere."""
    with staged_directory(directory) as staging:
        write_content(staging, manifest, labels, texts)
        write_registration(staging, registration)
        if unpacked.exists():
            unpacked.rename(staging / IMAGES_DIRECTORY)
    # When the content was there already, the staged copy was dropped and the old registration stayed.
    write_registration(directory, registration)
    return RegisteredDataset(directory).info


def _text_bytes(columns: Sequence[Texts]) -> TextBytes:
    lengths = [pc.binary_length(column).to_numpy(zero_copy_only=False) for column in columns]
    ends = np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]), dtype=np.int64)
    return TextBytes(
        content=b"".join("".join(column.to_pylist()).encode() for column in columns),
        ends=ends.reshape(len(columns), len(columns[0]) if columns else 0),
    )


def _digest(rows: Rows, files: ImageFiles, labels: LabelArrays, texts: TextBytes) -> str:
    """sha256 over names, ids, labels and the content of the examples; not over the files' places."""
    names = {
        "modality": rows.modality,
        "classes": rows.classes,
        "attributes": [asdict(attribute) for attribute in rows.attributes],
        "splits": rows.splits,
        "masks": rows.masks,
        "ids": _ids(rows, files),
    }
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode())
    for array in (labels.split_index, labels.y, labels.a, labels.masks, labels.sha256, labels.text_ends):
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(texts.content)
    return digest.hexdigest()


def _ids(rows: Rows, files: ImageFiles) -> Sequence[str]:
    """What tells the examples apart: their ids, else their files; empty where only their positions do."""
    return list(rows.ids) if rows.ids is not None else files.paths
