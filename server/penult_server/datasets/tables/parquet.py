"""Parquet files."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false
# pyarrow is untyped.

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from penult_server.datasets.tables.table import Table, bad_table, require_columns

_MAGIC = b"PAR1"


def is_parquet(file: Path) -> bool:
    """Whether the file begins as Parquet files do, whatever its name; False for one that cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_parquet(file: Path, choose: Callable[[list[str]], Sequence[str]]) -> Table:
    """Read some columns of a Parquet file.

    `choose` goes from the names of the columns to those to read. Raises ServiceError: BAD_TABLE, and what
    `choose` raises.
    """
    try:
        with pq.ParquetFile(file) as opened:
            # The index that pandas stores beside the columns is none of the user's.
            header = [name for name in opened.schema_arrow.names if not name.startswith("__index_level_")]
            columns = list(choose(header))
            require_columns(header, columns, file)
            read = opened.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise bad_table(f"{file} cannot be read as a Parquet file: {error}", file=file) from error
    if not len(read):
        raise bad_table(f"{file} has no rows; expected one row per example", file=file)
    return Table(
        file=file,
        columns={name: read.column(name) for name in columns},
        number=lambda row: f"row {row} (counted from 0)",
    )
