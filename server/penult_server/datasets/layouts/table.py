"""A table of any dataset: CSV, TSV (either may be gzipped) or Parquet, one row per example.

Columns: `split`, `y`, and either `path` (an image, relative to the table's directory, or absolute inside it) or
`text`, or `text` and `text_pair`; optionally `id`; every further column is an attribute, and at least one is
needed. Other names are given by `Columns`, and so are masks: sets of examples that may overlap, columns of 0 and 1.

Values of `split`, `y`, `id` and the attributes are stripped of surrounding blanks, and but for ids spelt alike in all
kinds of files (see `canonical`). A column `split` of exactly 0, 1 and 2 is read as train, val and test, as the
published datasets write them, and a note says so; any other values are named by `Columns.splits`. Class names and
attribute values are ordered by number when all are integers, else by text. Row ids are the column `id` where it holds
whole numbers, else the position of the row in the table, from 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.datasets.layouts.columns import Columns
from penult_server.datasets.rows import NUMBERED_SPLITS, Rows, check_train
from penult_server.datasets.tables.canonical import canonical
from penult_server.datasets.tables.csv_file import read_csv
from penult_server.datasets.tables.parquet import is_parquet, read_parquet
from penult_server.datasets.tables.table import INTEGER, Names, Table, bad_table, first_repeat, quoted, require_columns
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.records import Attribute

MAX_ATTRIBUTE_VALUES = 1000
"""Most values of an attribute; a column with more, such as a URL or a date, is taken for none."""
HINT = ". Columns of other names are named by columns={'y': ..., 'path': ..., ...}"
_TRUTH = {"0": 0, "1": 1, "false": 0, "true": 1}
_LARGEST_ROW_ID = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """The columns of one table."""

    split: str
    y: str
    path: str
    texts: tuple[str, ...]
    id: str
    attributes: tuple[str, ...]
    masks: tuple[str, ...]

    def all(self) -> list[str]:
        single = [name for name in (self.split, self.y, self.path, self.id) if name]
        return [*single, *self.texts, *self.attributes, *self.masks]


def read_table(source: Path, columns: Columns) -> Rows:
    """Read a table and encode its labels.

    Raises ServiceError: BAD_TABLE, naming the row (of a CSV file, the header is row 1) or the column, or
    ATTRIBUTE_MISSING when no column is left to be an attribute.
    """
    if source.is_dir():
        raise bad_table(
            f"{source} is a directory, a table one CSV, TSV or Parquet file; the directories of published datasets are "
            "read by layout='waterbirds' and the like"
        )

    def choose(header: list[str]) -> list[str]:
        return _choose(header, columns, source).all()

    table = read_parquet(source, choose) if is_parquet(source) else read_csv(source, choose)
    return rows_of_table(table, columns)


def rows_of_table(table: Table, columns: Columns) -> Rows:
    """The labels of a table that is read. Raises what `read_table` raises."""
    rows = _encode(table, _choose(list(table.columns), columns, table.file), columns.splits)
    check_train(rows)
    return rows


def sorted_names(column: Sequence[str]) -> tuple[str, ...]:
    """The distinct values of a column in order: by number if all are integers, else by text."""
    names = set(column)
    if all(map(INTEGER.fullmatch, names)):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _choose(header: list[str], columns: Columns, file: Path) -> _Chosen:
    """Which column holds what. Raises ServiceError: BAD_TABLE, ATTRIBUTE_MISSING."""
    wanted = [columns.split or "split", columns.y or "y", *columns.named()]
    listed = quoted(header, wanted)
    if "" in header:
        raise bad_table(
            f"column {header.index('') + 1} has no name; got: {listed}. An index that was saved by accident is left "
            "out with to_csv(..., index=False)"
        )
    require_columns(header, wanted, file, hint=HINT)
    path, texts = _examples(header, columns, listed)
    id_column = columns.id or ("id" if "id" in header else "")
    taken = [columns.split or "split", columns.y or "y", path, *texts, id_column, *columns.masks, *columns.attributes]
    twice = next((name for name in taken if name and taken.count(name) > 1), "")
    if twice:
        raise bad_table(f"column {twice!r} is given two meanings; each column has one", column=twice)
    attributes = columns.attributes or tuple(name for name in header if name not in taken)
    if not attributes:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            "the table has no attribute: every column that is nothing else is one, and at least one is needed; "
            f"got: {listed}",
        )
    require_columns(header, attributes, file)
    return _Chosen(
        split=taken[0], y=taken[1], path=path, texts=texts, id=id_column, attributes=attributes, masks=columns.masks
    )


def _examples(header: list[str], columns: Columns, listed: str) -> tuple[str, tuple[str, ...]]:
    """The column of paths, or those of texts."""
    if len(columns.texts) > 2:
        raise bad_table(f"texts are read alone or as pairs; got {len(columns.texts)} columns of them")
    path, texts = columns.path, columns.texts
    if not path and not texts:
        path = "path" if "path" in header else ""
        texts = tuple(name for name in ("text", "text_pair") if name in header)
    if bool(path) == bool(texts):
        raise bad_table(
            "expected either a column 'path' (images) or a column 'text' (texts, 'text_pair' beside it for pairs); "
            f"got {'both' if path else 'neither'}: {listed}{HINT if not path else ''}"
        )
    if texts == ("text_pair",):
        raise bad_table(f"expected a column 'text' beside 'text_pair'; got: {listed}", column="text_pair")
    return path, texts


def _encode(table: Table, chosen: _Chosen, names_of_splits: Mapping[str, str]) -> Rows:
    split, notes = _splits(table, chosen.split, names_of_splits)
    y = table.labels(chosen.y)
    _check_classes(table, chosen.y, y)
    classes = sorted_names(y.values)
    attributes = [(name, table.labels(name)) for name in chosen.attributes]
    for name, names in attributes:
        _check_attribute(name, names)
    named = tuple(Attribute(name=name, values=sorted_names(names.values)) for name, names in attributes)
    pairs = zip(attributes, named, strict=True)
    ids = _ids(table, chosen.id) if chosen.id else None
    masks = [table.label_choices(name, _TRUTH, "whether the row belongs to the mask") for name in chosen.masks]
    return Rows(
        modality="image" if chosen.path else "text",
        where=table.where,
        base=table.file.parent,
        paths=table.filled_texts(chosen.path).to_pylist() if chosen.path else (),
        texts=tuple(table.filled_texts(name) for name in chosen.texts),
        ids=ids,
        row_id=_row_ids(ids, len(table)),
        splits=split.values,
        split_index=split.codes,
        classes=classes,
        y=y.among(classes),
        attributes=named,
        a=np.stack([names.among(attribute.values) for (_, names), attribute in pairs], axis=1),
        masks=chosen.masks,
        in_masks=np.stack(masks, axis=1).astype(np.bool_) if masks else np.zeros((0, 0), np.bool_),
        notes=notes,
    )


def _splits(table: Table, column: str, names_of_splits: Mapping[str, str]) -> tuple[Names, tuple[Note, ...]]:
    """The column of splits by their names, and a note where these were guessed.

    Raises ServiceError: BAD_TABLE for a value that has no name, or a name whose value no row has.
    """
    written = table.labels(column)
    if names_of_splits:
        return _renamed(table, column, written, names_of_splits), ()
    if set(written.values) != set(NUMBERED_SPLITS):
        return written, ()
    meaning = ", ".join(f"{value} as {name}" for value, name in NUMBERED_SPLITS.items())
    note = Note(NoteId.SPLITS_GUESSED, f"the column {column!r} was read with {meaning}; splits= says it otherwise")
    return _renamed(table, column, written, NUMBERED_SPLITS), (note,)


def _renamed(table: Table, column: str, written: Names, names_of_splits: Mapping[str, str]) -> Names:
    """The column of splits with the names that the values stand for; several values may have one name."""
    named = {canonical([value.strip()])[0]: name for value, name in names_of_splits.items()} | dict(names_of_splits)
    for i, value in enumerate(written.values):
        if value not in named:
            expected = ", ".join(f"{one!r} ({name})" for one, name in names_of_splits.items())
            raise table.error(written.first(i), f"{column!r} is {value!r}; splits= names only {expected}", column)
    for value, name in names_of_splits.items():
        if not {value, canonical([value.strip()])[0]} & set(written.values):
            raise bad_table(
                f"splits= names {value!r} ({name}), but no row has it; the column {column!r} holds: "
                f"{', '.join(map(repr, written.values[:20]))}",
                column=column,
            )
    return written.renamed([named[value] for value in written.values])


def _check_classes(table: Table, column: str, names: Names) -> None:
    """Refuse numbers that are no integers: scores, or labels that went through floating point."""
    for i, name in enumerate(names.values):
        if _is_number(name) and not INTEGER.fullmatch(name):
            raise table.error(
                names.first(i),
                f"{column!r} is {name!r}; a class is a name or a whole number without a fraction",
                column,
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii()


def _check_attribute(column: str, names: Names) -> None:
    if len(names.values) > MAX_ATTRIBUTE_VALUES:
        raise bad_table(
            f"column {column!r} has {len(names.values)} different values, an attribute at most {MAX_ATTRIBUTE_VALUES}; "
            "every column that is nothing else is an attribute: remove it, group its values, or name the attributes",
            column=column,
        )


def _ids(table: Table, column: str) -> list[str]:
    """The column of ids, which all differ."""
    names = table.names(column)
    repeat = first_repeat(names.codes)
    if repeat is not None:
        row, first = repeat
        value = names.values[int(names.codes[row])]
        raise table.error(row, f"{column!r} repeats {value!r} of {table.number(first)}; ids are unique", column)
    return list(names.values)


def _row_ids(ids: list[str] | None, n_rows: int) -> NDArray[np.uint64]:
    """Ids as numbers where they are whole numbers that differ, else positions."""
    if ids is not None and all(len(value) <= 20 and value.isascii() and value.isdigit() for value in ids):
        numbers = {int(value) for value in ids}
        if len(numbers) == n_rows and max(numbers) <= _LARGEST_ROW_ID:
            return np.array([int(value) for value in ids], np.uint64)
    return np.arange(n_rows, dtype=np.uint64)
