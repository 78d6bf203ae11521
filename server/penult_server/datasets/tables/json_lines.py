"""Files of one JSON object a line."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# pyarrow is untyped.

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.json as arrow_json

from penult_server.datasets.tables.table import Table, bad_table, read_content

_BLOCK_BYTES = 1 << 24
"""A line must fit into one block."""


def read_json_lines(file: Path, columns: Sequence[str]) -> Table:
    """Read some fields of every object, all of them texts; other fields are skipped.

    Raises ServiceError: BAD_TABLE, naming the line.
    """
    try:
        read = arrow_json.read_json(
            pa.BufferReader(read_content(file)),
            read_options=arrow_json.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=pa.schema([(name, pa.large_string()) for name in columns]),
                unexpected_field_behavior="ignore",
            ),
        )
    except pa.ArrowInvalid as error:
        raise _fault(file, columns, str(error)) from error
    return Table(file=file, columns={name: read.column(name) for name in columns}, number=partial(_number, file))


def _filled_lines(file: Path) -> list[tuple[int, bytes]]:
    lines = enumerate(read_content(file).split(b"\n"), start=1)
    return [(number, line) for number, line in lines if line.strip()]


def _fault(file: Path, columns: Sequence[str], reason: str) -> Exception:
    """The error for the first line that is no object with texts in these fields, or for what Arrow says."""
    for number, line in _filled_lines(file):
        try:
            value = json.loads(line)
        except ValueError as error:
            return bad_table(f"line {number} of {file.name} is no JSON: {error}", file=file, line=number)
        if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in columns):
            return bad_table(
                f"line {number} of {file.name} is no object with texts in {', '.join(columns)}", file=file, line=number
            )
    return bad_table(f"{file} cannot be read as JSON lines: {reason}", file=file)


def _number(file: Path, row: int) -> str:
    return f"line {_filled_lines(file)[row][0]}"
