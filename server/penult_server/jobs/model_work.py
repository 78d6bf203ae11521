"""Jobs that run a model: names looked up, the package's function called, its records made messages."""

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, runs_pb2
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import JobOrder
from penult_server.backbones.hidden import hidden_width
from penult_server.backbones.starting import StartHead
from penult_server.class_names import Classes, Match, match_classes
from penult_server.clock import timestamp
from penult_server.datasets.catalog import open_dataset
from penult_server.datasets.model import Dataset
from penult_server.datasets.stored import check_files
from penult_server.errors import ServiceError
from penult_server.extraction.extract import FeatureKind, extract_split, extraction_identity, load_checkpoint
from penult_server.finetuning.request import config_from_proto
from penult_server.finetuning.train import finetune
from penult_server.jobs.channel import Reports, WorkerChannel
from penult_server.jobs.ranks import Together, choose_device
from penult_server.jobs.reading import allowed
from penult_server.machine.allocator import keep_freed_memory
from penult_server.messages import (
    array_from_proto,
    checkpoint_to_proto,
    dataset_labels,
    feature_set_to_proto,
    record_to_proto,
)
from penult_server.named.roots import reading
from penult_server.notes import notes_to_proto
from penult_server.stores.checkpoints import CheckpointManifest, read_head, read_manifest
from penult_server.stores.features import FeatureHeader, FeatureWriter
from penult_server.stores.manifest import FeatureManifest, damaged_files
from penult_server.stores.reading import StoredFeatures


def rank(order: JobOrder, reports: Reports, together: Together) -> pb.JobResult | None:
    """Take part in a finetuning: the first of its processes reports and stores, and has the result."""
    keep_freed_memory()
    with reading(allowed(order), reports.check_cancelled):
        root, spec = Path(order.root), order.spec.finetune
        config = config_from_proto(spec)
        dataset = open_dataset(spec.dataset, order.dataset_digest, root)
        check_files(dataset, ["train", *(config.evaluate or dataset.info.splits)])
        labels = dataset_labels(dataset.info, config.attribute)
        reports.labels = labels
        started = time.time()
        with together as place:
            outcome = finetune(
                config,
                dataset,
                root=root,
                device=place.device,
                context=reports,
                run_id=order.job_id,
                world=place.world,
                start_head=_start_head(order),
            )
    if not place.world.is_first:
        return None
    run = runs_pb2.Run(
        id=order.job_id,
        spec=spec,
        dataset_digest=order.dataset_digest,
        n_train_examples=len(outcome.kept_row_ids),
        checkpoints=[checkpoint_to_proto(one) for one in outcome.checkpoints],
        history=[record_to_proto(one, labels) for one in outcome.history],
        created=timestamp(started),
        train_seconds=outcome.train_seconds,
        steps_per_epoch=outcome.steps_per_epoch,
        notes=notes_to_proto(outcome.notes),
    )
    return pb.JobResult(run=run)


def _start_head(order: JobOrder) -> StartHead | None:
    """The head of the refit that a run starts from."""
    if not order.HasField("start_head"):
        return None
    head, refit = order.start_head, order.spec.finetune.start.refit
    return StartHead(
        weight=array_from_proto(head.weight, "start_head.weight").astype(np.float64),
        bias=array_from_proto(head.bias, "start_head.bias").astype(np.float64),
        classes=Classes(names=tuple(head.classes), whose=f"refit {refit[:12]}"),
    )


def extract_job(order: JobOrder, spec: pb.ExtractSpec, channel: WorkerChannel) -> pb.ExtractResult:
    keep_freed_memory()
    root = Path(order.root)
    manifest = read_manifest(root, spec.checkpoint)
    dataset = open_dataset(spec.dataset, order.dataset_digest, root)
    known = Classes(names=manifest.classes, whose=f"checkpoint {manifest.digest[:12]}")
    labels = Classes(names=dataset.info.classes, whose=f"dataset {spec.dataset!r}")
    classes = match_classes(known, labels, dict(spec.class_map))
    digests = {split: _identity(manifest, order, spec, split, classes) for split in spec.splits}
    sets = {split: stored for split, digest in digests.items() if (stored := _stored(root, digest)) is not None}
    reused, missing = list(sets), [split for split in spec.splits if split not in sets]
    if missing:
        check_files(dataset, missing)
        run = _Extraction(order, spec, manifest, dataset, classes, channel, missing)
        for split in missing:
            sets[split] = feature_set_to_proto(run.split(split, digests[split]))
            channel.saved(len(sets))
    return pb.ExtractResult(feature_sets=[sets[split] for split in spec.splits], reused=reused)


