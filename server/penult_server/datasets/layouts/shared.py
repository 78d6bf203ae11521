"""Forms of files that tools share, for anybody's data: what their readers have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.layouts.table import rows_of_table
from penult_server.datasets.rows import SPLITS, Rows
from penult_server.datasets.tables.table import Table, bad_table
from penult_server.errors import ServiceError
from penult_server.notes import Note

USUAL_SPLITS = {
    "training": "train",
    "validation": "val",
    "valid": "val",
    "dev": "val",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""What other tools call the splits."""
CLASS_COLUMNS = ("y", "label", "labels")
"""Usual names of the column of classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLayout:
    """A form of files. Its module has the name of the layout on the wire."""

    files: str
    """Files in the directory, for people."""
    groups: str
    """Class x attribute, for people."""
    read: Callable[[Path, Columns, Path], Rows]
    """Reads a directory, with the names of columns, and a directory for examples that are no files of their own.
    Raises ServiceError: FILES_MISSING, BAD_TABLE, ATTRIBUTE_MISSING."""


def existing_directory(source: Path, layout: str) -> Path:
    """The directory that was given. Raises ServiceError: FILES_MISSING, BAD_TABLE."""
    if not source.exists():
        raise ServiceError(ErrorKind.FILES_MISSING, f"there is no {source} on the server's machine", directory=source)
    if not source.is_dir():
        raise bad_table(f"{source} is a file; layout='{layout}' reads a directory, layout='table' one file")
    return source


def class_column(header: Sequence[str], columns: Columns) -> str:
    """The column of classes: the one that was named, else the first usual one; empty where there is none."""
    return columns.y or next((name for name in CLASS_COLUMNS if name in header), "")


def rows_with_usual_splits(table: Table, columns: Columns) -> Rows:
    """The labels of a table whose splits may be called as other tools do, with a note where they are renamed."""
    found = table.labels(columns.split or "split").values
    usual = {value: USUAL_SPLITS.get(value.lower(), value) for value in found}
    renamed = {value: name for value, name in usual.items() if value != name}
    # What is numbered, or named by the request, is the table's to read.
    if columns.splits or not renamed or len(set(usual.values())) < len(usual):
        return rows_of_table(table, columns)
    rows = rows_of_table(table, replace(columns, splits=usual))
    said = ", ".join(f"{value!r} as {name}" for value, name in renamed.items())
    note = Note(NoteId.SPLITS_GUESSED, f"the splits were read with {said}; splits= says it otherwise")
    return replace(rows, notes=(*rows.notes, note))


def split_rank(name: str) -> int:
    """Where a split stands among the others: train, val, test, then any other."""
    usual = USUAL_SPLITS.get(name.lower(), name.lower())
    return SPLITS.index(usual) if usual in SPLITS else len(SPLITS)


def split_name(name: str) -> bool:
    """Whether a folder or file of that name is a split."""
    return name.lower() in (*SPLITS, *USUAL_SPLITS)
