"""safetensors: a length, a header in JSON, then the bytes of all tensors; streamed in both directions.

Its format is described at https://huggingface.co/docs/safetensors. The description of a feature set is text in the
header's ``__metadata__``.
"""

import json
import struct
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np

from penult.files.rows import Rows, in_memory
from penult.files.source import DESCRIPTION, Source, refused

_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
_DTYPES = {name: np.dtype(dtype).newbyteorder("<") for dtype, name in _NAMES.items()}
_BFLOAT16 = "BF16"
_LONGEST_HEADER = 100_000_000
"""Bytes, as the format allows."""


@contextmanager
def opened(place: Path) -> Generator[Source]:
    """The tensors, mapped into memory; bfloat16 becomes float32, exactly."""
    size = place.stat().st_size
    with place.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if length > min(_LONGEST_HEADER, size - 8):
            raise ValueError(f"its header announces {length} bytes, the file has {size}")
        content = json.loads(file.read(length))
    if not isinstance(content, dict):
        raise ValueError("its header is no JSON object")
    header = cast("dict[str, Any]", content)
    metadata: dict[str, Any] = header.pop("__metadata__", {})
    arrays = {name: _tensor(place, name, entry, 8 + length, size) for name, entry in header.items()}
    text = metadata.get(DESCRIPTION)
    yield Source(place=place, arrays=arrays, description=None if text is None else json.loads(text))


def _tensor(place: Path, name: str, entry: Any, base: int, size: int) -> Rows:
    shape = tuple(int(side) for side in entry["shape"])
    first, end = (int(one) for one in entry["data_offsets"])
    is_half = entry["dtype"] == _BFLOAT16
    if not is_half and entry["dtype"] not in _DTYPES:
        raise refused(place, f"the tensor {name!r} is of {entry['dtype']}", f"expected {', '.join(_DTYPES)} or BF16")
    dtype = np.dtype("<u2") if is_half else _DTYPES[entry["dtype"]]
    if min(shape, default=0) < 0 or end - first != prod(shape) * dtype.itemsize or first < 0 or base + end > size:
        raise ValueError(f"the tensor {name!r} of shape {shape} does not fit its place in the file")
    if end == first:
        rows = in_memory(np.empty(shape, dtype))
    else:
        rows = in_memory(np.memmap(place, dtype, "r", base + first, shape))
    return _from_bfloat16(rows) if is_half else rows


def _from_bfloat16(rows: Rows) -> Rows:
    return Rows(
        np.dtype(np.float32),
        rows.shape,
        lambda: ((block.astype(np.uint32) << 16).view(np.float32) for block in rows.blocks()),
    )


class SafetensorsWriter:
    """Writes tensors one after the other, in the order and of the shapes that were announced."""

    def __init__(
        self,
        path: Path,
        description: Mapping[str, Any],
        announced: Sequence[tuple[str, np.dtype[Any], Sequence[int]]],
    ) -> None:
        header: dict[str, Any] = {"__metadata__": {DESCRIPTION: json.dumps(description)}}
        at = 0
        for name, dtype, shape in announced:
            end = at + prod(shape) * dtype.itemsize
            header[name] = {"dtype": _NAMES[dtype.name], "shape": list(shape), "data_offsets": [at, end]}
            at = end
        content = json.dumps(header).encode()
        content += b" " * (-len(content) % 8)
        self._file = path.open("wb")
        self._file.write(struct.pack("<Q", len(content)) + content)

    def start(self, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
        """Begin a tensor: they follow one another without a gap."""

    def write(self, data: bytes) -> None:
        """The next bytes of the tensor."""
        self._file.write(data)

    def close(self) -> None:
        """Close the file. May be called again."""
        self._file.close()
