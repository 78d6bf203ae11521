"""CSV and TSV tables of labels: every column as whole numbers where all its values are, else as text."""

import csv
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from penult.files.rows import AnyArray, Rows, in_memory
from penult.files.source import Source, refused

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")


@contextmanager
def opened(place: Path) -> Generator[Source]:
    """The columns by the names in the first row. They are read whole: a table of labels is small beside features."""
    delimiter = "\t" if place.suffix == ".tsv" else ","
    with place.open(newline="", encoding="utf-8-sig") as file:
        try:
            lines = list(csv.reader(file, delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise ValueError(f"no {place.suffix[1:]} table: {error}") from error
    header, *rows = lines or [[]]
    rows = [row for row in rows if row]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise refused(place, f"row {number} has {len(row)} values, the header {len(header)}", "mend the row")
    if not rows or len(set(header)) < len(header):
        raise refused(place, "expected a header of different names, and a row for each example", "write it again")
    yield Source(place=place, arrays={name: _column([row[i] for row in rows]) for i, name in enumerate(header)})


def _column(values: Sequence[str]) -> Rows:
    return in_memory(_integers(values) if all(map(_WHOLE.fullmatch, values)) else np.array(values, np.str_))


def _integers(values: Sequence[str]) -> AnyArray:
    return np.array([int(value.partition(".")[0]) for value in values], np.int64)
