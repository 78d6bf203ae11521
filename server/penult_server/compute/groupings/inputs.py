"""The rows of a question: features in memory, labels, attributes, and logits of a head, in one order of classes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.linear.problem import Head
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_proto.errors import ErrorKind
from penult_proto.grouping_methods import METHODS
from penult_proto.v1 import groupings_pb2 as pb
from penult_proto.v1 import refits_pb2, spectra_pb2
from penult_server.class_names import Match
from penult_server.compute.groupings.found import Floats, Inputs, Rows
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.named_heads import Rules
from penult_server.compute.reporting import Reporter
from penult_server.compute.spectra.parts import selected_rows
from penult_server.errors import ServiceError
from penult_server.records import LabelNames
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.reading import StoredFeatures

GIVEN = ("attribute", "uploaded")
"""Methods that look for nothing: a class without rows is as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads the rows of feature sets."""

    root: Path
    material: RefitMaterial
    check: Callable[[], None]
    progress: Reporter

    def rows(self, source: spectra_pb2.FeatureSource, head: Head | None = None) -> Rows:
        """The rows of a set, or those selected, with the logits of a head, or those stored with it.

        Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT, OUT_OF_MEMORY; INVALID_ARGUMENT for rows that the set
        does not have; NOT_FINITE for a head whose logits overflow.
        """
        resident = self.material.reporting(self.progress).resident(source.feature_set, self.check)
        stored = StoredFeatures(self.root, source.feature_set)
        selected = selected_rows(source, stored, self.root)
        columns = {}
        if stored.manifest.attributes:
            values = stored.read("attributes").astype(np.int64)
            columns = {one.name: (values[:, at], one.values) for at, one in enumerate(stored.manifest.attributes)}
        whole = Rows(
            features=resident.features,
            y=resident.y,
            a=resident.g - resident.y * resident.manifest.labels.n_attributes,
            row_id=stored.read("row_id"),
            logits=self._stored_logits(resident.manifest) if head is None else None,
            labels=resident.manifest.labels,
            attributes=columns,
        )
        return whole if selected is None else self._some(whole, np.flatnonzero(selected))

    def head(self, message: refits_pb2.HeadReference, manifest: FeatureManifest) -> Head:
        """The head that is named, with its rows in the order of a set's classes.

        Raises ServiceError: UNKNOWN_CHECKPOINT, STORE_CORRUPT, WRONG_SHAPE, NOT_FINITE, OTHER_CHECKPOINT,
        OTHER_CLASSES.
        """
        named = self.material.given_head(message)
        match = self._rules().head(named, manifest)
        return Head(weight=match.rows(np.asarray(named.head.weight)), bias=match.rows(np.asarray(named.head.bias)))

    def as_classes_of(self, rows: Rows, of: FeatureManifest, own: FeatureManifest) -> Rows:
        """Rows of one set with their classes in the order of another's.

        Raises ServiceError: WRONG_SHAPE, OTHER_CHECKPOINT, OTHER_CLASSES.
        """
        match = self._rules().heads_of_set(of, own)
        return _reordered(rows, match, of.labels)

    def _rules(self) -> Rules:
        return Rules(is_same_model=self.material.is_same_model, across_checkpoints=False)

    def _stored_logits(self, manifest: FeatureManifest) -> Floats | None:
        has_some = manifest.has_head or manifest.n_logits == len(manifest.labels.classes)
        return self.material.logits(manifest.digest) if has_some else None

    def _some(self, rows: Rows, positions: NDArray[np.intp]) -> Rows:
        return Rows(
            features=rows.features[self.material.backend.to_device(positions)],
            y=rows.y[positions],
            a=rows.a[positions],
            row_id=rows.row_id[positions],
            logits=None if rows.logits is None else rows.logits[positions],
            labels=rows.labels,
            attributes={name: (column[positions], values) for name, (column, values) in rows.attributes.items()},
        )


def read_inputs(request: pb.DiscoverGroupsRequest, reader: Reader) -> Inputs:
    """Everything that a method looks at, of a complete question.

    Raises ServiceError: EMPTY_GROUP for a class without rows; INVALID_ARGUMENT where logits are needed and there are
    none; ATTRIBUTE_MISSING where an attribute is; and what reading rows raises.
    """
    own = reader.material.manifest(request.source.feature_set)
    head = reader.head(request.head, own) if request.HasField("head") else None
    source = fit = _with_logits(reader.rows(request.source, head), head, own.digest)
    other = None
    if request.fit:
        fit = _of_set(request.fit, own, reader, head)
    if request.other:
        other = _of_set(request.other, own, reader, head)
    if request.method not in GIVEN:
        _check_classes(source, own.digest)
        _check_classes(fit, request.fit or own.digest)
    _check_needs(request, source, other)
    return Inputs(
        source=source,
        fit=fit,
        other=other,
        numbers=dict(request.numbers),
        words=dict(request.words),
        indices=tuple(request.indices),
        seed=request.seed,
        head=head,
        backend=reader.material.backend,
        check=reader.check,
        progress=reader.progress,
    )


def _of_set(digest: str, own: FeatureManifest, reader: Reader, head: Head | None) -> Rows:
    rows = reader.rows(spectra_pb2.FeatureSource(feature_set=digest), head)
    ordered = reader.as_classes_of(rows, own, reader.material.manifest(digest))
    return _with_logits(ordered, head, digest)


def _with_logits(rows: Rows, head: Head | None, digest: str) -> Rows:
    """Rows with the logits of a head, if one was given."""
    if head is None:
        return rows
    with np.errstate(over="ignore", invalid="ignore"):
        logits = to_host(logits_of_heads(rows.features, [head])[0])
    if not np.isfinite(logits).all():
        raise ServiceError(
            ErrorKind.NOT_FINITE,
            f"the head's logits overflow on feature set {digest[:12]}, so that it predicts nothing; scale the head or "
            "the features down",
            feature_set=digest,
        )
    return replace(rows, logits=logits)


def _reordered(rows: Rows, match: Match, labels: LabelNames) -> Rows:
    if match.is_same:
        return replace(rows, labels=replace(rows.labels, classes=labels.classes))
    return replace(
        rows,
        y=match.order[rows.y],
        logits=None if rows.logits is None else rows.logits[:, np.argsort(match.order)],
        labels=replace(rows.labels, classes=labels.classes, classes_by_index=labels.classes_by_index),
    )


def _check_classes(rows: Rows, digest: str) -> None:
    counts = np.bincount(rows.y, minlength=len(rows.labels.classes))
    if not counts.all():
        name = rows.labels.classes[int(np.argmin(counts))]
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"class {name!r} has no row among the {rows.y.size} of feature set {digest[:12]} that groups are looked "
            "for in: choose rows of every class",
            class_name=name,
        )


def _check_needs(request: pb.DiscoverGroupsRequest, source: Rows, other: Rows | None) -> None:
    method = METHODS[request.method]
    if method.needs_logits and source.logits is None:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"method {method.name!r} looks at what a head predicts, and feature set {request.source.feature_set[:12]} "
            "has neither logits nor a head: give head=..., such as a refit, or upload it with logits=... or head=...",
            field="head",
        )
    if method.needs_attribute and (other is None or not other.labels.attribute_values):
        got = "none was given" if other is None else f"feature set {request.other[:12]} has none"
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            f"method {method.name!r} learns from a set that has an attribute, other=...; {got}",
            field="other",
        )
