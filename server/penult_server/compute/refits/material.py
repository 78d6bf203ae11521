"""Inputs of refits: features in memory or rows of the store, and the logits, heads and scalers of their sets."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels import budget
from penult_kernels.arrays import blocks
from penult_kernels.linear.blocks.scaling import Scaling, fitted_scaling, scaling_of_tiles
from penult_kernels.linear.solve import Head, Scaler
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_kernels.rows import ArrayRows, RowSource
from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.class_names import Classes, Match, match_classes
from penult_server.compute.backend import Backend
from penult_server.compute.refits.named_heads import NamedHead, classes_of, head_from_proto, host_head
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.compute.rows.grouped import Grouped, grouped
from penult_server.compute.rows.reading import read_ahead
from penult_server.compute.rows.resident import Labelled, Resident, ResidentFeatures
from penult_server.compute.rows.stored_rows import StoredRows
from penult_server.errors import ServiceError
from penult_server.stores.checkpoints import read_head, read_manifest
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.reading import StoredFeatures

MOST_KEPT = 32
"""Logits, heads, scalers and row ids that are kept at most; they are small compared with the features."""
MOST_MANIFESTS = 1024


class RefitMaterial:
    """The inputs that a refit may need of a feature set, read once. Used by one thread at a time."""

    def __init__(
        self, root: Path, backend: Backend, residents: ResidentFeatures, pause: Callable[[], None] = lambda: None
    ) -> None:
        self._root = root
        self.pause = pause
        """Called between steps of what is made of the inputs: lets others have the device, and may raise."""
        self.backend = backend
        self._residents = residents
        self._progress = SILENT
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._manifests = lru_cache(MOST_MANIFESTS)(self._read_manifest)

    def reporting(self, progress: Reporter, pause: Callable[[], None] | None = None) -> "RefitMaterial":
        """The same, which tells `progress` how far sets are read, with another `pause` if given."""
        told = copy(self)
        told._progress = progress
        told.pause = pause or self.pause
        return told

    def resident(self, digest: str, check: Callable[[], None] = lambda: None) -> Resident:
        """Features and labels."""
        return self._residents.get(digest, check, self._progress)

    def fits(self, digest: str) -> bool:
        """Whether the set may be in memory as a whole; of a larger one only some rows."""
        return self._residents.fits(self.manifest(digest))

    def most_rows(self, digest: str) -> int:
        """How many rows of a set may be in memory."""
        return self._residents.most_rows(self.manifest(digest))

    def check_rows(self, digest: str, n_rows: int) -> None:
        """Raise ServiceError (OUT_OF_MEMORY) where so many rows of a set may not be in memory."""
        self._residents.check_rows(self.manifest(digest), n_rows)

    def gathered(self, digest: str, rows: NDArray[np.int64], check: Callable[[], None] = lambda: None) -> Resident:
        """Features and labels of the rows at ascending positions, of a set that does not fit."""
        return self._residents.gather(digest, rows, check, self._progress)

    def labels(self, digest: str) -> Labelled:
        """Labels of a set, of any size."""
        return self._residents.labels(digest)

    def opened(self, digest: str) -> Labelled:
        """The labels of a set, and where it fits its features, too."""
        return self.resident(digest) if self.fits(digest) else self.labels(digest)

    def row_source(self, digest: str, rows: NDArray[np.int64] | None = None) -> RowSource:
        """All rows of a set or those at ascending positions: in memory, or read a chunk at a time where it does not
        fit."""
        if self.fits(digest):
            return ArrayRows(self.resident(digest).features, rows)
        return StoredRows(StoredFeatures(self._root, digest), rows, self.backend)

    def logits_of(self, digest: str, heads: Sequence[Head], check: Callable[[], None] = lambda: None) -> list[Any]:
        """(N, C) logits of each head, on the device; rows that do not fit in memory are read a chunk at a time."""
        if self.fits(digest):
            return logits_of_heads(self.resident(digest, check).features, heads)
        stored = StoredFeatures(self._root, digest)
        report = self._progress.each(f"reading {digest[:8]}", "rows", stored.manifest.n_examples)
        parts: list[list[Any]] = []
        for block in read_ahead(stored.blocks("features")):
            check()
            parts.append(logits_of_heads(self.backend.to_device(block), heads))
            report(len(block))
        return [self.backend.xp.concat([part[place] for part in parts], axis=0) for place in range(len(heads))]

    def grouped(self, digest: str, grouping: str) -> Grouped:
        """The rows of a set under a grouping. Raises what `rows.grouped` does."""
        key = f"grouped by {grouping}", digest
        return self._keep(key, lambda: grouped(self._root, StoredFeatures(self._root, digest), grouping))

    def seen(self, digest: str, grouping: str) -> Labelled:
        """What `opened` gives; the groups are those of a grouping where one is named, -1 for rows in none."""
        found = self.opened(digest)
        return self.grouped(digest, grouping).seen(found) if grouping else found

    def logits(self, digest: str) -> NDArray[np.float64]:
        """(N, C) logits stored with the set, or those of the head stored with it.

        Raises ServiceError (INVALID_ARGUMENT) when there is neither.
        """
        return self._keep(("logits", digest), lambda: self._read_logits(digest))

    def head(self, digest: str) -> Head:
        """The head stored with the set. Raises ServiceError (INVALID_ARGUMENT) when there is none."""
        return self._keep(("head", digest), lambda: self._read_head(digest))

    def given_head(self, message: pb.EvaluateRequest | pb.HeadReference) -> NamedHead:
        """The head that a message holds, or its checkpoint's own. Raises ServiceError: UNKNOWN_CHECKPOINT,
        STORE_CORRUPT, WRONG_SHAPE."""
        if message.WhichOneof("head") != "checkpoint":
            return head_from_proto(message.explicit)
        digest = message.checkpoint
        return NamedHead(
            head=host_head(*read_head(self._root, digest)),
            classes=Classes(names=read_manifest(self._root, digest).classes, whose=f"checkpoint {digest[:12]}"),
            checkpoint=digest,
        )

    def manifest(self, digest: str, grouping: str = "") -> FeatureManifest:
        """The manifest of a set, with the labels of a grouping where one is named.

        Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT.
        """
        return self.grouped(digest, grouping).manifest if grouping else self._manifests(digest)

    def is_same_model(self, first: str, second: str) -> bool:
        """Whether two checkpoints give the same features, whatever run or dataset they come from.

        A checkpoint that is not stored here counts as different. Raises ServiceError (STORE_CORRUPT).
        """
        if first == second:
            return True
        try:
            return read_manifest(self._root, first).model == read_manifest(self._root, second).model
        except ServiceError as error:
            if error.kind == ErrorKind.UNKNOWN_CHECKPOINT:
                return False
            raise

    def match_logits(self, digest: str, other: str) -> Match:
        """Match the logits of a set to the classes of another. Raises ServiceError (OTHER_CLASSES, WRONG_SHAPE)."""
        return match_classes(classes_of(self.manifest(digest)), classes_of(self.manifest(other)))

    def logits_as(self, digest: str, other: str) -> NDArray[np.float64]:
        """(N, C) `logits` of a set, the columns in the order of the classes of another."""
        return self.match_logits(digest, other).columns(self.logits(digest))

    def scaler(self, digest: str) -> Scaler:
        """Mean and standard deviation of all rows, for refits on some of them."""
        return self._keep(("scaler", digest), lambda: self._fit_scaler(digest))

    def scaler_for_others(self, digest: str) -> Scaler:
        """The scaler of a set for other sets, on which its constant columns may vary: these have scale 1."""
        own = self.scaler(digest)
        return self._keep(
            ("scaler for others", digest), lambda: Scaler(mean=own.mean, scale=Scaling(own.mean, own.scale).unit)
        )

    def row_ids(self, digest: str) -> NDArray[np.uint64]:
        """(N,) ids of the rows of a set."""
        return self._keep(("row_id", digest), lambda: StoredFeatures(self._root, digest).read("row_id"))

    def drop(self, digest: str) -> None:
        """Let go what was read of a set."""
        for key in [key for key in self._kept if key[1] == digest]:
            del self._kept[key]

    def _keep(self, key: tuple[str, str], make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]

    def _read_manifest(self, digest: str) -> FeatureManifest:
        return StoredFeatures(self._root, digest).manifest

    def _read_logits(self, digest: str) -> NDArray[np.float64]:
        stored = StoredFeatures(self._root, digest)
        manifest = stored.manifest
        if manifest.n_logits == len(manifest.labels.classes):
            return stored.read("logits").astype(np.float64)
        if not manifest.has_head:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"feature set {digest[:12]} has neither logits of its {len(manifest.labels.classes)} classes nor a "
                "head, and this refit needs what a biased head predicts: extract it from a checkpoint, or upload it "
                "with logits=... or head=...",
                feature_set=digest,
            )
        return self.backend.to_host(self.logits_of(digest, [self.head(digest)])[0])

    def _read_head(self, digest: str) -> Head:
        stored = StoredFeatures(self._root, digest)
        if not stored.manifest.has_head:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"feature set {digest[:12]} has no head to start from or to use as a center: extract it from a "
                "checkpoint, upload it with head=..., or give one",
                feature_set=digest,
            )
        return host_head(stored.read("head_weight"), stored.read("head_bias"))

    def _fit_scaler(self, digest: str) -> Scaler:
        scaling = self._scaling_in_memory(digest) if self.fits(digest) else self._scaling_by_passes(digest)
        return Scaler(mean=scaling.mean, scale=scaling.scale)

    def _scaling_in_memory(self, digest: str) -> Scaling:
        return fitted_scaling(self.resident(digest).features, None, lambda: None)

    def _scaling_by_passes(self, digest: str) -> Scaling:
        """The same to the last bit: of the same tiles."""
        rows, xp = self.row_source(digest), self.backend.xp
        tiles = list(blocks(rows.shape[0], budget.of(xp.empty(0)).rows_of_tile(rows.shape[1])))
        return scaling_of_tiles(
            lambda: (xp.astype(rows.block(tile), xp.float64, copy=False) for tile in tiles), rows.shape[0], self.pause
        )
