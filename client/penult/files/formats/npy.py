"""NumPy's .npy: headers written and read without a pickle, one file mapped into memory, a directory of several."""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from penult.files.rows import Rows, in_memory
from penult.files.source import DESCRIPTION, Source, no_objects, refused

_LONGEST_HEADER = 10_000
"""Characters; a header of numbers takes about a hundred."""


class Header(NamedTuple):
    """What an .npy header says."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]

    @property
    def n_bytes(self) -> int:
        """Bytes of the array."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def write_header(file: Any, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
    """Write the header of an array whose bytes follow in row-major order."""
    described = {"descr": npy_format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(map(int, shape))}
    npy_format.write_array_header_1_0(file, described)


def read_header(file: Any, place: Path, name: str) -> Header:
    """The header of the array that follows; only literals are evaluated.

    Raises `InvalidRequest` for arrays of objects and records, and ValueError where there is no header.
    """
    version = npy_format.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = npy_format.read_array_header_1_0(file, max_header_size=_LONGEST_HEADER)
    elif version == (2, 0):
        shape, is_fortran, dtype = npy_format.read_array_header_2_0(file, max_header_size=_LONGEST_HEADER)
    else:
        raise ValueError(f"the array {name!r} is of version {version} of .npy, which arrays of numbers do not need")
    if dtype.hasobject:
        raise no_objects(place, name)
    if dtype.kind not in "biufU" or min(shape, default=0) < 0:
        raise refused(place, f"the array {name!r} is of {dtype}", "expected numbers, bools or text")
    return Header(tuple(int(side) for side in shape), bool(is_fortran), dtype)


def mapped(file: Path, name: str = "") -> Rows:
    """The array of one .npy file, mapped into memory. Raises `InvalidRequest`, or ValueError for half a file."""
    with file.open("rb") as opened_file:
        header = read_header(opened_file, file, name or file.stem)
        offset = opened_file.tell()
    size = file.stat().st_size - offset
    if size != header.n_bytes:
        raise ValueError(f"{file.name} has {size} bytes of data, its header announces {header.n_bytes}")
    if not header.n_bytes:
        return in_memory(np.empty(header.shape, header.dtype))
    order = "F" if header.is_fortran else "C"
    return in_memory(np.memmap(file, header.dtype, "r", offset, header.shape, order))


@contextmanager
def opened(place: Path) -> Generator[Source]:
    """The one array of a file, called "features", or the arrays of a directory by the names of their files."""
    if place.is_file():
        yield Source(place=place, arrays={"features": mapped(place, "features")})
        return
    description = place / DESCRIPTION
    yield Source(
        place=place,
        arrays={file.stem: mapped(file) for file in sorted(place.glob("*.npy"))},
        description=json.loads(description.read_text(encoding="utf-8")) if description.exists() else None,
    )


class NpyDirectory:
    """Writes arrays, one after the other, to files of a directory that is there."""

    def __init__(self, directory: Path, description: Mapping[str, Any]) -> None:
        self._directory = directory
        self._file: BinaryIO | None = None
        (directory / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")

    def start(self, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
        """Begin an array."""
        self.close()
        self._file = (self._directory / f"{name}.npy").open("wb")
        write_header(self._file, dtype, shape)

    def write(self, data: bytes) -> None:
        """The next bytes of the array."""
        assert self._file is not None
        self._file.write(data)

    def close(self) -> None:
        """Close what is open. May be called again."""
        if self._file is not None:
            self._file.close()
            self._file = None
