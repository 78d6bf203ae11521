"""NumPy's .npz: a zip of .npy members, streamed in both directions."""

import json
import tempfile
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from penult.files.formats.npy import Header, read_header, write_header
from penult.files.rows import BLOCK_BYTES, AnyArray, Rows, in_memory, rows_at_once
from penult.files.source import DESCRIPTION, Source, refused

MOST_DESCRIPTION = 64 * 2**20
"""Bytes of a description that are read."""
LARGE = 2**30
"""Bytes from which on a member that was packed beyond `MOST_PACKED` is refused."""
MOST_PACKED = 100
"""How many times smaller than its content a large member may be; floats reach 2."""


@contextmanager
def opened(place: Path) -> Generator[Source]:
    """The members of the zip, read as streams; one in column-major order is unpacked to a temporary file first."""
    with _zip(place) as archive:
        names = [info.filename for info in archive.infolist()]
        members = {name.removesuffix(".npy"): name for name in names if name.endswith(".npy")}
        if len(members) < sum(name.endswith(".npy") for name in names) or not members:
            raise refused(place, "the zip holds no .npy members, or one of them twice", "write it with np.savez")
        yield Source(
            place=place,
            arrays={name: _member(archive, place, name, member) for name, member in members.items()},
            description=_description(archive) if DESCRIPTION in names else None,
        )


@contextmanager
def _zip(place: Path) -> Generator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(place) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"the zip is broken: {error}") from error


def _description(archive: zipfile.ZipFile) -> Mapping[str, Any]:
    with archive.open(DESCRIPTION) as file:
        content = file.read(MOST_DESCRIPTION + 1)
    if len(content) > MOST_DESCRIPTION:
        raise ValueError(f"{DESCRIPTION} is larger than {MOST_DESCRIPTION} bytes")
    return json.loads(content)


def _member(archive: zipfile.ZipFile, place: Path, name: str, member: str) -> Rows:
    info = archive.getinfo(member)
    if info.file_size > LARGE and info.file_size > MOST_PACKED * max(1, info.compress_size):
        raise refused(
            place,
            f"the array {name!r} unpacks to {info.file_size} bytes from {info.compress_size}, as a zip bomb does",
            "where this is meant, unpack it yourself and save it with np.savez",
        )
    with archive.open(member) as file:
        header = read_header(file, place, name)
        start = file.tell()
    if info.file_size != start + header.n_bytes:
        raise ValueError(
            f"the array {name!r} has {info.file_size - start} bytes of data, its header announces {header.n_bytes}"
        )
    if header.is_fortran and len(header.shape) > 1:
        return Rows(header.dtype, header.shape, lambda: _unpacked(archive, member, header))
    return Rows(header.dtype, header.shape, lambda: _streamed(archive, place, name, member))


def _streamed(archive: zipfile.ZipFile, place: Path, name: str, member: str) -> Iterator[AnyArray]:
    with archive.open(member) as file:
        header = read_header(file, place, name)
        if not header.shape:
            yield np.frombuffer(_exactly(file, header.dtype.itemsize), header.dtype).reshape(())
            return
        step = rows_at_once(header.shape, header.dtype)
        for at in range(0, header.shape[0], step):
            shape = (min(step, header.shape[0] - at), *header.shape[1:])
            content = _exactly(file, Header(shape, False, header.dtype).n_bytes)
            yield np.frombuffer(content, header.dtype).reshape(shape)
        # Reading to the end compares the checksum.
        file.read(1)


def _unpacked(archive: zipfile.ZipFile, member: str, header: Header) -> Iterator[AnyArray]:
    """Rows of a member in column-major order, of which every row is scattered over the whole."""
    with archive.open(member) as file, tempfile.TemporaryFile() as unpacked:
        file.seek(0)
        while content := file.read(BLOCK_BYTES):
            unpacked.write(content)
        unpacked.flush()
        offset = unpacked.tell() - header.n_bytes
        yield from in_memory(np.memmap(unpacked, header.dtype, "r", offset, header.shape, "F")).blocks()


def _exactly(file: IO[bytes], n_bytes: int) -> bytes:
    content = file.read(n_bytes)
    if len(content) != n_bytes:
        raise ValueError(f"the data end {n_bytes - len(content)} bytes early")
    return content


class NpzWriter:
    """Writes arrays, one after the other, as members that are not compressed; of any size (zip64)."""

    def __init__(self, path: Path, description: Mapping[str, Any] | bytes, description_name: str = DESCRIPTION) -> None:
        self._archive = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._member: IO[bytes] | None = None
        content = description if isinstance(description, bytes) else json.dumps(description, indent=1).encode()
        self._archive.writestr(_info(description_name), content)

    def start(self, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
        """Begin an array."""
        self._end_member()
        self._member = self._archive.open(_info(f"{name}.npy"), "w", force_zip64=True)
        write_header(self._member, dtype, shape)

    def write(self, data: bytes) -> None:
        """The next bytes of the array."""
        assert self._member is not None
        self._member.write(data)

    def close(self) -> None:
        """Write the list of members. May be called again."""
        self._end_member()
        self._archive.close()

    def _end_member(self) -> None:
        if self._member is not None:
            self._member.close()
            self._member = None


def _info(name: str) -> zipfile.ZipInfo:
    """A member whose time is fixed, so that equal content makes equal files."""
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
