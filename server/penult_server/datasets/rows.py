"""The rows of a registration table: a CSV file, read, checked and encoded."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.datasets.model import Attribute, Modality
from penult_server.errors import ServiceError

EXAMPLE_COLUMNS: dict[Literal["path", "text"], Modality] = {"path": "image", "text": "text"}
RESERVED = ("split", "y", "path", "text", "id")
TRAIN = "train"
MAX_ATTRIBUTE_VALUES = 1000
"""More values than this are taken for a column that is no attribute, such as a URL or a date."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table of N examples with its labels encoded."""

    modality: Modality
    examples: Sequence[str]
    """Path or text of each example, as written."""
    ids: Sequence[str] | None
    """The column `id`, or None without one."""
    numbers: Sequence[int]
    """Where each example stands in the file: its header is row 1."""
    splits: tuple[str, ...]
    """In order of their first row."""
    split_index: NDArray[np.int64]
    classes: tuple[str, ...]
    y: NDArray[np.int64]
    attributes: tuple[Attribute, ...]
    a: NDArray[np.int64]
    """(N, number of attributes)."""


def bad_table(message: str, **metadata: object) -> ServiceError:
    """The error for a table that breaks a rule."""
    return ServiceError(ErrorKind.BAD_TABLE, message, **metadata)


def read_rows(table: Path) -> Rows:
    """Read a table and encode its labels.

    Raises ServiceError: BAD_TABLE, naming the row (the header is row 1) or the column, or
    ATTRIBUTE_MISSING when no column is left to be an attribute.
    """
    header, records, numbers = _parse(table)
    example_column = _check_header(header)
    columns = dict(zip(header, map(list, zip(*records, strict=True)), strict=True))
    labelled = [name for name in header if name != example_column]
    for name in labelled:
        columns[name] = [value.strip() for value in columns[name]]
    for name in header:
        _check_filled(name, columns[name], numbers)

    splits = tuple(dict.fromkeys(columns["split"]))
    split_index = encode(columns["split"], splits)
    classes = sorted_names(columns["y"])
    y = encode(columns["y"], classes)
    _check_train(splits, split_index, classes, y)
    attributes = tuple(_attribute(name, columns[name]) for name in header if name not in RESERVED)
    ids = columns.get("id")
    if ids is not None:
        _check_unique(ids, numbers)
    return Rows(
        modality=EXAMPLE_COLUMNS[example_column],
        examples=columns[example_column],
        ids=ids,
        numbers=numbers,
        splits=splits,
        split_index=split_index,
        classes=classes,
        y=y,
        attributes=attributes,
        a=np.stack([encode(columns[item.name], item.values) for item in attributes], axis=1),
    )


