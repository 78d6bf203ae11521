"""Reading feature sets: every byte is checked against the manifest before anyone sees it."""

# Zarr's arrays are generic over metadata that it does not name.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownParameterType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeArgument=false

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from penult_kernels.moments.moments import Moments
from penult_kernels.moments.packing import unpack_symmetric
from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.manifest import FeatureManifest, read_manifest
from penult_server.stores.places.opening import files_of
from penult_server.stores.places.store import AlteredError


class VerifiedStore(LocalStore):
    """A read-only store that compares every file with the digest it was committed with, wherever it lies.

    Zarr takes a missing chunk for one full of the fill value; here it is an error, like an altered one.
    """

    def __init__(self, root: Path, digests: Mapping[str, str], label: str) -> None:
        super().__init__(root, read_only=True)
        self._files = files_of(root)
        self._digests = digests
        self._label = label

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The whole file `key`; None where the set never had one."""
        expected = self._digests.get(key)
        if expected is None:
            return None
        content = await asyncio.to_thread(self._read, key, expected)
        return (prototype or default_buffer_prototype()).buffer.from_bytes(content)

    def read_chunk(self, key: str, out: NDArray[np.uint8]) -> None:
        """Fill `out` with the file `key`, without Zarr's copy of it. Raises ServiceError (STORE_CORRUPT)."""
        try:
            self._files.fill(key, out, self._digests.get(key, ""))
        except (FileNotFoundError, AlteredError) as error:
            raise self._damaged(key, missing=isinstance(error, FileNotFoundError)) from error

    def _read(self, key: str, expected: str) -> bytes:
        try:
            return self._files.read(key, expected)
        except (FileNotFoundError, AlteredError) as error:
            raise self._damaged(key, missing=isinstance(error, FileNotFoundError)) from error

    def _damaged(self, key: str, *, missing: bool) -> ServiceError:
        if missing and not self.root.exists():
            return ServiceError(
                ErrorKind.UNKNOWN_FEATURE_SET,
                f"feature set {self._label[:12]} was deleted while it was being read",
                digest=self._label,
            )
        return ServiceError(
            ErrorKind.STORE_CORRUPT,
            f"feature set {self._label}: file {key} is {'missing' if missing else 'altered'}; "
            "extract or upload the set again",
            digest=self._label,
            file=key,
        )


class StoredFeatures:
    """A committed feature set, opened for reading.

    Raises ServiceError on opening and on every read: UNKNOWN_FEATURE_SET, STORE_CORRUPT.
    """

    def __init__(self, root: Path, digest: str) -> None:
        self.directory = root / "features" / digest
        self.manifest: FeatureManifest = read_manifest(self.directory)
        self._store = VerifiedStore(self.directory, self.manifest.files, digest)
        self._group = zarr.open_group(self._store, mode="r", zarr_format=3)

    @property
    def array_names(self) -> list[str]:
        """Arrays that a reader may ask for."""
        names = ["features", "y", "a", "row_id"]
        names += ["logits"] if self.manifest.n_logits else []
        names += ["attributes"] if self.manifest.attributes else []
        names += ["masks"] if self.manifest.labels.masks else []
        return names + (["head_weight", "head_bias"] if self.manifest.has_head else [])

    def array(self, name: str) -> "zarr.Array[Any]":
        """The Zarr array `name`; slices of it are read chunk by chunk."""
        array = self._group[name]
        if not isinstance(array, zarr.Array):
            raise ServiceError(ErrorKind.STORE_CORRUPT, f"{name} of {self.manifest.digest} is not an array")
        return array

    def read(self, name: str) -> NDArray[Any]:
        """All of the array `name`."""
        array = self.array(name)
        whole = np.empty(array.shape, dtype=array.dtype.newbyteorder("<"))
        for _ in self.fill(name, whole):
            pass
        return whole

    def fill(self, name: str, out: NDArray[Any]) -> Iterator[int]:
        """Read all of the array `name` into `out`, of its shape and type; the rows read so far, after every chunk.

        Chunk by chunk, not all at once: an altered chunk then ends the one read that met it. Whole chunks are read to
        their place, so that nothing is held twice.
        """
        n_rows, in_chunk = self.array(name).shape[0], self.array(name).chunks[0]
        for index, first in enumerate(range(0, n_rows, in_chunk)):
            place = out[first : first + in_chunk]
            if len(place) == in_chunk:
                self.block(name, index, place)
            else:
                place[...] = self.block(name, index)
            yield first + len(place)

    def blocks(self, name: str) -> Iterator[NDArray[Any]]:
        """The array `name` in blocks of whole chunks, in order.

        Chunks hold whole rows as they are in memory, uncompressed, so that a chunk's file is a block.
        """
        return (self.block(name, index) for index in range(self.n_blocks(name)))

    def n_blocks(self, name: str) -> int:
        """Blocks that the array `name` has."""
        array = self.array(name)
        return -(-array.shape[0] // array.chunks[0])

    def block(self, name: str, index: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Block `index`, rows index * chunks[0] and on, of the array `name`.

        `out`, of `new_block(name)`, is filled and viewed: a pass that reads every block into the same memory saves
        the kernel from clearing fresh pages for each, which takes as long as the reading.
        """
        array = self.array(name)
        chunk = self.new_block(name) if out is None else out
        key = array.metadata.encode_chunk_key((index, *(0 for _ in array.shape[1:])))
        self._store.read_chunk(f"{name}/{key}", chunk.reshape(-1).view(np.uint8))
        # The last chunk's file is as long as the others, beyond its rows too.
        return chunk[: array.shape[0] - index * array.chunks[0]]

    def new_block(self, name: str) -> NDArray[Any]:
        """Memory for a block of the array `name`."""
        array = self.array(name)
        return np.empty(array.chunks, dtype=array.dtype.newbyteorder("<"))

    def moments(self, groups: Sequence[int] | None = None) -> Moments:
        """The moments of `groups`, or of all, that were folded in when the set was written."""
        chosen = list(range(self.manifest.labels.n_groups)) if groups is None else list(groups)
        count = self.read("moments.zarr/count")[chosen]
        d = self.manifest.n_features
        m2 = np.empty((len(chosen), d, d))
        packed = self.array("moments.zarr/m2_upper")
        for place, group in enumerate(chosen):
            m2[place] = unpack_symmetric(np.asarray(packed[group]), d, self._tile())
        return Moments(count=count, weight=count.astype(np.float64), mean=self.read("moments.zarr/mean")[chosen], m2=m2)

    def _tile(self) -> int:
        """Rows in a strip of the packed triangles; format 1 kept single rows."""
        return cast("int", self._group["moments.zarr"].attrs.get("tile", 1))
