"""What an extraction is of: names looked up, and what is known of every set before its first row."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.class_names import Classes, Match, match_classes
from penult_server.datasets.catalog import open_dataset
from penult_server.datasets.model import Dataset
from penult_server.extraction.identity import FeatureKind, extraction_identity
from penult_server.messages import dataset_labels
from penult_server.stores.checkpoints import CheckpointManifest, read_head, read_manifest
from penult_server.stores.places.opening import store_of
from penult_server.stores.writing.header import FeatureHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """One checkpoint and the dataset whose splits it reads."""

    order: JobOrder
    manifest: CheckpointManifest
    dataset: Dataset
    classes: Match
    """The classes of the checkpoint matched to those of the dataset."""

    @property
    def spec(self) -> pb.ExtractSpec:
        """What was asked for."""
        return self.order.spec.extract

    @property
    def root(self) -> Path:
        """The store's directory."""
        return Path(self.order.root)

    @property
    def kind(self) -> FeatureKind:
        """What becomes the features."""
        return "flat" if self.spec.feature_kind == "flat" else "pooled"

    def n_rows(self, split: str) -> int:
        """Rows of a split."""
        return len(self.dataset.info.split(split).y)

    def identity(self, split: str) -> str:
        """Digest of the set that a split becomes."""
        return extraction_identity(
            self.manifest,
            self.order.dataset_digest,
            split,
            attribute=self.spec.attribute,
            feature_kind=self.kind,
            dtype=self.spec.dtype,
            classes=self.classes,
        )

    def header(self, split: str, n_features: int) -> FeatureHeader:
        """What is known of a split's set."""
        info = self.dataset.info
        labels = dataset_labels(info, self.spec.attribute)
        return FeatureHeader(
            n_examples=self.n_rows(split),
            n_features=n_features,
            dtype=self.spec.dtype,
            labels=labels,
            n_logits=self.manifest.n_classes,
            # No head reads flat features, so none is kept with them.
            head=None if self.kind == "flat" else self._head(),
            digest=self.identity(split),
            feature_kind=self.kind,
            checkpoint=self.manifest.digest,
            dataset=self.spec.dataset,
            dataset_digest=self.order.dataset_digest,
            split=split,
            train_shares=self._train_shares(labels.n_groups),
            absent_groups=tuple(int(group) for group in np.flatnonzero(info.group_totals(self.spec.attribute) == 0)),
            attributes=info.attributes,
            notes=self.classes.notes,
        )

    def _head(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The checkpoint's head, its rows in the order of the dataset's classes, like the labels and the logits."""
        weight, bias = read_head(self.root, self.manifest.digest)
        return self.classes.rows(weight), self.classes.rows(bias)

    def _train_shares(self, n_groups: int) -> tuple[float, ...]:
        """Fraction of each group among the training examples of this dataset; empty without such a split."""
        info = self.dataset.info
        if "train" not in info.splits:
            return ()
        column = info.attribute_column(self.spec.attribute)
        train = info.split("train")
        g = train.y * len(info.attributes[column].values) + train.a[:, column]
        return tuple(float(share) for share in np.bincount(g, minlength=n_groups) / len(g))


def open_extraction(order: JobOrder) -> Extraction:
    """The extraction of an order. Raises ServiceError for what is not there, or does not fit."""
    root, spec = Path(order.root), order.spec.extract
    store_of(root).find("checkpoints", spec.checkpoint)  # a node of a cluster may not have it yet
    manifest = read_manifest(root, spec.checkpoint)
    dataset = open_dataset(spec.dataset, order.dataset_digest, root)
    known = Classes(names=manifest.classes, whose=f"checkpoint {manifest.digest[:12]}")
    labels = Classes(names=dataset.info.classes, whose=f"dataset {spec.dataset!r}")
    classes = match_classes(known, labels, dict(spec.class_map))
    return Extraction(order=order, manifest=manifest, dataset=dataset, classes=classes)
