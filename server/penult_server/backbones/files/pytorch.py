"""Files of ``torch.save``, of both formats: the zip archive, and the row of pickles that PyTorch wrote before 1.6.

The values of tensors stay in the file, which is mapped into memory, until somebody copies them.
"""

# pyright: reportUnknownMemberType=false
# torch annotates its views in part.

import io
import mmap
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from penult_server.backbones.files.pickles import PickleReader, StoredTensor, UnreadableError

ZIP, LEGACY = b"PK\x03\x04", 0x1950A86A20F9469CFC6C
"""How the files of each format begin: bytes, and the number in the first pickle."""
MOST_PICKLE = 2**26
"""Most bytes of the pickle that describes the tensors."""
MOST_DIRECTORY = 2**24
"""Most bytes of an archive's list of its members."""
_END, _END_BYTES = b"PK\x05\x06", 22
_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


@dataclass(frozen=True, slots=True, eq=False)
class PyTorchFile:
    """What a file holds."""

    content: Any
    """The value that was saved; tensors are `StoredTensor`, other objects `Foreign`."""
    foreign: tuple[str, ...]
    """Kinds of the objects that are no tensors."""
    _buffer: mmap.mmap
    _places: Mapping[str, tuple[int, int]]

    def tensor(self, stored: StoredTensor) -> Tensor:
        """A tensor, a view of the file as far as possible. Raises UnreadableError where the file does not reach."""
        storage = stored.storage
        dtype = _DTYPES.get(storage.kind)
        if dtype is None:
            raise UnreadableError(f"tensors of {storage.kind[:40]} are not read")
        if not storage.n_values:
            return torch.empty(stored.size, dtype=dtype)
        start, n_bytes = self._places.get(storage.key, (0, -1))
        start += storage.first * dtype.itemsize
        if (storage.first + storage.n_values) * dtype.itemsize > n_bytes or start + n_bytes < 0:
            raise UnreadableError(f"{storage.n_values} values of storage {storage.key[:40]!r} are not in it")
        end = start + storage.n_values * dtype.itemsize
        if end > len(self._buffer):
            raise UnreadableError("it is cut short")
        if start % dtype.itemsize:
            flat = torch.frombuffer(bytearray(self._buffer[start:end]), dtype=dtype)
        else:
            flat = torch.frombuffer(self._buffer, dtype=dtype, count=storage.n_values, offset=start)
        return flat.as_strided(stored.size, stored.stride, stored.offset)


def read_pytorch(path: Path) -> PyTorchFile:
    """The content of a file of ``torch.save``; nothing in it is run. Raises UnreadableError, OSError."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise UnreadableError("it is empty")
        # A private copy, whose pages are the file's until they are written to.
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return _read_zip(path, buffer) if buffer[:4] == ZIP else _read_legacy(buffer)


def _read_zip(path: Path, buffer: mmap.mmap) -> PyTorchFile:
    _check_directory(buffer)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError, struct.error) as error:
        raise UnreadableError(f"it is a damaged zip archive ({error})") from error
    _check_members(members, len(buffer))
    by_name = {member.filename: member for member in members}
    described = [name for name in by_name if name.count("/") <= 1 and name.rpartition("/")[2] == "data.pkl"]
    if len(described) != 1 or len(by_name) < len(members):
        raise UnreadableError("it is a zip archive, but not one of torch.save")
    root = described[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in by_name:
        raise UnreadableError("it is an archive of TorchScript; save its state_dict() with torch.save")
    places = {name: _place(buffer, member) for name, member in by_name.items() if name.startswith(root)}
    if f"{root}byteorder" in places and _content(buffer, places[f"{root}byteorder"])[:10] != b"little":
        raise UnreadableError("its values are big-endian")
    pickled = _content(buffer, places[described[0]])
    reader = PickleReader()
    content = reader.read(io.BytesIO(pickled))
    storages = {name.removeprefix(f"{root}data/"): place for name, place in places.items()}
    return PyTorchFile(content, tuple(reader.foreign), buffer, storages)


def _check_directory(buffer: mmap.mmap) -> None:
    """Refuse an archive with a huge list of members before it is read."""
    end = buffer.rfind(_END, max(0, len(buffer) - 2**16 - _END_BYTES))
    if end < 0 or end + _END_BYTES > len(buffer):
        raise UnreadableError("it is a zip archive whose end is missing: it is cut short")
    (size,) = struct.unpack_from("<I", buffer, end + 12)
    if size == 2**32 - 1 and buffer[end - 20 : end - 16] == b"PK\x06\x07":
        (place,) = struct.unpack_from("<Q", buffer, end - 12)
        if place + 56 <= len(buffer):
            (size,) = struct.unpack_from("<Q", buffer, place + 40)
    if size > MOST_DIRECTORY:
        raise UnreadableError(f"it is a zip archive with a list of members of {size} bytes")


def _check_members(members: list[zipfile.ZipInfo], n_bytes: int) -> None:
    """Members of torch.save are not compressed, so that all together they are no larger than the file."""
    if any(one.compress_type != zipfile.ZIP_STORED or one.flag_bits & 1 for one in members):
        raise UnreadableError("it is a zip archive with compressed members, which torch.save does not write")
    if sum(one.file_size for one in members) > n_bytes:
        raise UnreadableError("it is a zip archive whose members are larger than itself")


def _place(buffer: mmap.mmap, member: zipfile.ZipInfo) -> tuple[int, int]:
    """First byte and number of bytes of a member's content."""
    start = member.header_offset
    if start < 0 or buffer[start : start + 4] != ZIP or start + 30 > len(buffer):
        raise UnreadableError("it is a damaged zip archive (a member is missing)")
    n_name, n_extra = struct.unpack_from("<HH", buffer, start + 26)
    first = start + 30 + n_name + n_extra
    if first + member.file_size > len(buffer):
        raise UnreadableError("it is a damaged zip archive (a member is cut short)")
    return first, member.file_size


def _content(buffer: mmap.mmap, place: tuple[int, int]) -> bytes:
    first, n_bytes = place
    if n_bytes > MOST_PICKLE:
        raise UnreadableError(f"what describes its tensors has {n_bytes} bytes, more than {MOST_PICKLE}")
    return buffer[first : first + n_bytes]


def _read_legacy(buffer: mmap.mmap) -> PyTorchFile:
    """Five pickles (a number, a version, the machine, the value, keys), then for each key the number of its values
    and the values."""
    # The values may be many more bytes than the pickles before them.
    stream, reader = io.BytesIO(buffer[:MOST_PICKLE]), PickleReader()
    if reader.read(stream) != LEGACY:
        raise UnreadableError("it is neither safetensors nor a file of torch.save")
    _version, machine, content, keys = (reader.read(stream) for _ in range(4))
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UnreadableError("its values are big-endian")
    buffer.seek(stream.tell())
    places: dict[str, tuple[int, int]] = {}
    for key in cast("list[Any]", keys) if isinstance(keys, list) else ():
        head = buffer.read(8)
        dtype = _DTYPES.get(reader.storages.get(key, "")) if isinstance(key, str) else None
        if dtype is None or len(head) < 8:
            raise UnreadableError("it is cut short, or holds values of a type that is not read")
        (n_values,) = struct.unpack("<q", head)
        n_bytes = n_values * dtype.itemsize
        if n_values < 0 or buffer.tell() + n_bytes > len(buffer):
            raise UnreadableError("it is cut short")
        places[key] = (buffer.tell(), n_bytes)
        buffer.seek(n_bytes, io.SEEK_CUR)
    return PyTorchFile(content, tuple(reader.foreign), buffer, places)
