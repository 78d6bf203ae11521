"""Parquet files."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# pyarrow is untyped.

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from penult_proto.limits import MOST_FILE_BYTES, MOST_TABLE_BYTES
from penult_server.datasets.tables.table import Table, bad_table, require_columns
from penult_server.named.opening import too_large
from penult_server.named.roots import READING, open_named

_MAGIC = b"PAR1"


def is_parquet(file: Path) -> bool:
    """Whether the file begins as Parquet files do, whatever its name; False for one that cannot be read."""
    try:
        with open_named(file, MOST_FILE_BYTES) as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_parquet(file: Path, choose: Callable[[list[str]], Sequence[str]]) -> Table:
    """Read some columns of a Parquet file.

    `choose` goes from the names of the columns to those to read. Raises ServiceError: BAD_TABLE, and what
    `choose` raises.
    """
    try:
        with open_named(file, MOST_FILE_BYTES) as content, pq.ParquetFile(content) as opened:
            # The index that pandas stores beside the columns is none of the user's.
            header = [name for name in opened.schema_arrow.names if not name.startswith("__index_level_")]
            columns = list(choose(header))
            require_columns(header, columns, file)
            read = read_columns(opened, file, columns)
    except (pa.ArrowException, OSError) as error:
        raise bad_table(f"{file} cannot be read as a Parquet file: {error}", file=file) from error
    if not len(read):
        raise bad_table(f"{file} has no rows; expected one row per example", file=file)
    return Table(
        file=file,
        columns={name: read.column(name) for name in columns},
        number=lambda row: f"row {row} (counted from 0)",
    )


def read_columns(opened: Any, file: Path, columns: Sequence[str]) -> Any:
    """Some columns of an open file as one table, a group of rows at a time.

    Raises ServiceError (TOO_LARGE) for more than is read whole, by what the file says of its groups.
    """
    parts: list[Any] = []
    size = 0
    for group in range(opened.num_row_groups):
        READING.get().beat()
        size += _unpacked_bytes(opened.metadata.row_group(group), columns)
        if size > MOST_TABLE_BYTES:
            raise too_large(file, size, MOST_TABLE_BYTES)
        parts.append(opened.read_row_group(group, columns=list(columns)))
    return pa.concat_tables(parts) if parts else opened.read(columns=list(columns))


def _unpacked_bytes(group: Any, columns: Sequence[str]) -> int:
    described = (group.column(index) for index in range(group.num_columns))
    return sum(one.total_uncompressed_size for one in described if one.path_in_schema.split(".")[0] in columns)
