"""Features that stay on the device between queries, within a memory budget: whole sets, or some rows of larger ones."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.l2.eigenbasis import Eigenbases
from penult_proto.errors import ErrorKind
from penult_server.compute.backend import Backend
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.compute.rows.reading import read_ahead
from penult_server.errors import ServiceError
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.reading import StoredFeatures


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labels of one feature set, in memory."""

    manifest: FeatureManifest
    y: NDArray[np.int64]
    """(N,) on the host, like `g`."""
    g: NDArray[np.int64]
    masks: NDArray[np.bool_]
    """(N, M) on the host; M is 0 for a set without masks."""


@dataclass(frozen=True, slots=True)
class Resident(Labelled):
    """One feature set in memory, or some rows of one: arrays are then of these alone, the manifest of the set."""

    features: Any
    """(N, D) on the device, in the stored dtype."""
    bases: Eigenbases = field(default_factory=Eigenbases)
    """Eigenvectors that refits have computed, kept for later ones."""

    @property
    def nbytes(self) -> int:
        """Bytes it occupies."""
        return int(self.features.nbytes) + self.y.nbytes + self.g.nbytes + self.masks.nbytes + self.bases.nbytes


class ResidentFeatures:
    """Loads feature sets when they are asked for and drops the least recently used ones.

    Sets are keyed by digest, so what is resident cannot go stale.
    """

    def __init__(
        self,
        root: Path,
        backend: Backend,
        budget: int,
        steady: Callable[[], AbstractContextManager[None]] = nullcontext,
        on_change: Callable[[Sequence[str]], None] = lambda digests: None,
    ) -> None:
        """In a block of `steady`, `check` gives nobody else a turn: who had it might wait for the set that is read.

        `on_change` is told the digests of all sets that have rows in memory when there is another one, or one less.
        """
        self._root = root
        self._on_change = on_change
        self._steady = steady
        self._backend = backend
        self.budget = budget
        """Bytes that all sets together may occupy."""
        self.evictions = 0
        """Sets that made way for others."""
        self._sets: OrderedDict[str, Resident] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, check: Callable[[], None], progress: Reporter = SILENT) -> Resident:
        """The set, from memory or from the store; `check` is called between chunks and may raise.

        Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT, OUT_OF_MEMORY.
        """
        with self._steady(), self._lock:
            if digest in self._sets:
                self._sets.move_to_end(digest)
                return self._sets[digest]
            stored = StoredFeatures(self._root, digest)
            self._make_way(stored.manifest, stored.manifest.n_examples)
            resident = self._load(stored, check, progress)
            self._sets[digest] = resident
            self._tell()
            return resident

    def gather(
        self, digest: str, rows: NDArray[np.int64], check: Callable[[], None], progress: Reporter = SILENT
    ) -> Resident:
        """The rows at ascending positions, by one pass over the store; kept as sets are, so that it is not repeated.

        Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT, OUT_OF_MEMORY.
        """
        key = f"{digest} {hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()}"
        with self._steady(), self._lock:
            if key not in self._sets:
                stored = StoredFeatures(self._root, digest)
                self._make_way(stored.manifest, rows.size)
                self._sets[key] = self._gathered(stored, rows, check, progress)
                self._tell()
            self._sets.move_to_end(key)
            return self._sets[key]

    def labels(self, digest: str) -> Labelled:
        """Labels of a set of any size. Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT."""
        return self._sets.get(digest) or _labels(StoredFeatures(self._root, digest))

    @property
    def nbytes(self) -> int:
        """Bytes of the sets in memory. Not locked: who asks must not wait for a set that is being read."""
        return sum(one.nbytes for one in tuple(self._sets.values()))

    def has(self, digest: str) -> bool:
        """Whether the set is in memory already."""
        return digest in self._sets

    def drop(self, digest: str) -> None:
        """Let a set go, and rows of it; who computes with it still has it."""
        with self._lock:
            gone = [key for key in self._sets if key.startswith(digest)]
            for key in gone:
                del self._sets[key]
            if gone:
                self._tell()

    def _tell(self) -> None:
        self._on_change(list(dict.fromkeys(key.partition(" ")[0] for key in self._sets)))

    def fits(self, manifest: FeatureManifest) -> bool:
        """Whether the set may be resident at all."""
        return bytes_of(manifest, manifest.n_examples) <= self.budget

    def most_rows(self, manifest: FeatureManifest) -> int:
        """How many rows of a set may be in memory."""
        return self.budget // bytes_of(manifest, 1)

    def check_rows(self, manifest: FeatureManifest, n_rows: int) -> None:
        """Raise ServiceError (OUT_OF_MEMORY) where so many rows of a set, or all of them, may not be in memory."""
        needed = bytes_of(manifest, n_rows)
        if needed <= self.budget:
            return
        if n_rows == manifest.n_examples:
            what, other = f"feature set {manifest.digest[:12]} needs", ""
        else:
            what = f"{n_rows:,} of the {manifest.n_examples:,} rows of feature set {manifest.digest[:12]} need"
            other = "ask for fewer rows together (rows=..., another balance=...), or "
        raise ServiceError(
            ErrorKind.OUT_OF_MEMORY,
            f"{what} {needed / 2**20:,.0f} MiB in memory, the server keeps {self.budget / 2**20:,.0f} MiB; "
            f"{other}start it with a larger --resident-bytes",
            needed=needed,
            budget=self.budget,
        )

    def _make_way(self, manifest: FeatureManifest, n_rows: int) -> None:
        """Let go what was used least recently, until so many rows fit."""
        self.check_rows(manifest, n_rows)
        needed = bytes_of(manifest, n_rows)
        while self._sets and sum(one.nbytes for one in self._sets.values()) + needed > self.budget:
            self._sets.popitem(last=False)
            self.evictions += 1

    def _load(self, stored: StoredFeatures, check: Callable[[], None], progress: Reporter) -> Resident:
        manifest = stored.manifest
        features = self._backend.xp.empty((manifest.n_examples, manifest.n_features), dtype=manifest.dtype)
        report = progress.stage(f"reading {manifest.digest[:8]}", "rows")
        for n_read in self._read_into(features, stored):
            check()
            report(n_read, manifest.n_examples)
        labels = _labels(stored)
        return Resident(manifest, labels.y, labels.g, labels.masks, features)

    def _gathered(
        self, stored: StoredFeatures, rows: NDArray[np.int64], check: Callable[[], None], progress: Reporter
    ) -> Resident:
        manifest, step = stored.manifest, stored.array("features").chunks[0]
        features = self._backend.xp.empty((rows.size, manifest.n_features), dtype=manifest.dtype)
        add = progress.each(f"gathering {manifest.digest[:8]}", "rows", rows.size)
        chunk_of = rows // step
        wanted = np.unique(chunk_of)
        ends = np.searchsorted(chunk_of, wanted, side="right").tolist()
        blocks = read_ahead(stored.block("features", int(index)) for index in wanted)
        for index, first, end, block in zip(wanted.tolist(), [0, *ends[:-1]], ends, blocks, strict=True):
            check()
            features[first:end] = self._backend.to_device(block[rows[first:end] - index * step])
            add(end - first)
        labels = _labels(stored)
        return Resident(manifest, labels.y[rows], labels.g[rows], labels.masks[rows], features)

    def _read_into(self, features: Any, stored: StoredFeatures) -> Iterator[int]:
        """Fill (N, D) on the device; the rows read so far, after every chunk."""
        if self._backend.name == "numpy":
            yield from stored.fill("features", features)
            return
        first = 0
        for block in stored.blocks("features"):
            features[first : first + len(block)] = self._backend.to_device(block)
            first += len(block)
            yield first


def _labels(stored: StoredFeatures) -> Labelled:
    y, a = stored.read("y"), stored.read("a")
    masks = stored.read("masks") if stored.manifest.labels.masks else np.zeros((len(y), 0), dtype=np.bool_)
    return Labelled(stored.manifest, y, y * stored.manifest.labels.n_attributes + a, masks)


def bytes_of(manifest: FeatureManifest, n_rows: int) -> int:
    """Bytes of the features of some rows of a set, of their two labels and of their masks."""
    return n_rows * (manifest.n_features * np.dtype(manifest.dtype).itemsize + 16 + len(manifest.labels.masks))
