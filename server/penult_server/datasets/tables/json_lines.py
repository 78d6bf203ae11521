"""Files of one JSON object a line."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from penult_server.datasets.tables.table import Table, bad_table, read_content, table_of_texts


def read_json_lines(file: Path, columns: Sequence[str]) -> Table:
    """Read some fields of every object, all of them texts or missing; other fields are skipped.

    Raises ServiceError: BAD_TABLE, naming the line.
    """
    table = table_of_texts(file, "line", columns, _rows(file, columns))
    if not len(table):
        raise bad_table(f"{file} has no rows; expected one line per example", file=file)
    return table


def _rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[str | None]]]:
    """Number and chosen fields of each line that is not blank."""
    for number, line in enumerate(read_content(file).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except ValueError as error:
            raise bad_table(f"line {number} of {file.name} is no JSON: {error}", file=file, line=number) from error
        # 0 is no text: what is no object is refused as an object without texts is.
        fields: list[Any] = [cast("Any", value).get(name) for name in columns] if isinstance(value, dict) else [0]
        if not all(field is None or isinstance(field, str) for field in fields):
            raise bad_table(
                f"line {number} of {file.name} is no object with texts in {', '.join(columns)}", file=file, line=number
            )
        yield number, fields
