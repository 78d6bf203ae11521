"""Columns of a file, and their values checked and converted whole, never row by row.

A value that breaks a rule is looked for one by one only once it is known that there is one, to name its row.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
# pyarrow is untyped.

import gzip
import io
import re
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_TABLE_BYTES
from penult_server.datasets.tables.canonical import canonical
from penult_server.errors import ServiceError
from penult_server.named.opening import too_large
from penult_server.named.roots import READING, open_named, pieces_of

Texts: TypeAlias = Any
"""A pyarrow.LargeStringArray of N texts, none missing."""
Column: TypeAlias = Any
"""A pyarrow.ChunkedArray."""

INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_GZIP = b"\x1f\x8b"
_ROWS_AT_ONCE = 256
"""Rows converted at a time from Python's texts to Arrow's: few enough to stay in the processor's cache."""
_MISSING = "nan"
"""What a missing number becomes when a library writes it as text."""


def bad_table(message: str, **metadata: object) -> ServiceError:
    """The error for a file that breaks a rule."""
    return ServiceError(ErrorKind.BAD_TABLE, message, **metadata)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Names:
    """A column of few different values."""

    values: tuple[str, ...]
    """Distinct values, in order of their first row."""
    codes: NDArray[np.int64]
    """(N,) index in `values`."""

    def first(self, value: int) -> int:
        """Position of the first row that has this value."""
        return int(np.argmax(self.codes == value))

    def renamed(self, names: Sequence[str]) -> "Names":
        """The column with other names for the values, in their order; values of one name become one."""
        values = tuple(dict.fromkeys(names))
        index = {value: i for i, value in enumerate(values)}
        return Names(values=values, codes=np.array([index[name] for name in names], np.int64)[self.codes])

    def among(self, names: Sequence[str]) -> NDArray[np.int64]:
        """(N,) index in `names`, which holds every value."""
        index = {name: i for i, name in enumerate(names)}
        return np.array([index[value] for value in self.values], np.int64)[self.codes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """N rows of a file. Methods that check raise ServiceError (BAD_TABLE), naming the row."""

    file: Path
    columns: dict[str, Column]
    """The columns that were asked for, by name: texts, or the types of a Parquet file."""
    number: Callable[[int], str]
    """Name of row i (from 0) for people, such as "row 4"."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def where(self, row: int) -> str:
        """Where a row stands, such as "row 4 of metadata.csv"."""
        return f"{self.number(row)} of {self.file.name}"

    def error(self, row: int, what: str, column: str = "") -> ServiceError:
        """The error for a row that breaks a rule."""
        named = {"column": column} if column else {}
        return bad_table(f"{self.where(row)}: {what}", file=self.file, row=self.number(row).split()[1], **named)

    def texts(self, name: str) -> Texts:
        """A column as it was written."""
        column = _decoded(self.columns[name])
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise self.error(row, f"{name!r} is missing; every row needs a value", name)
        if pa.types.is_floating(column.type):
            column = _whole_if_all_are(column)
        try:
            return _flat(column.cast(pa.large_string()))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise bad_table(
                f"column {name!r} of {self.file.name} is of type {column.type}; expected texts, numbers or booleans",
                column=name,
            ) from error

    def filled_texts(self, name: str) -> Texts:
        """A column as it was written, without a blank value."""
        texts = self.texts(name)
        blank = np.flatnonzero(pc.equal(pc.utf8_trim_whitespace(texts), "").to_numpy(zero_copy_only=False))
        if len(blank):
            raise self.error(int(blank[0]), f"{name!r} is empty; every row needs a value", name)
        return texts

    def names(self, name: str) -> Names:
        """A column of names, without surrounding blanks. Empty ones and "nan" are refused."""
        encoded = self.texts(name).dictionary_encode()
        written = [value.strip() for value in encoded.dictionary.to_pylist()]
        values = tuple(dict.fromkeys(written))
        index = {value: i for i, value in enumerate(values)}
        remap = np.array([index[value] for value in written], np.int64)
        names = Names(values=values, codes=remap[encoded.indices.to_numpy(zero_copy_only=False)])
        for i, value in enumerate(values):
            if not value or value.lower() == _MISSING:
                what = "is empty" if not value else f"is {value!r}, a missing number"
                raise self.error(names.first(i), f"{name!r} {what}; every row needs a value", name)
            if "\0" in value:
                raise self.error(names.first(i), f"{name!r} holds a NUL character; save the file as UTF-8 text", name)
        return names

    def labels(self, name: str) -> Names:
        """A column of names, booleans and whole numbers spelt alike whatever the kind of file."""
        names = self.names(name)
        return names.renamed(canonical(names.values))

    def choices(self, name: str, legal: Mapping[str, int], meaning: str = "") -> NDArray[np.int64]:
        """A column of few legal values, spelt just so, as their numbers. `meaning` explains them in the error."""
        return self._chosen(name, self.names(name), legal, meaning)

    def label_choices(self, name: str, legal: Mapping[str, int], meaning: str = "") -> NDArray[np.int64]:
        """`choices` among `labels`."""
        return self._chosen(name, self.labels(name), legal, meaning)

    def _chosen(self, name: str, names: Names, legal: Mapping[str, int], meaning: str) -> NDArray[np.int64]:
        for i, value in enumerate(names.values):
            if value not in legal:
                expected = ", ".join(legal) + (f" ({meaning})" if meaning else "")
                raise self.error(names.first(i), f"{name!r} is {value!r}; expected one of {expected}", name)
        return np.array([legal[value] for value in names.values], np.int64)[names.codes]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of finite numbers."""
        texts = self.texts(name)
        encoded = texts.dictionary_encode()
        distinct = np.array([_number(text) for text in encoded.dictionary.to_pylist()])
        values = distinct[encoded.indices.to_numpy(zero_copy_only=False)]
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            row = int(bad[0])
            raise self.error(row, f"{name!r} is {texts[row].as_py()!r}; expected a number", name)
        return values

    def row_ids(self, name: str) -> NDArray[np.uint64]:
        """A column of different whole numbers, at least 0."""
        texts = pc.utf8_trim_whitespace(self.texts(name))
        try:
            ids = texts.cast(pa.uint64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            row = next(i for i, text in enumerate(texts.to_pylist()) if not _is_row_id(text))
            raise self.error(
                row, f"{name!r} is {texts[row].as_py()!r}; expected a whole number, at least 0", name
            ) from error
        self.check_unique(name, ids)
        return ids

    def check_unique(self, name: str, ids: NDArray[np.generic]) -> None:
        """Refuse the first row whose id an earlier row has."""
        repeat = first_repeat(ids)
        if repeat is not None:
            row, first = repeat
            raise self.error(row, f"{name!r} repeats {ids[row]} of {self.number(first)}; ids are unique", name)


def table_of_texts(
    file: Path, unit: str, columns: Sequence[str], rows: Iterator[tuple[int, Sequence[str | None]]]
) -> Table:
    """The table of rows of texts, each with its number in the file; `unit` is the word for them, "row" or "line".

    Raises ServiceError (BAD_TABLE), naming the row, for a text that is not Unicode, and what `rows` raises.
    """
    numbers = array("q")
    chunks: dict[str, list[Texts]] = {name: [] for name in columns}
    while block := list(islice(rows, _ROWS_AT_ONCE)):
        READING.get().beat()
        numbers.extend(number for number, _ in block)
        for name, texts in zip(columns, zip(*(texts for _, texts in block), strict=True), strict=True):
            try:
                chunks[name].append(pa.array(texts, pa.large_string()))
            except UnicodeEncodeError as error:
                number = next(number for (number, _), text in zip(block, texts, strict=True) if not is_unicode(text))
                raise not_utf8(file, unit, number, name) from error
    return Table(
        file=file,
        columns={name: pa.chunked_array(parts, pa.large_string()) for name, parts in chunks.items()},
        number=lambda row: f"{unit} {numbers[row]}",
    )


def is_unicode(text: str | None) -> bool:
    """Whether a text can be written as UTF-8: without the surrogates that undecodable bytes became."""
    return not re.search("[\ud800-\udfff]", text or "")


def not_utf8(file: Path, unit: str, number: int, column: str) -> ServiceError:
    """The error for a text that is not UTF-8."""
    return bad_table(
        f"{unit} {number}, column {column!r} of {file} is not UTF-8; save the table as UTF-8",
        **{unit: number},
        column=column,
    )


def first_repeat(values: NDArray[np.generic]) -> tuple[int, int] | None:
    """The first position whose value occurred before, and where; None when all differ."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    repeats = order[1:][ordered[1:] == ordered[:-1]]
    if not len(repeats):
        return None
    row = int(repeats.min())
    return row, int(np.argmax(values == values[row]))


def require_columns(header: Sequence[str], needed: Sequence[str], file: Path, hint: str = "") -> None:
    """Raises ServiceError (BAD_TABLE), with a hint for people, unless each needed column is there once."""
    for name in needed:
        n = header.count(name)
        if n != 1:
            raise bad_table(
                f"{file} has {'no column' if n == 0 else f'{n} columns'} {name!r}"
                f"{' (the unnamed index)' if not name else ''}; got: {quoted(header, needed)}{hint}",
                file=file,
                column=name,
            )


def quoted(header: Sequence[str], expected: Iterable[str]) -> str:
    """The names of columns for an error: their number alone where the file may be no table, but a secret.

    A table has at least one of the columns that are `expected`, or lies where whoever runs the server has put data.
    """
    is_table = set(header) & (set(expected) - {""})
    if not READING.get().roots.is_contained and not is_table:
        return f"{len(header)} of other names, if it is a table at all"
    return ", ".join(repr(one) for one in header[:20]) + (", ..." if len(header) > 20 else "")


def read_content(file: Path) -> bytes:
    """The bytes of a file, unpacked where it is gzipped, whatever its name. Raises ServiceError (BAD_TABLE)."""
    try:
        with open_named(file, MOST_TABLE_BYTES) as opened:
            content = _joined(file, pieces_of(opened))
        if not content.startswith(_GZIP):
            return content
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            return _joined(file, pieces_of(cast("BinaryIO", packed)))
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise bad_table(f"{file} is no whole gzip file: {error}", file=file) from error
    except OSError as error:
        raise bad_table(f"the table {file} cannot be read: {error.strerror}", file=file) from error


def _joined(file: Path, pieces: Iterable[bytes]) -> bytes:
    """The content of a table. Raises ServiceError: BAD_TABLE for zeros alone, TOO_LARGE for what unpacks to more."""
    content = bytearray()
    for piece in pieces:
        if not content and not piece.strip(b"\0"):
            raise bad_table(f"{file} begins with {len(piece)} zeros; it is no table", file=file)
        content += piece
        if len(content) > MOST_TABLE_BYTES:
            raise too_large(file, len(content), MOST_TABLE_BYTES)
    return bytes(content)


def _decoded(column: Column) -> Column:
    """A categorical column as what its categories are."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _flat(column: Column) -> Texts:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.large_string())


def _whole_if_all_are(column: Column) -> Column:
    """Floats as integers if no value has a fraction: so they come out of tables that had missing values once."""
    values = column.to_numpy()
    whole = np.isfinite(values) & (np.abs(values) < 2**53)
    return column.cast(pa.int64()) if np.all(whole & (values == np.where(whole, np.trunc(values), 0))) else column


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _is_row_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < 2**64
