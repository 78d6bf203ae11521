"""Text files of columns between blanks, such as CelebA's lists."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# pyarrow is untyped.

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv

from penult_server.datasets.tables.table import Table, bad_table, read_content


def read_spaced(file: Path, names: Sequence[str], columns: Sequence[str], *, skip: int = 0) -> Table:
    """Read some columns as texts.

    Parameters
    ----------
    names : of all columns of the file, in order.
    columns : to read.
    skip : lines before the first row.

    Raises ServiceError: BAD_TABLE, naming the line.
    """
    content = read_content(file).replace(b"\r\n", b"\n").replace(b"\t", b" ")
    while b"  " in content:
        content = content.replace(b"  ", b" ")
    content = content.replace(b"\n ", b"\n").replace(b" \n", b"\n").removesuffix(b" ")
    try:
        read = arrow_csv.read_csv(
            pa.BufferReader(content),
            read_options=arrow_csv.ReadOptions(column_names=list(names), skip_rows=skip),
            parse_options=arrow_csv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()),
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise _fault(file, len(names), skip, str(error)) from error
    if not len(read):
        raise bad_table(f"{file} has no rows; expected one line per example", file=file)
    return Table(
        file=file,
        columns={name: read.column(name) for name in columns},
        number=partial(_number, file, skip),
    )


def read_words(file: Path, n_lines: int) -> list[list[str]]:
    """The words of the first lines. Raises ServiceError (BAD_TABLE) when there are fewer."""
    try:
        with file.open(encoding="utf-8") as opened:
            lines = [opened.readline().split() for _ in range(n_lines)]
    except (OSError, UnicodeDecodeError) as error:
        raise bad_table(f"{file} cannot be read: {error}", file=file) from error
    if not all(lines):
        raise bad_table(f"{file} has fewer than the {n_lines} lines of its header", file=file)
    return lines


def _filled_lines(file: Path, skip: int) -> list[tuple[int, list[bytes]]]:
    """Number and words of every line that holds any, without the first `skip`."""
    lines = [(number, line.split()) for number, line in enumerate(read_content(file).splitlines(), start=1)]
    return [(number, words) for number, words in lines[skip:] if words]


def _fault(file: Path, width: int, skip: int, reason: str) -> Exception:
    """The error for the first line that has another number of words, or for what Arrow says."""
    for number, words in _filled_lines(file, skip):
        if len(words) != width:
            return bad_table(
                f"line {number} of {file.name} has {len(words)} words, expected {width}", file=file, line=number
            )
    return bad_table(f"{file} cannot be read as columns between blanks: {reason}", file=file)


def _number(file: Path, skip: int, row: int) -> str:
    return f"line {_filled_lines(file, skip)[row][0]}"
