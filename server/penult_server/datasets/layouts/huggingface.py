"""Parquet files as the Hugging Face Hub holds them: data/SPLIT-00000-of-00002.parquet, one or more to a split.

An image is a struct of bytes and path, a text a column of texts. Names of classes and values are those of `ClassLabel`
in the schema's metadata, in their order. Images are written to a directory by their sha256, so that they are files as
any other dataset's are.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false, reportUnknownParameterType=false
# pyarrow is untyped.

import hashlib
import json
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_FILE_BYTES, MOST_IMAGE_BYTES
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.shared import (
    SharedLayout,
    class_column,
    existing_directory,
    rows_with_usual_splits,
    split_rank,
)
from penult_server.datasets.rows import Rows
from penult_server.datasets.tables.parquet import read_columns
from penult_server.datasets.tables.table import Table, bad_table
from penult_server.errors import ServiceError
from penult_server.named.opening import too_large
from penult_server.named.roots import READING, open_named

_FILE = re.compile(r"(?P<split>.+?)(-(?P<part>[0-9]+)-of-[0-9]+(-[0-9a-f]+)?)?\.parquet")
_IMAGES_AT_ONCE = 64
SPLIT = "split"


def read_huggingface(source: Path, columns: Columns, unpacked: Path) -> Rows:
    """Read the files of every split; images are written to `unpacked`.

    Raises ServiceError: FILES_MISSING, BAD_TABLE naming file, column or row, ATTRIBUTE_MISSING.
    """
    directory = existing_directory(source, "huggingface")
    files = _files(directory)
    try:
        return _read(directory, files, columns, unpacked)
    except (pa.ArrowException, OSError) as error:
        raise bad_table(f"the Parquet files in {directory} cannot be read: {error}", directory=directory) from error


def _read(directory: Path, files: Sequence[tuple[str, Path]], columns: Columns, unpacked: Path) -> Rows:
    with _opened(files[0][1]) as first:
        schema = first.schema_arrow
    for _, file in files[1:]:
        with _opened(file) as other:
            is_same = other.schema_arrow.equals(schema)
        if not is_same:
            raise bad_table(
                f"{file.name} has other columns than {files[0][1].name}; keep files of one dataset", file=file
            )
    image = _image_column(schema, columns)
    chosen = _chosen(schema, image, columns)
    plain = [name for name in schema.names if name != image and name in _plain(schema, chosen)]
    parts: list[Any] = []
    lengths: list[int] = []
    for _, file in files:
        with _opened(file) as opened:
            parts.append(read_columns(opened, file, plain))
            lengths.append(opened.metadata.num_rows)
    names = _class_labels(schema)
    values = {
        name: pa.chunked_array([_named(directory, name, part.column(name), names.get(name)) for part in parts])
        for name in plain
    }
    splits = [split for (split, _), length in zip(files, lengths, strict=True) for _ in range(length)]
    values[SPLIT] = pa.chunked_array([pa.array(splits, pa.large_string())])
    if image:
        paths = [path for _, file in files for path in _unpacked(file, image, unpacked)]
        values[image] = pa.chunked_array([pa.array(paths, pa.large_string())])
    table = Table(
        file=(unpacked if image else directory) / "the files",
        columns=values,
        number=lambda row: f"row {row} (counted from 0 over all splits)",
    )
    rows = rows_with_usual_splits(table, replace(chosen, split=SPLIT, path=image))
    if image:
        rows = replace(rows, is_unpacked=True)
    if image and rows.ids is None:
        # Two rows may hold the same image.
        rows = replace(rows, ids=[str(row) for row in range(len(rows))])
    return _in_order(rows, names, chosen.y)


def _files(directory: Path) -> list[tuple[str, Path]]:
    """Split and path of every file, parts in their order. Raises ServiceError (FILES_MISSING)."""
    for place in (directory / "data", directory):
        found = [(match, file) for file in place.glob("*.parquet") if (match := _FILE.fullmatch(file.name))]
        if found:
            found.sort(
                key=lambda one: (split_rank(one[0]["split"]), one[0]["split"], int(one[0]["part"] or 0), one[1].name)
            )
            return [(match["split"], file) for match, file in found]
    below = sorted({file.parent.name for file in directory.glob("*/*.parquet")})
    hint = f"; give one of its folders: {', '.join(below[:20])}" if below else ""
    raise ServiceError(
        ErrorKind.FILES_MISSING,
        f"{directory} holds no data/SPLIT-*.parquet or SPLIT.parquet{hint}",
        directory=directory,
    )


@contextmanager
def _opened(file: Path) -> Generator[Any]:
    with open_named(file, MOST_FILE_BYTES) as content, pq.ParquetFile(content) as opened:
        yield opened


def _image_column(schema: Any, columns: Columns) -> str:
    """The column of images: a struct with bytes; empty for texts."""
    found = [
        field.name for field in schema if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    if columns.path and columns.path not in found:
        raise bad_table(
            f"column {columns.path!r} holds no images (a struct of bytes and path); got: {schema.to_string()[:500]}",
            column=columns.path,
        )
    if columns.texts:
        return ""
    if len(found) > 1 and not columns.path:
        raise bad_table(f"several columns hold images: {', '.join(found)}; say which: columns={{'path': {found[0]!r}}}")
    return columns.path or (found[0] if found else "")


def _chosen(schema: Any, image: str, columns: Columns) -> Columns:
    """The columns by the names they have here. Raises ServiceError: BAD_TABLE, ATTRIBUTE_MISSING."""
    header: list[str] = schema.names
    y = class_column(header, columns)
    if not y:
        raise bad_table(f"no column is known to hold the classes; columns={{'y': ...}} says which: {', '.join(header)}")
    texts = columns.texts or (() if image else tuple(name for name in ("text", "text_pair") if name in header))
    taken = {y, image, columns.id or "id", *texts, *columns.masks, SPLIT}
    others = tuple(name for name in header if name not in taken and _is_plain(schema.field(name).type))
    return replace(columns, y=y, texts=texts, attributes=columns.attributes or others)


def _plain(schema: Any, chosen: Columns) -> set[str]:
    """The columns to read beside the images."""
    return {*chosen.named(), "id"} & set(schema.names)


def _is_plain(kind: Any) -> bool:
    types = pa.types
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_integer, types.is_boolean))


def _class_labels(schema: Any) -> dict[str, list[str]]:
    """Names of the values of every ClassLabel, in the order of their numbers."""
    try:
        described: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = cast("Mapping[str, Any]", described.get("info", {}).get("features", {}))
        return {name: _names(one) for name, one in features.items() if isinstance(one, dict) and "names" in one}
    except (ValueError, AttributeError, TypeError) as error:
        raise bad_table(f"the metadata of the Parquet files are not as Hugging Face writes them: {error}") from error


def _names(feature: Any) -> list[str]:
    """A list, or a dict from numbers."""
    names = feature["names"]
    return (
        [str(names[key]) for key in sorted(names, key=int)] if isinstance(names, dict) else [str(one) for one in names]
    )


def _named(directory: Path, name: str, column: Any, names: list[str] | None) -> Any:
    """A column of texts: the numbers of a ClassLabel as their names. Raises ServiceError (BAD_TABLE), with the row."""
    table = Table(file=directory / "the files", columns={name: column}, number=lambda row: f"row {row}")
    if names is None or not pa.types.is_integer(column.type):
        return table.texts(name)
    numbers = column.fill_null(-1).to_numpy()
    wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(wrong):
        raise table.error(
            int(wrong[0]),
            f"{name!r} is {int(numbers[wrong[0]])}, which is none of its {len(names)} names (-1 marks a hidden label)",
            name,
        )
    return pa.array(names, pa.large_string()).take(pa.array(numbers))


def _unpacked(file: Path, column: str, unpacked: Path) -> Iterable[str]:
    """Write every image of a file under its sha256; their names, in the order of the rows."""
    unpacked.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    with _opened(file) as opened:
        for batch in opened.iter_batches(batch_size=_IMAGES_AT_ONCE, columns=[f"{column}.bytes"]):
            READING.get().beat()
            for content in batch.column(0).field("bytes").to_pylist():
                if not content:
                    raise bad_table(
                        f"row {len(names)} of {file.name}: {column!r} has a path and no bytes; embed the images, such "
                        "as by Dataset.to_parquet of a dataset that holds them",
                        file=file,
                    )
                if len(content) > MOST_IMAGE_BYTES:
                    raise too_large(file, len(content), MOST_IMAGE_BYTES)
                name = hashlib.sha256(content).hexdigest()
                if not (unpacked / name).exists():
                    (unpacked / name).write_bytes(content)
                names.append(name)
    return names


def _in_order(rows: Rows, names: Mapping[str, list[str]], y: str) -> Rows:
    """Classes and values in the order of their ClassLabel instead of the alphabet's."""
    classes, order = _ordered(rows.classes, names.get(y))
    attributes = [_ordered(one.values, names.get(one.name)) for one in rows.attributes]
    return replace(
        rows,
        classes=classes,
        y=order[rows.y],
        attributes=tuple(
            replace(one, values=values) for one, (values, _) in zip(rows.attributes, attributes, strict=True)
        ),
        a=np.stack([of[rows.a[:, i]] for i, (_, of) in enumerate(attributes)], axis=1),
    )


def _ordered(found: tuple[str, ...], names: list[str] | None) -> tuple[tuple[str, ...], Any]:
    """The names that occur, in the order of the ClassLabel, and the new index of each old one."""
    if names is None:
        return found, np.arange(len(found))
    ordered = tuple(sorted(found, key=names.index))
    return ordered, np.array([ordered.index(name) for name in found], np.int64)


LAYOUT = SharedLayout(
    files="data/SPLIT-*.parquet or SPLIT.parquet, as the Hugging Face Hub holds them",
    groups="y or label x any other column; images are structs of bytes, names those of ClassLabel; columns= as for a "
    "table",
    read=read_huggingface,
)
