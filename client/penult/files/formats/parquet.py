"""Parquet: one row per example, its features a column of lists; read and written a few thousand rows at a time."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnusedImport=false, reportUnknownArgumentType=false, reportAttributeAccessIssue=false, reportUnknownParameterType=false
# pyarrow is untyped.

import base64
import io
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penult.errors import install, invalid
from penult.files.rows import AnyArray, Rows, in_memory, rows_at_once
from penult.files.source import DESCRIPTION, Source, refused

if TYPE_CHECKING:
    import pyarrow as pa

HEADS = ("head.weight", "head.bias")
"""Arrays that have no row per example; they stand in the file's metadata."""
MOST_HEAD = 16 * 2**20
"""Bytes of a head that the metadata, which every reader loads, may hold."""
_LABEL_ROWS = 65_536


def needs_pyarrow() -> Any:
    """pyarrow. Raises ImportError, saying what to install."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError(f"Parquet files need pyarrow, which is not installed: {install('files')}") from None
    return pyarrow


@contextmanager
def opened(place: Path) -> Generator[Source]:
    """The columns that hold numbers, bools, text, or lists of numbers of one length."""
    pa = needs_pyarrow()
    try:
        with pa.parquet.ParquetFile(place, memory_map=True) as file:
            metadata = file.schema_arrow.metadata or {}
            arrays = {name: rows for name in file.schema_arrow.names if (rows := _column(pa, file, place, name))}
            text = metadata.get(DESCRIPTION.encode())
            for name in HEADS:
                if name.encode() in metadata:
                    content = io.BytesIO(base64.b64decode(metadata[name.encode()]))
                    arrays[name] = in_memory(np.load(content, allow_pickle=False))
            yield Source(place=place, arrays=arrays, description=None if text is None else json.loads(text))
    except pa.ArrowException as error:
        raise ValueError(f"no whole Parquet file: {error}") from error


def _column(pa: Any, file: Any, place: Path, name: str) -> Rows | None:
    """A column as rows; None for one of a type that is no array."""
    kind = file.schema_arrow.field(name).type
    n_rows = file.metadata.num_rows
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        dtype = _dtype(pa, kind.value_type)
        if dtype is None:
            return None
        width = kind.list_size if types.is_fixed_size_list(kind) else _first_width(file, name)
        step = rows_at_once((n_rows, width), dtype)
        return Rows(dtype, (n_rows, width), lambda: _lists(file, place, name, width, dtype, step))
    dtype = _dtype(pa, kind.value_type if types.is_dictionary(kind) else kind)
    return None if dtype is None else Rows(dtype, (n_rows,), lambda: _scalars(file, place, name))


def _dtype(pa: Any, kind: Any) -> np.dtype[Any] | None:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.dtype(np.str_)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return np.dtype(kind.to_pandas_dtype())
    return None


def _first_width(file: Any, name: str) -> int:
    for batch in file.iter_batches(batch_size=1, columns=[name]):
        first = batch.column(0)[0].as_py()
        return 0 if first is None else len(first)
    return 0


def _lists(file: Any, place: Path, name: str, width: int, dtype: np.dtype[Any], step: int) -> Iterator[AnyArray]:
    """Rows of lists, all of one length and without a missing number. Raises `InvalidRequest`."""
    at = 0
    for batch in file.iter_batches(batch_size=step, columns=[name], use_threads=False):
        column = batch.column(0)
        values = column.flatten()
        if column.null_count or values.null_count or len(values) != width * len(column):
            lengths = [None if one is None else len(one) for one in column.to_pylist()]
            wrong = next((i for i, length in enumerate(lengths) if length != width), 0)
            found = "a missing number" if lengths[wrong] == width else f"{lengths[wrong]} numbers"
            raise refused(
                place,
                f"row {at + wrong} of the column {name!r} has {found}, the first row has {width}",
                "every row needs as many; leave such rows out",
            )
        at += len(column)
        yield values.to_numpy(zero_copy_only=False).astype(dtype, copy=False).reshape(len(column), width)


def _scalars(file: Any, place: Path, name: str) -> Iterator[AnyArray]:
    at = 0
    for batch in file.iter_batches(batch_size=_LABEL_ROWS, columns=[name], use_threads=False):
        column = batch.column(0)
        if column.null_count:
            row = at + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise refused(
                place, f"row {row} of the column {name!r} has no value", "leave such rows out, or give them one"
            )
        at += len(column)
        found = column.to_numpy(zero_copy_only=False)
        yield np.array(column.to_pylist(), np.str_) if found.dtype.kind == "O" else found


class ParquetWriter:
    """Writes blocks of rows of all arrays at once, as row groups.

    Raises `InvalidRequest` for a head that is too large for the file's metadata.
    """

    def __init__(
        self,
        path: Path,
        description: Mapping[str, Any],
        announced: Sequence[tuple[str, np.dtype[Any], Sequence[int]]],
        heads: Mapping[str, AnyArray],
    ) -> None:
        self._pa = needs_pyarrow()
        metadata = {DESCRIPTION: json.dumps(description)} | {name: _encoded(array) for name, array in heads.items()}
        fields = [self._field(name, dtype, shape) for name, dtype, shape in announced]
        self._schema: pa.Schema = self._pa.schema(fields, metadata=metadata)
        self._writer = self._pa.parquet.ParquetWriter(path, self._schema, compression="none", use_dictionary=False)

    def write(self, arrays: Mapping[str, AnyArray]) -> None:
        """The next rows: arrays (n, ...) by name."""
        columns = [self._array(arrays[name], self._schema.field(name).type) for name in self._schema.names]
        self._writer.write_table(self._pa.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write the file's end. May be called again."""
        self._writer.close()

    def _field(self, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> Any:
        kind = self._pa.from_numpy_dtype(dtype)
        return self._pa.field(name, self._pa.list_(kind, int(shape[1])) if len(shape) > 1 else kind, nullable=False)

    def _array(self, array: AnyArray, kind: Any) -> Any:
        if array.ndim == 1:
            return self._pa.array(array, kind)
        values = self._pa.array(np.ascontiguousarray(array).reshape(-1), kind.value_type)
        return self._pa.FixedSizeListArray.from_arrays(values, type=kind)


def _encoded(array: AnyArray) -> str:
    """A head as text: metadata are repeated as text in the file."""
    if array.nbytes > MOST_HEAD:
        raise invalid(
            f"the head has {array.nbytes} bytes, more than the {MOST_HEAD} that the metadata of a Parquet file should "
            "hold; export as format='npz', 'npy' or 'safetensors'",
            argument="format",
        )
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return base64.b64encode(content.getvalue()).decode()


def write_table(path: Path, columns: Mapping[str, AnyArray]) -> None:
    """Write columns (N,) of numbers, bools or text. Raises ImportError when pyarrow is missing."""
    pa = needs_pyarrow()
    pa.parquet.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}), path)
