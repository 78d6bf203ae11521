"""Text files of columns between blanks, such as CelebA's lists."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from penult_proto.limits import MOST_TABLE_BYTES
from penult_server.datasets.tables.table import Table, bad_table, read_content, table_of_texts
from penult_server.named.roots import open_named

_LONGEST_LINE = 2**16
"""Most bytes of a line of a header."""


def read_spaced(file: Path, names: Sequence[str], columns: Sequence[str], *, skip: int = 0) -> Table:
    """Read some columns as texts.

    Parameters
    ----------
    names : of all columns of the file, in order.
    columns : to read.
    skip : lines before the first row.

    Raises ServiceError: BAD_TABLE, naming the line.
    """
    table = table_of_texts(file, "line", columns, _rows(file, names, columns, skip))
    if not len(table):
        raise bad_table(f"{file} has no rows; expected one line per example", file=file)
    return table


def read_words(file: Path, n_lines: int) -> list[list[str]]:
    """The words of the first lines. Raises ServiceError (BAD_TABLE) when there are fewer."""
    try:
        with open_named(file, MOST_TABLE_BYTES) as opened:
            lines = [opened.readline(_LONGEST_LINE).decode().split() for _ in range(n_lines)]
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise bad_table(f"{file} cannot be read: {why}", file=file) from error
    if not all(lines):
        raise bad_table(f"{file} has fewer than the {n_lines} lines of its header", file=file)
    return lines


def _rows(file: Path, names: Sequence[str], columns: Sequence[str], skip: int) -> Iterator[tuple[int, Sequence[str]]]:
    """Number and chosen words of each line that holds any."""
    places = [names.index(name) for name in columns]
    for number, line in enumerate(read_content(file).splitlines()[skip:], start=skip + 1):
        words = line.split()
        if words:
            if len(words) != len(names):
                raise bad_table(
                    f"line {number} of {file.name} has {len(words)} words, expected {len(names)}",
                    file=file,
                    line=number,
                )
            yield number, [words[place].decode("utf-8", "surrogateescape") for place in places]
