"""CSV and TSV files, read by the strict reader of the standard library."""

import csv
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

from penult_server.datasets.tables.table import (
    Table,
    bad_table,
    is_unicode,
    not_utf8,
    read_content,
    require_columns,
    table_of_texts,
)

_BOM = b"\xef\xbb\xbf"
# The reader's own limit, 128 KiB a field, is there for every reader of a process and is not about CSV.
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
    if not content or content.isspace():
        raise bad_table(f"{file} is empty; expected a header and one row per example", file=file)
    # Bytes that are not UTF-8 become surrogates, and are refused in the columns that are read.
    text = TextIOWrapper(BytesIO(content), encoding="utf-8", errors="surrogateescape", newline="")
    reader = csv.reader(text, delimiter=_delimiter_of(file), strict=True)
    header = _header(reader, file)
    columns = list(choose(header))
    require_columns(header, columns, file)
    table = table_of_texts(file, "row", columns, _rows(reader, file, header, columns))
    if not len(table):
        raise bad_table(f"{file} has a header and no rows; expected one row per example", file=file)
    return table


def _delimiter_of(file: Path) -> str:
    """What stands between the fields of a file, by its name."""
    return "\t" if file.name.lower().removesuffix(".gz").endswith(".tsv") else ","


def _header(reader: Iterator[list[str]], file: Path) -> list[str]:
    """Names of the columns, without surrounding blanks."""
    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise bad_table(f"the header of {file} is no CSV: {error}", file=file, line=1) from error
    if not header:
        raise bad_table(f"{file} begins with an empty line; expected the names of the columns", file=file)
    for position, name in enumerate(header, start=1):
        if not is_unicode(name):
            raise not_utf8(file, "row", 1, str(position))
    return header


def _rows(
    reader: Any, file: Path, header: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[int, Sequence[str]]]:
    """Number and chosen fields of each row that is not blank; every row is as long as the header."""
    places = [header.index(name) for name in columns]
    try:
        for number, line in enumerate(reader, start=2):
            if line:
                if len(line) != len(header):
                    raise bad_table(
                        f"row {number} of {file.name} has {len(line)} fields, the header has {len(header)}; quote "
                        "fields that hold the delimiter",
                        file=file,
                        row=number,
                    )
                yield number, [line[place] for place in places]
    except csv.Error as error:
        raise bad_table(f"{file} is no CSV file: line {reader.line_num}: {error}", line=reader.line_num) from error
