"""The weights of a stored checkpoint, read in slices into one buffer, and verified as they pass for the first time."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from penult_proto.safetensors import WEIGHTS_FILE, HeaderError, WeightsDigest, first_bytes, parse_header
from penult_server.stores.checkpoints import CheckpointManifest, checkpoint_files, corrupt, read_manifest

AnyArray = NDArray[Any]


class ParentWeights:
    """An open file of weights. What `read` returns is overwritten by the call after the next one.

    One call at a time, from any thread: so a slice is read, and counted into the digest, while the last one is used.

    Raises ServiceError: UNKNOWN_CHECKPOINT; STORE_CORRUPT for a file that is missing, ends early or was altered.
    """

    def __init__(
        self, root: Path, digest: str, n_entries: int, rows: Mapping[str, NDArray[np.int64]] | None = None
    ) -> None:
        """`n_entries`: most entries of a slice; `rows`: of tensors whose rows are taken in another order."""
        self.manifest: CheckpointManifest = read_manifest(root, digest)
        self._path = checkpoint_files(root, digest) / WEIGHTS_FILE
        try:
            self._file = self._path.open("rb", buffering=0)
            content = first_bytes(self._file)
            self.header = parse_header(content)
        except (OSError, HeaderError) as error:
            raise corrupt(digest, self._path, f"it cannot be read: {error}") from error
        self._first = len(content)
        self._buffers = [np.empty(n_entries * 8, dtype=np.uint8) for _ in range(2)]
        """The one that is filled next is the last."""
        self._total = WeightsDigest()
        self._left = sorted(self.header.tensors, reverse=True)
        """Tensors that are not verified, the next one last."""
        self._place = 0
        """Bytes of the next one that are."""
        self._rows = dict(rows or {})
        self._reordered: dict[str, AnyArray] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, name: str, start: int, stop: int) -> AnyArray:
        """(stop - start,) entries of a flat tensor, in the type they are stored in."""
        if name in self._rows:
            return self._in_order(name)[start:stop]
        return self._read(name, start, stop)

    def verify(self) -> None:
        """Read what has not passed, and compare. Raises ServiceError (STORE_CORRUPT)."""
        self._verify_before("")
        if self._total.hexdigest() != self.manifest.weights_digest:
            raise self._corrupt(f"its tensors have the digest {self._total.hexdigest()}")

    def _in_order(self, name: str) -> AnyArray:
        if name not in self._reordered:
            shape = self.header.tensors[name].shape
            whole = np.concatenate([one.copy() for one in self._slices(name)])
            self._reordered[name] = whole.reshape(shape)[self._rows[name]].reshape(-1)
        return self._reordered[name]

    def _slices(self, name: str) -> "list[AnyArray]":
        n_entries = self.n_entries(name)
        step = len(self._buffers[0]) // 8
        return [self._read(name, at, min(at + step, n_entries)).copy() for at in range(0, max(1, n_entries), step)]

    def n_entries(self, name: str) -> int:
        """Entries of a tensor."""
        tensor = self.header.tensors[name]
        return tensor.n_bytes // np.dtype(tensor.numpy_type).itemsize

    def _read(self, name: str, start: int, stop: int) -> AnyArray:
        tensor = self.header.tensors[name]
        kind = np.dtype(tensor.numpy_type)
        if self._left and self._left[-1] != name and name in self._left:
            self._verify_before(name)
        buffer = self._buffers.pop()
        self._buffers.insert(0, buffer)
        found = buffer[: (stop - start) * kind.itemsize]
        self._fill(self._first + tensor.start + start * kind.itemsize, found)
        self._pass(name, start * kind.itemsize, found)
        return found.view(kind)

    def _pass(self, name: str, place: int, content: NDArray[np.uint8]) -> None:
        """Count bytes of the next tensor into the digest; those that have passed before are left alone."""
        if not self._left or self._left[-1] != name or place != self._place:
            return
        tensor = self.header.tensors[name]
        if self._place == 0:
            self._total.begin_tensor(tensor)
        self._total.update(content.data)
        self._place += content.size
        if self._place == tensor.n_bytes:
            self._left.pop()
            self._place = 0

    def _verify_before(self, name: str) -> None:
        """Let all tensors pass that come before one; with an empty name all that are left."""
        while self._left and self._left[-1] != name:
            following = self._left[-1]
            size = np.dtype(self.header.tensors[following].numpy_type).itemsize
            first, step = self._place // size, len(self._buffers[0]) // 8
            n_entries = self.n_entries(following)
            for at in range(first, max(first + 1, n_entries), step):
                self._read(following, at, min(at + step, n_entries))

    def _fill(self, offset: int, out: NDArray[np.uint8]) -> None:
        self._file.seek(offset)
        view, done = out.data, 0
        while done < len(view):
            try:
                n_read = self._file.readinto(view[done:])
            except OSError as error:
                raise self._corrupt(f"it cannot be read: {error}") from error
            if not n_read:
                raise self._corrupt("it ends early")
            done += n_read

    def _corrupt(self, what: str) -> Exception:
        return corrupt(self.manifest.digest, self._path, what)
