"""A file of weights that is written tensor by tensor: its header first, then the bytes, of which none is held.

Names, types and shapes are known before the first byte. The digest of the weights is taken as the bytes pass, so
tensors are written in the order of their names, each from its first byte to its last.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from penult_proto.safetensors import Header, WeightsDigest, first_bytes, header_bytes, parse_header

AnyArray = NDArray[np.generic]


class WeightsWriter:
    """Writes the tensors of a header to a new file."""

    def __init__(self, path: Path, header: Header) -> None:
        self._first = header_bytes(header, shapes={}, metadata={})
        self._header = header
        self._total = WeightsDigest()
        self._left = sorted(header.tensors, reverse=True)
        self._place = 0
        self._file = path.open("x+b", buffering=0)

    def __enter__(self) -> Self:
        try:
            self._write(0, memoryview(self._first))
            # Its whole length at once: a full disk is told before the work.
            os.posix_fallocate(self._file.fileno(), 0, len(self._first) + self._header.data_bytes)
        except OSError:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, name: str, values: AnyArray) -> None:
        """The next values of a tensor, contiguous and of its type. Raises ValueError out of order."""
        if self._place == 0 and self._left and self._left[-1] == name:
            self._total.begin_tensor(self._header.tensors[name])
        elif not self._left or self._left[-1] != name:
            raise ValueError(f"tensor {name!r} was written, and {self._left[-1:]} was next")
        tensor = self._header.tensors[name]
        if self._place + values.nbytes > tensor.n_bytes:
            raise ValueError(f"tensor {name!r} has {tensor.n_bytes} bytes, and more were written")
        content = values.reshape(-1).view(np.uint8).data
        self._total.update(content)
        self._write(len(self._first) + tensor.start + self._place, content)
        self._place += values.nbytes
        if self._place == tensor.n_bytes:
            self._left.pop()
            self._place = 0

    def read(self, name: str, start: int, stop: int) -> AnyArray:
        """(stop - start,) entries of a tensor that was written, flat. Raises ValueError where it ends early."""
        tensor = self._header.tensors[name]
        found = np.empty(stop - start, dtype=tensor.numpy_type)
        self._file.seek(len(self._first) + tensor.start + start * found.itemsize)
        if found.nbytes and self._file.readinto(found.view(np.uint8).data) != found.nbytes:
            raise ValueError(f"{self._file.name} ends within tensor {name!r}")
        return found

    def weights_digest(self) -> str:
        """The digest of all tensors. Raises ValueError where one is not written."""
        if self._left:
            raise ValueError(f"tensor {self._left[-1]!r} is not written")
        return self._total.hexdigest()

    def _write(self, offset: int, content: memoryview) -> None:
        self._file.seek(offset)
        while content:
            content = content[self._file.write(content) or 0 :]


def overwrite(path: Path, values: Mapping[str, AnyArray]) -> str:
    """Put other values in the place of some tensors of a file; returns the digest of all tensors as they are then."""
    header, first = _header_of(path)
    with path.open("r+b") as file:
        for name, array in values.items():
            tensor = header.tensors[name]
            if array.nbytes != tensor.n_bytes:
                raise ValueError(f"tensor {name!r} has {tensor.n_bytes} bytes, not {array.nbytes}")
            file.seek(first + tensor.start)
            file.write(np.ascontiguousarray(array).tobytes())
    return digest_of_weights(path)


def digest_of_weights(path: Path) -> str:
    """The digest of the tensors of a file, read a piece at a time."""
    header, first = _header_of(path)
    total = WeightsDigest()
    buffer = memoryview(bytearray(2**20))
    with path.open("rb", buffering=0) as file:
        for name in sorted(header.tensors):
            tensor = header.tensors[name]
            total.begin_tensor(tensor)
            file.seek(first + tensor.start)
            for left in range(tensor.n_bytes, 0, -len(buffer)):
                piece = buffer[: min(left, len(buffer))]
                if file.readinto(piece) != len(piece):
                    raise ValueError(f"{path.name} ends within tensor {name!r}")
                total.update(piece)
    return total.hexdigest()


def _header_of(path: Path) -> tuple[Header, int]:
    with path.open("rb") as file:
        content = first_bytes(file)
    return parse_header(content), len(content)


def mapped_tensors(path: Path) -> dict[str, AnyArray]:
    """Every tensor of a file, over memory into which its pages come as they are read; a change stays in memory."""
    header, first = _header_of(path)
    content = np.memmap(path, dtype=np.uint8, mode="c")
    return {
        name: content[first + one.start : first + one.end].view(one.numpy_type).reshape(one.shape)
        for name, one in header.tensors.items()
    }


def header_of(path: Path) -> Header:
    """What a file says of its tensors. Raises OSError, HeaderError."""
    return _header_of(path)[0]


def offset_of(path: Path) -> int:
    """The place of the first byte of a file's tensors. Raises OSError, HeaderError."""
    return _header_of(path)[1]
