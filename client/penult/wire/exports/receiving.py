"""The files of a checkpoint, written as their bytes come: no more than a piece of one is held at a time."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from penult.errors import ServerBug
from penult_proto.safetensors import (
    WEIGHTS_FILE,
    Header,
    HeaderError,
    Tensor,
    WeightsDigest,
    header_bytes,
    parse_header,
)
from penult_proto.v1 import arrays_pb2, checkpoints_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What the written weights have otherwise than the stored ones."""

    tensors: Mapping[str, bytes]
    """Tensors of the same type and number of bytes, by their names."""
    shapes: Mapping[str, Sequence[int]]
    """Other shapes of tensors whose bytes stay."""
    metadata: Mapping[str, str] | None
    """Metadata of the file; None for those that it has."""


def announced_bytes(header: checkpoints_pb2.CheckpointHeader) -> int:
    """Bytes that will come. Raises `ServerBug`."""
    return sum(one.size for one in header.files) + sum(one.n_bytes for one in _parsed(header).tensors.values())


def write_files(
    header: checkpoints_pb2.CheckpointHeader,
    chunks: Iterator[arrays_pb2.ArrayChunk],
    directory: Path,
    *,
    weights_digest: str,
    changes: Changes,
) -> str:
    """Write all files into a directory; the digest of the weights that are written.

    Both digests are of the stored form, in which a head is two-dimensional.

    Raises
    ------
    ServerBug : the bytes that came are not those that were announced. What the call itself raises comes first.
    """
    stream = _Pieces(chunks)
    found = {one.name: _write_file(one, stream, directory) for one in header.files}
    weights = _parsed(header)
    received, written = _write_weights(weights, header.weights_header, stream, directory / WEIGHTS_FILE, changes)
    stream.expect_end()
    for one in header.files:
        if found[one.name] != one.sha256:
            raise ServerBug(f"the file {one.name} changed on its way: its digest is {found[one.name]}")
    if received != weights_digest:
        raise ServerBug(f"the weights changed on their way: their digest is {received}")
    return written


def _parsed(header: checkpoints_pb2.CheckpointHeader) -> Header:
    try:
        return parse_header(header.weights_header)
    except HeaderError as error:
        raise ServerBug(f"the server sent a header of weights that is none: {error}") from None


def _write_file(stored: checkpoints_pb2.StoredFile, stream: "_Pieces", directory: Path) -> str:
    """Write one small file; the digest of what came."""
    if Path(stored.name).name != stored.name or stored.name in ("", ".", "..", WEIGHTS_FILE):
        raise ServerBug(f"the server sent a file called {stored.name!r}")
    total = hashlib.sha256()
    with (directory / stored.name).open("wb") as file:
        for content in stream.of(stored.name, stored.size):
            total.update(content)
            file.write(content)
    return total.hexdigest()


def _write_weights(
    weights: Header, stored_header: bytes, stream: "_Pieces", path: Path, changes: Changes
) -> tuple[str, str]:
    """Write the tensors; the digests of those that came, and of those that are written."""
    first = stored_header
    if changes.shapes or changes.metadata is not None:
        metadata = weights.metadata if changes.metadata is None else changes.metadata
        first = header_bytes(weights, shapes=changes.shapes, metadata=metadata)
    received, written = WeightsDigest(), WeightsDigest()
    with path.open("wb") as file:
        file.write(first)
        for name in sorted(weights.tensors):
            tensor = weights.tensors[name]
            received.begin_tensor(tensor)
            written.begin_tensor(tensor)
            file.seek(len(first) + tensor.start)
            replacement = changes.tensors.get(name)
            for content in stream.of(f"{WEIGHTS_FILE}/{name}", tensor.n_bytes):
                received.update(content)
                if replacement is None:
                    written.update(content)
                    file.write(content)
            if replacement is not None:
                _check_size(tensor, replacement)
                written.update(replacement)
                file.write(replacement)
    return received.hexdigest(), written.hexdigest()


def _check_size(tensor: Tensor, replacement: bytes) -> None:
    if len(replacement) != tensor.n_bytes:
        raise ServerBug(f"tensor {tensor.name!r} has {tensor.n_bytes} bytes, its head {len(replacement)}")


class _Pieces:
    """The pieces of a stream, taken in the order in which they were announced."""

    def __init__(self, chunks: Iterator[arrays_pb2.ArrayChunk]) -> None:
        self._chunks = chunks

    def of(self, name: str, n_bytes: int) -> Iterator[bytes]:
        """The bytes of one file or tensor. Raises ServerBug for a gap, an overlap or another's piece."""
        place = 0
        while place < n_bytes:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise ServerBug(f"the server ended after {place} of {n_bytes} bytes of {name!r}")
            if chunk.name != name or chunk.offset != place or not chunk.data or place + len(chunk.data) > n_bytes:
                raise ServerBug(
                    f"byte {chunk.offset} of {chunk.name!r} came where byte {place} of the {n_bytes} of {name!r} was "
                    "next"
                )
            place += len(chunk.data)
            yield chunk.data

    def expect_end(self) -> None:
        """Raises ServerBug when more comes; what the server says last, such as that a file is damaged, is raised."""
        chunk = next(self._chunks, None)
        if chunk is not None:
            raise ServerBug(f"the server sent more of {chunk.name!r} than it announced")
