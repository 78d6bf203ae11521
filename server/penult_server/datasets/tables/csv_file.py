"""CSV and TSV files, read by Arrow, and wherever Arrow is lenient or vague by a strict reader that knows the row."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# pyarrow is untyped.

import csv
from collections.abc import Callable, Sequence
from functools import partial
from io import StringIO
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from penult_server.datasets.tables.table import Table, bad_table, read_content, require_columns

_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 1 << 23
"""A row must fit into one block."""
_QUOTE = ord('"')
# The strict reader's own limit, 128 KiB a field, is there for every reader of a process and is not about CSV.
csv.field_size_limit(2**31 - 1)


def read_csv(file: Path, choose: Callable[[list[str]], Sequence[str]]) -> Table:
    """Read some columns of a CSV file as texts; of a TSV file by its name, .tsv or .tsv.gz. Blank lines are skipped.

    Parameters
    ----------
    choose : from the header to the columns to read; raises when the header is not as it must be.

    Raises
    ------
    ServiceError : BAD_TABLE, naming the row (the header is row 1), and what `choose` raises.
    """
    content = read_content(file).removeprefix(_BOM)
    delimiter = delimiter_of(file)
    header = _header(content, file, delimiter)
    columns = list(choose(header))
    require_columns(header, columns, file)
    if not _is_plainly_quoted(content, delimiter):
        _check_strictly(content, file, delimiter)
    try:
        read = arrow_csv.read_csv(
            pa.BufferReader(content),
            read_options=arrow_csv.ReadOptions(column_names=_distinct(header), block_size=_BLOCK_BYTES),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(_distinct(header), pa.large_string()),
                include_columns=columns,
                strings_can_be_null=False,
            ),
        ).slice(1)
    except pa.ArrowInvalid as error:
        _check_strictly(content, file, delimiter)
        raise bad_table(f"{file} cannot be read as CSV: {error}", file=file) from error
    if not len(read):
        raise bad_table(f"{file} has a header and no rows; expected one row per example", file=file)
    return Table(file=file, columns={name: read.column(name) for name in columns}, number=partial(_number, file))


def delimiter_of(file: Path) -> str:
    """What stands between the fields of a file, by its name."""
    return "\t" if file.name.lower().removesuffix(".gz").endswith(".tsv") else ","


def _header(content: bytes, file: Path, delimiter: str) -> list[str]:
    """Names of the columns, without surrounding blanks."""
    if not content or content.isspace():
        raise bad_table(f"{file} is empty; expected a header and one row per example", file=file)
    head = content[: content.find(b"\n", 0) + 1 or len(content)]
    try:
        lines = list(csv.reader(StringIO(head.decode("utf-8"), newline=""), delimiter=delimiter, strict=True))
    except UnicodeDecodeError as error:
        row, column = _locate(content, error.start, delimiter)
        raise _not_utf8(file, row, column) from error
    except csv.Error as error:
        raise bad_table(f"the header of {file} is no CSV: {error}", file=file, line=1) from error
    if not lines or not lines[0]:
        raise bad_table(f"{file} begins with an empty line; expected the names of the columns", file=file)
    return [name.strip() for name in lines[0]]


def _distinct(header: list[str]) -> list[str]:
    """The header with names that occur again numbered: those are not read, but Arrow wants different ones."""
    seen: dict[str, int] = {}
    names: list[str] = []
    for name in header:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}\n{seen[name]}")
    return names


def _is_plainly_quoted(content: bytes, delimiter: str) -> bool:
    """Whether every quote opens a field at its start or closes it at its end, or is doubled within.

    Arrow reads anything else leniently, an unclosed quote as a field to the end of the file. Files with quotes
    inside unquoted fields are legal, too, and are then read by the strict reader first.
    """
    data = np.frombuffer(content, np.uint8)
    borders = np.frombuffer(f"{delimiter}\r\n".encode(), np.uint8)
    quotes = np.flatnonzero(data == _QUOTE)
    # Runs of quotes: an odd one opens or closes a field, an even one is within a field or a whole empty one.
    starts = quotes[np.diff(quotes, prepend=-2) != 1]
    ends = quotes[np.diff(quotes, append=len(data) + 1) != 1] + 1
    odd = (ends - starts) % 2
    within = np.cumsum(odd) % 2
    opens = starts[(within ^ odd) == 0]
    closes = ends[within == 0]
    return (
        not within[-1:].any()
        and bool(np.isin(data[opens[opens > 0] - 1], borders).all())
        and bool(np.isin(data[closes[closes < len(data)]], borders).all())
    )


def _check_strictly(content: bytes, file: Path, delimiter: str) -> None:
    """Raise ServiceError (BAD_TABLE), naming the row, for whatever is no CSV file of equally long rows in UTF-8."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        row, column = _locate(content, error.start, delimiter)
        raise _not_utf8(file, row, column) from error
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        width = len(next(reader))
        for number, line in enumerate(reader, start=2):
            if line and len(line) != width:
                _wrong_length(file, number, len(line), width)
    except csv.Error as error:
        raise bad_table(f"{file} is no CSV file: line {reader.line_num}: {error}", line=reader.line_num) from error


def _wrong_length(file: Path, number: int, got: int, width: int) -> NoReturn:
    raise bad_table(
        f"row {number} of {file.name} has {got} fields, the header has {width}; quote fields that hold the delimiter",
        file=file,
        row=number,
    )


def _not_utf8(file: Path, row: int, column: str) -> Exception:
    return bad_table(
        f"row {row}, column {column!r} of {file} is not UTF-8; save the table as UTF-8", row=row, column=column
    )


def _locate(content: bytes, position: int, delimiter: str) -> tuple[int, str]:
    """Row and column name of the byte at `position`, read as Latin-1, where every byte is a character."""
    before = content[: position + 1].decode("latin-1")
    try:
        lines = list(csv.reader(StringIO(before, newline=""), delimiter=delimiter))
    except csv.Error:
        return before.count("\n") + 1, "?"
    column = len(lines[-1]) - 1
    in_header = len(lines) == 1 or column >= len(lines[0])
    return len(lines), str(column + 1) if in_header else lines[0][column].strip()


def _number(file: Path, row: int) -> str:
    """ "row 4": the header is row 1, and blank lines count. Read again, for an error only."""
    text = read_content(file).removeprefix(_BOM).decode("utf-8")
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter_of(file))
    filled = [number for number, line in enumerate(reader, start=1) if line]
    return f"row {filled[row + 1]}"
