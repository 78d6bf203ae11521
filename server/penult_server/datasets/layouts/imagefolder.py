"""Images in folders, as torchvision and Hugging Face's `imagefolder` read them: SPLIT/CLASS/*.jpg.

Classes are the names of the folders, or a column of the metadata. Attributes are the columns of metadata.csv, .jsonl or
.parquet, in the directory or in each split, whose `file_name` is the path of an image from there; every image needs a
row. Without folders of splits the column `split` says them, and without that all is "train".
"""

# pyright: reportUnusedImport=false, reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false, reportUnknownParameterType=false
# pyarrow is untyped.

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.json

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_TABLE_BYTES
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.shared import (
    SharedLayout,
    class_column,
    existing_directory,
    rows_with_usual_splits,
    split_name,
    split_rank,
)
from penult_server.datasets.rows import TRAIN, Rows
from penult_server.datasets.tables.csv_file import read_csv
from penult_server.datasets.tables.parquet import read_parquet
from penult_server.datasets.tables.table import Table, bad_table, quoted
from penult_server.errors import ServiceError
from penult_server.named.roots import open_named

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
FOLDER = "class folder"
"""Name of the column that folders make."""


def read_imagefolder(source: Path, columns: Columns, unpacked: Path) -> Rows:
    """Read the folders and the metadata beside them; images are found by their names alone.

    Raises ServiceError: FILES_MISSING, BAD_TABLE naming the file, ATTRIBUTE_MISSING.
    """
    directory = existing_directory(source, "imagefolder")
    images = _images(directory)
    splits = sorted({image.parts[0] for image in images if len(image.parts) > 1 and split_name(image.parts[0])})
    metadata = _metadata(directory, ["", *splits])
    header = list(dict.fromkeys(name for row in metadata.values() for name in row))
    if not metadata:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            f"{directory} has no metadata: attributes are the columns of {' or '.join(METADATA)} beside the folders "
            f"or in each split, with {FILE_NAME!r}, the path of an image from there",
        )
    rows = [_row(image, metadata) for image in images]
    values: dict[str, list[str | None]] = {name: [row.get(name) for row in rows] for name in header}
    values[FILE_NAME] = [image.as_posix() for image in images]
    split = columns.split or "split"
    if splits:
        values[split] = [_split(image, splits) for image in images]
    elif split not in values:
        values[split] = [TRAIN for _ in images]
    y = class_column(header, columns)
    if not y:
        y = FOLDER
        values[y] = [_class(image, bool(splits)) for image in images]
    _check_named(directory, metadata, images)
    table = Table(
        file=directory / "the folders",
        columns={name: pa.chunked_array([pa.array(column, pa.large_string())]) for name, column in values.items()},
        number=lambda row: f"row {row} ({images[row]})",
    )
    return rows_with_usual_splits(table, replace(columns, path=FILE_NAME, y=y))


def _row(image: PurePosixPath, metadata: Mapping[str, dict[str, str | None]]) -> dict[str, str | None]:
    row = metadata.get(image.as_posix())
    if row is None:
        raise bad_table(f"{image} has no row in the metadata; every image needs one, with its attributes")
    return row


def _split(image: PurePosixPath, splits: list[str]) -> str:
    if image.parts[0] not in splits:
        raise bad_table(f"{image} lies in no folder of a split, beside {', '.join(splits)}; move it, or remove it")
    return image.parts[0]


def _class(image: PurePosixPath, has_split: bool) -> str:
    folders = image.parts[int(has_split) : -1]
    if not folders:
        raise bad_table(
            f"{image} lies in no folder of a class: expected SPLIT/CLASS/{image.name}, or a column of classes in the "
            "metadata, columns={'y': ...}"
        )
    return folders[0]


def _check_named(directory: Path, metadata: Mapping[str, object], images: list[PurePosixPath]) -> None:
    missing = set(metadata) - {image.as_posix() for image in images}
    if missing:
        raise ServiceError(
            ErrorKind.FILES_MISSING,
            f"the metadata name {min(missing)!r} and {len(missing) - 1} other files that are no images in {directory}",
            file=min(missing),
        )


def _images(directory: Path) -> list[PurePosixPath]:
    """All images below the directory, by path. Raises ServiceError (FILES_MISSING) when there is none."""
    found = [
        PurePosixPath(Path(parent, name).relative_to(directory).as_posix())
        for parent, _, names in os.walk(directory)
        for name in names
        if name.lower().endswith(IMAGES)
    ]
    if not found:
        raise ServiceError(
            ErrorKind.FILES_MISSING,
            f"{directory} has no images below it; expected SPLIT/CLASS/*.jpg (or {', '.join(IMAGES)})",
            directory=directory,
        )
    return sorted(found, key=lambda image: (split_rank(image.parts[0]), image))


def _metadata(directory: Path, places: list[str]) -> dict[str, dict[str, str | None]]:
    """The values of every image by its path from the directory."""
    found: dict[str, dict[str, str | None]] = {}
    for place in places:
        files = [directory / place / name for name in METADATA if (directory / place / name).is_file()]
        if len(files) > 1:
            raise bad_table(f"{directory / place} has {' and '.join(one.name for one in files)}; keep one")
        for file in files:
            table = _table(file)
            texts = {name: table.texts(name).to_pylist() for name in table.columns}
            if FILE_NAME not in texts:
                raise bad_table(f"{file} has no column {FILE_NAME!r}; got: {quoted(list(texts), ())}", file=file)
            for row, name in enumerate(texts[FILE_NAME]):
                path = PurePosixPath(place, str(name)).as_posix()
                if path in found:
                    raise table.error(row, f"{name!r} has had a row before; every image has one", FILE_NAME)
                found[path] = {column: values[row] for column, values in texts.items()}
    return found


def _table(file: Path) -> Table:
    if file.suffix == ".csv":
        return read_csv(file, lambda header: header)
    if file.suffix == ".parquet":
        return read_parquet(file, lambda header: header)
    try:
        with open_named(file, MOST_TABLE_BYTES) as opened:
            read: Any = pa.json.read_json(opened)
    except (pa.ArrowException, OSError) as error:
        raise bad_table(f"{file} cannot be read as lines of JSON: {error}", file=file) from error
    columns = {name: read.column(name) for name in read.column_names}
    return Table(file=file, columns=columns, number=lambda row: f"line {row + 1}")


LAYOUT = SharedLayout(
    files="SPLIT/CLASS/*.jpg (or other images), metadata.csv, .jsonl or .parquet with file_name",
    groups="folders, or a column of the metadata, x its other columns; columns= and splits= as for a table",
    read=read_imagefolder,
)
