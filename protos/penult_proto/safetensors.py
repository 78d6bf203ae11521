"""The header of a safetensors file, and the digest of its tensors as their bytes pass: no tensor is held.

A file is 8 bytes of length (little-endian), so many bytes of JSON, then the tensors' bytes. The JSON names each tensor
with its type, shape, and the places of its first byte and of the one after its last, counted from the end of the JSON.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

LENGTH = struct.Struct("<Q")
"""The first bytes of a file."""
MOST_HEADER_BYTES = 100_000_000
"""As the format says."""
WEIGHTS_FILE = "model.safetensors"
"""How the file is called in a checkpoint, and by timm and transformers."""

_NUMPY_TYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
"""NumPy's names of the format's types that NumPy has."""


class HeaderError(ValueError):
    """Bytes that are no header of a safetensors file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Where one tensor lies."""

    name: str
    dtype: str
    """The format's name of the type, such as "F32"."""
    shape: tuple[int, ...]
    start: int
    """Place of the first byte, from the end of the header."""
    end: int

    @property
    def n_bytes(self) -> int:
        return self.end - self.start

    @property
    def numpy_type(self) -> str:
        """NumPy's name of the type, such as "<f4"."""
        return _NUMPY_TYPES[self.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of its tensors."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @property
    def data_bytes(self) -> int:
        """Bytes after the header."""
        return max((one.end for one in self.tensors.values()), default=0)


def parse_header(content: bytes) -> Header:
    """The header in the first bytes of a file, length included.

    Raises HeaderError unless the tensors have known types and fill the rest of the file without gap or overlap.
    """
    if len(content) < LENGTH.size or LENGTH.unpack_from(content)[0] != len(content) - LENGTH.size:
        raise HeaderError("its length is not that of the header")
    try:
        said = json.loads(content[LENGTH.size :])
        metadata = said.pop("__metadata__", {})
        tensors = {name: _tensor(name, entry) for name, entry in said.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HeaderError(f"its header cannot be read: {error}") from error
    place = 0
    for one in sorted(tensors.values(), key=lambda one: (one.start, one.end)):
        if one.start != place:
            raise HeaderError(f"tensor {one.name!r} begins at byte {one.start}, and byte {place} was next")
        place = one.end
    return Header(tensors=tensors, metadata=metadata)


def first_bytes(file: IO[bytes]) -> bytes:
    """The header of a file that is read from its beginning, length included; of a damaged length the length alone."""
    length = file.read(LENGTH.size)
    n_bytes = LENGTH.unpack(length)[0] if len(length) == LENGTH.size else MOST_HEADER_BYTES
    # A damaged length would have the whole file read.
    return length + file.read(n_bytes) if n_bytes < MOST_HEADER_BYTES else length


def _tensor(name: str, entry: Mapping[str, Any]) -> Tensor:
    dtype, shape = str(entry["dtype"]), tuple(int(side) for side in entry["shape"])
    start, end = (int(place) for place in entry["data_offsets"])
    if dtype not in _NUMPY_TYPES or min(shape, default=0) < 0:
        raise HeaderError(f"tensor {name!r} has the type {dtype} and the shape {shape}, which no checkpoint stores")
    if end - start != math.prod(shape) * int(_NUMPY_TYPES[dtype][2:]):
        raise HeaderError(f"tensor {name!r} of shape {shape} and type {dtype} has {end - start} bytes")
    return Tensor(name=name, dtype=dtype, shape=shape, start=start, end=end)


def header_bytes(header: Header, *, shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str]) -> bytes:
    """The first bytes of a file of the same tensors, some under another shape, with other metadata."""
    said: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for one in header.tensors.values():
        shape = list(shapes.get(one.name, one.shape))
        said[one.name] = {"dtype": one.dtype, "shape": shape, "data_offsets": [one.start, one.end]}
    text = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()
    # The tensors begin at a multiple of 8 bytes.
    text += b" " * (-len(text) % 8)
    return LENGTH.pack(len(text)) + text


class WeightsDigest:
    """sha256 over the tensors' names, types, shapes and bytes (row-major, little-endian) in the order of the names."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()

    def begin(self, name: str, numpy_type: str, shape: Sequence[int]) -> None:
        """The next tensor, with NumPy's text for its type, such as "<f4"."""
        self._total.update(f"{json.dumps(name)} {numpy_type} {list(shape)}\n".encode())

    def begin_tensor(self, tensor: Tensor) -> None:
        """The next tensor, of a file."""
        self.begin(tensor.name, tensor.numpy_type, tensor.shape)

    def update(self, content: "bytes | memoryview") -> None:
        """Bytes of the last tensor that `begin` named."""
        self._total.update(content)

    def hexdigest(self) -> str:
        """The digest of what has passed."""
        return self._total.hexdigest()