def _feature_kind(spec: pb.ExtractSpec) -> FeatureKind:
    return "flat" if spec.feature_kind == "flat" else "pooled"


def _identity(manifest: CheckpointManifest, order: JobOrder, spec: pb.ExtractSpec, split: str, classes: Match) -> str:
    return extraction_identity(
        manifest,
        order.dataset_digest,
        split,
        attribute=spec.attribute,
        feature_kind=_feature_kind(spec),
        dtype=spec.dtype,
        classes=classes,
    )


def _stored(root: Path, digest: str) -> features_pb2.FeatureSet | None:
    """The feature set when it is in the store, whole: asking again mends a damaged one."""
    try:
        stored = StoredFeatures(root, digest)
        return None if damaged_files(stored.directory, stored.manifest) else feature_set_to_proto(stored.manifest)
    except ServiceError as error:
        if error.kind in (ErrorKind.UNKNOWN_FEATURE_SET, ErrorKind.STORE_CORRUPT):
            return None
        raise


class _Extraction:
    """One model over several splits."""

    def __init__(
        self,
        order: JobOrder,
        spec: pb.ExtractSpec,
        manifest: CheckpointManifest,
        dataset: Dataset,
        classes: Match,
        channel: WorkerChannel,
        splits: list[str],
    ) -> None:
        self._order = order
        self._spec = spec
        self._manifest = manifest
        self._dataset = dataset
        self._classes = classes
        self._channel = channel
        self._device = choose_device(order.device)
        self._classifier = load_checkpoint(Path(order.root), manifest.digest, self._device)
        self._kind: FeatureKind = _feature_kind(spec)
        self._total = sum(len(dataset.info.split(split).y) for split in splits)
        self._done = 0

    def split(self, split: str, digest: str) -> FeatureManifest:
        """Extract and store one split."""
        root = Path(self._order.root)
        labels = dataset_labels(self._dataset.info, self._spec.attribute)
        n = len(self._dataset.info.split(split).y)
        flat = self._kind == "flat"
        header = FeatureHeader(
            n_examples=n,
            n_features=hidden_width(self._classifier, self._device) if flat else self._manifest.n_features,
            dtype=self._spec.dtype,
            labels=labels,
            n_logits=self._manifest.n_classes,
            # No head reads flat features, so none is kept with them.
            head=None if flat else self._head(root),
            digest=digest,
            feature_kind=self._kind,
            checkpoint=self._manifest.digest,
            dataset=self._spec.dataset,
            dataset_digest=self._order.dataset_digest,
            split=split,
            train_shares=self._train_shares(labels.n_groups),
            absent_groups=tuple(
                int(group) for group in np.flatnonzero(self._dataset.info.group_totals(self._spec.attribute) == 0)
            ),
            attributes=self._dataset.info.attributes,
            notes=self._classes.notes,
        )
        with FeatureWriter(root, header) as writer:
            rates = extract_split(
                self._classifier,
                self._dataset,
                split,
                writer,
                device=self._device,
                batch_size=self._spec.batch_size,
                context=self._channel,
                attribute=self._spec.attribute,
                feature_kind=self._kind,
                classes=self._classes,
                done=self._done,
                total=self._total,
            )
            self._done += n
            return writer.finish(extract_rate=rates.rate)

    def _head(self, root: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The checkpoint's head, its rows in the order of the dataset's classes, like the labels and the logits."""
        weight, bias = read_head(root, self._manifest.digest)
        return self._classes.rows(weight), self._classes.rows(bias)

    def _train_shares(self, n_groups: int) -> tuple[float, ...]:
        """Fraction of each group among the training examples of this dataset; empty without such a split."""
        info = self._dataset.info
        if "train" not in info.splits:
            return ()
        column = info.attribute_column(self._spec.attribute)
        train = info.split("train")
        g = train.y * len(info.attributes[column].values) + train.a[:, column]
        return tuple(float(share) for share in np.bincount(g, minlength=n_groups) / len(g))