def sorted_names(column: Sequence[str]) -> tuple[str, ...]:
    """The distinct values of a column in order: by number if all are integers, else by text."""
    names = set(column)
    if all(_INTEGER.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def encode(column: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """Index in `names` of each value of a column, shape (N,)."""
    index = {name: i for i, name in enumerate(names)}
    return np.fromiter((index[value] for value in column), np.int64, len(column))


def _parse(table: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, records of the same length, and the row of each; blank rows are skipped."""
    text = _read_text(table)
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        lines = list(reader)
    except csv.Error as error:
        raise bad_table(f"{table} is no CSV file: line {reader.line_num}: {error}", line=reader.line_num) from error
    if not lines or not lines[0]:
        raise bad_table(f"{table} is empty; expected a header with the columns split, y, path or text, ...")
    header = [name.strip() for name in lines[0]]
    numbered = [(number, line) for number, line in enumerate(lines[1:], start=2) if line]
    if not numbered:
        raise bad_table(f"{table} has a header and no rows; expected one row per example")
    for number, line in numbered:
        if len(line) != len(header):
            raise bad_table(
                f"row {number} has {len(line)} fields, the header has {len(header)}; quote fields that hold commas",
                row=number,
            )
    return header, [line for _, line in numbered], [number for number, _ in numbered]


def _read_text(table: Path) -> str:
    try:
        content = table.read_bytes()
    except OSError as error:
        raise bad_table(f"the table {table} cannot be read: {error.strerror}", table=table) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row, column = _locate(content, error.start)
        raise bad_table(
            f"row {row}, column {column!r} of {table} is not UTF-8; save the table as UTF-8",
            row=row,
            column=column,
        ) from error
    if "\0" in text:
        row, column = _locate(content, content.index(b"\0"))
        raise bad_table(f"row {row}, column {column!r} of {table} holds a NUL character", row=row, column=column)
    return text


def _locate(content: bytes, position: int) -> tuple[int, str]:
    """Row and column name of the byte at `position`, read as Latin-1, where every byte is a character."""
    before = content[: position + 1].decode("latin-1").removeprefix("\xef\xbb\xbf").replace("\0", "?")
    try:
        lines = list(csv.reader(StringIO(before, newline="")))
    except csv.Error:
        return before.count("\n") + 1, "?"
    column = len(lines[-1]) - 1
    in_header = len(lines) == 1 or column >= len(lines[0])
    return len(lines), str(column + 1) if in_header else lines[0][column].strip()


def _check_header(header: list[str]) -> Literal["path", "text"]:
    """Check the names of the columns; return the one that holds the examples."""
    listed = ", ".join(repr(name) for name in header)
    if "" in header:
        raise bad_table(f"column {header.index('') + 1} has no name; got: {listed}")
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if twice:
        raise bad_table(f"column {twice[0]!r} occurs twice; got: {listed}", column=twice[0])
    for name in ("split", "y"):
        if name not in header:
            raise bad_table(f"the table has no column {name!r}; got: {listed}", column=name)
    present = [name for name in EXAMPLE_COLUMNS if name in header]
    if len(present) != 1:
        raise bad_table(
            "expected either a column 'path' (images) or a column 'text' (texts); "
            f"got {'both' if present else 'neither'}: {listed}"
        )
    if all(name in RESERVED for name in header):
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            f"the table has no attribute: every column besides {', '.join(RESERVED)} is one, and at least "
            f"one is needed; got: {listed}",
        )
    return "path" if "path" in header else "text"


def _check_filled(name: str, column: list[str], numbers: list[int]) -> None:
    if all(column) and not any(value.isspace() for value in column):
        return
    row = next(number for value, number in zip(column, numbers, strict=True) if not value.strip())
    raise bad_table(f"row {row} has an empty {name!r}; every field needs a value", row=row, column=name)


def _check_train(
    splits: tuple[str, ...], split_index: NDArray[np.int64], classes: tuple[str, ...], y: NDArray[np.int64]
) -> None:
    if TRAIN not in splits:
        raise bad_table(f"no row has the split {TRAIN!r}; got: {', '.join(splits)}", column="split")
    in_train = np.bincount(y[split_index == splits.index(TRAIN)], minlength=len(classes))
    absent = [name for name, count in zip(classes, in_train, strict=True) if not count]
    if absent:
        raise bad_table(
            f"every class needs examples in the split {TRAIN!r}; absent: {', '.join(absent[:10])}",
            column="y",
            classes=", ".join(absent),
        )


def _attribute(name: str, column: list[str]) -> Attribute:
    values = sorted_names(column)
    if len(values) > MAX_ATTRIBUTE_VALUES:
        raise bad_table(
            f"column {name!r} has {len(values)} different values, an attribute at most "
            f"{MAX_ATTRIBUTE_VALUES}; every column besides {', '.join(RESERVED)} is an attribute: "
            "remove it, or group its values",
            column=name,
        )
    return Attribute(name=name, values=values)


def _check_unique(ids: list[str], numbers: list[int]) -> None:
    first: dict[str, int] = {}
    for value, number in zip(ids, numbers, strict=True):
        if value in first:
            raise bad_table(
                f"row {number} repeats the id {value!r} of row {first[value]}; ids are unique",
                row=number,
                id=value,
            )
        first[value] = number
