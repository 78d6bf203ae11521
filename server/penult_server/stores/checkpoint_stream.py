"""A stored checkpoint read from its first byte to its last, a piece at a time, and verified as the bytes pass."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from penult_proto.limits import CHUNK_BYTES
from penult_proto.safetensors import WEIGHTS_FILE, Header, HeaderError, WeightsDigest, first_bytes, parse_header
from penult_server.errors import ServiceError
from penult_server.stores.checkpoints import CheckpointManifest, checkpoint_files, corrupt, read_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Consecutive bytes."""

    name: str
    """A file, or "model.safetensors/" and the name of a tensor."""
    offset: int
    """Place of the first byte in that file or tensor."""
    content: bytes


class CheckpointStream:
    """The files of a checkpoint: the small ones, then the tensors in the order of their names.

    Raises ServiceError: UNKNOWN_CHECKPOINT; STORE_CORRUPT when a file is missing or the header is damaged.
    """

    def __init__(self, root: Path, digest: str) -> None:
        self.manifest: CheckpointManifest = read_manifest(root, digest)
        self._directory = checkpoint_files(root, digest)
        self.sizes: dict[str, int] = {name: self._size(name) for name in self.manifest.files}
        """Bytes of the small files."""
        self._size(WEIGHTS_FILE)
        with self._opened(WEIGHTS_FILE) as file:
            self.weights_header: bytes = first_bytes(file)
        self._header = self._parsed()

    def pieces(self, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Piece]:
        """All bytes but those of the weights' header. An array of none has no piece.

        Raises ServiceError: STORE_CORRUPT when what has passed is not what was stored; UNKNOWN_CHECKPOINT when it was
        deleted meanwhile.
        """
        for name, digest in self.manifest.files.items():
            yield from self._file(name, digest, chunk_bytes)
        yield from self._tensors(chunk_bytes)

    def verify(self) -> None:
        """Read everything. Raises ServiceError (STORE_CORRUPT)."""
        for _ in self.pieces():
            pass

    def _file(self, name: str, digest: str, chunk_bytes: int) -> Iterator[Piece]:
        total = hashlib.sha256()
        with self._opened(name) as file:
            offset = 0
            while content := file.read(chunk_bytes):
                total.update(content)
                yield Piece(name=name, offset=offset, content=content)
                offset += len(content)
        if total.hexdigest() != digest:
            raise self._corrupt(name, f"its digest is {total.hexdigest()}, not {digest}")

    def _tensors(self, chunk_bytes: int) -> Iterator[Piece]:
        total = WeightsDigest()
        with self._opened(WEIGHTS_FILE) as file:
            for name in sorted(self._header.tensors):
                tensor = self._header.tensors[name]
                total.begin_tensor(tensor)
                file.seek(len(self.weights_header) + tensor.start)
                for offset in range(0, tensor.n_bytes, chunk_bytes):
                    content = file.read(min(chunk_bytes, tensor.n_bytes - offset))
                    total.update(content)
                    yield Piece(name=f"{WEIGHTS_FILE}/{name}", offset=offset, content=content)
        if total.hexdigest() != self.manifest.weights_digest:
            raise self._corrupt(WEIGHTS_FILE, f"its tensors have the digest {total.hexdigest()}")

    def _parsed(self) -> Header:
        try:
            header = parse_header(self.weights_header)
        except HeaderError as error:
            raise self._corrupt(WEIGHTS_FILE, str(error)) from error
        expected = len(self.weights_header) + header.data_bytes
        if self._size(WEIGHTS_FILE) != expected:
            raise self._corrupt(WEIGHTS_FILE, f"it has {self._size(WEIGHTS_FILE)} bytes, not {expected}")
        return header

    def _size(self, name: str) -> int:
        try:
            return (self._directory / name).stat().st_size
        except OSError as error:
            raise self._corrupt(name, f"it cannot be read: {error}") from error

    def _opened(self, name: str) -> IO[bytes]:
        try:
            return (self._directory / name).open("rb")
        except OSError as error:
            raise self._corrupt(name, f"it cannot be read: {error}") from error

    def _corrupt(self, name: str, what: str) -> ServiceError:
        return corrupt(self.manifest.digest, self._directory / name, what)
