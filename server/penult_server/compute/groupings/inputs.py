"""What a question about groups needs, read from the store: rows with features, labels, attributes and logits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.arrays import to_host
from penult_kernels.linear.problem import Head
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_proto.errors import ErrorKind
from penult_proto.grouping_methods import METHODS
from penult_proto.v1 import groupings_pb2 as pb
from penult_proto.v1 import refits_pb2, spectra_pb2
from penult_server.compute.backend import Backend
from penult_server.compute.groupings.found import Floats, Inputs, Integers, Rows, Uploaded
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.named_heads import Rules
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.compute.rows.selected import selected_rows
from penult_server.errors import ServiceError
from penult_server.messages import array_from_proto
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.reading import StoredFeatures

GIVEN = ("attribute", "uploaded")
"""Methods that look for nothing: a class without rows is as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Stores, resident features and device."""

    root: Path
    material: RefitMaterial
    """Features in memory, logits and heads of sets."""
    check: Callable[[], None]
    """Called between steps; raises when nobody waits for the answer any more."""
    progress: Reporter = SILENT

    @property
    def backend(self) -> Backend:
        """The device."""
        return self.material.backend

    def manifest(self, feature_set: str) -> FeatureManifest:
        """What is known of a feature set. Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT."""
        return self.material.manifest(feature_set)


def read_inputs(request: pb.DiscoverGroupsRequest, access: Access) -> Inputs:
    """The rows of a complete question, and what it says besides.

    Raises ServiceError: EMPTY_GROUP for a class without rows; WRONG_SHAPE, NOT_FINITE, OTHER_CHECKPOINT, OTHER_CLASSES
    for a head that does not belong to the rows; and what `read_rows` raises.
    """
    method = METHODS[request.method]
    head = _head(request, access) if request.HasField("head") else None
    source = _with_logits(
        read_rows(request.source, access, with_features=method.needs_features or head is not None), head
    )
    sets = {
        name: _with_logits(read_rows(spectra_pb2.FeatureSource(feature_set=digest), access), head)
        for name in ("fit", "other")
        if (digest := getattr(request, name))
    }
    fit = sets.get("fit", source)
    if request.method not in GIVEN:
        _check_classes(source, "grouped")
        _check_classes(fit, "fitted")
    return Inputs(
        source=source,
        fit=fit,
        other=sets.get("other"),
        numbers=dict(request.numbers),
        words=dict(request.words),
        indices=tuple(request.indices),
        uploaded=_uploaded(request) if request.HasField("uploaded") else None,
        seed=request.seed,
        head=head,
        backend=access.backend,
        check=access.check,
        progress=access.progress,
    )


def read_rows(source: spectra_pb2.FeatureSource, access: Access, *, with_features: bool = True) -> Rows:
    """The rows of a feature set, all or those selected, with the logits stored with them or those of its head.

    Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT, OUT_OF_MEMORY; INVALID_ARGUMENT for rows that it has not.
    """
    stored = StoredFeatures(access.root, source.feature_set)
    a: Integers = stored.read("a")
    features: Any = None
    if with_features:
        features = access.material.reporting(access.progress).resident(source.feature_set, access.check).features
    rows = Rows(
        features=features,
        y=stored.read("y"),
        a=a,
        row_id=stored.read("row_id"),
        logits=_stored_logits(stored.manifest, access) if with_features else None,
        labels=stored.manifest.labels,
        attributes=_columns(stored, a),
    )
    selected = selected_rows(source, stored, access.root)
    return rows if selected is None else _some(rows, np.flatnonzero(selected), access.backend)


def _stored_logits(manifest: FeatureManifest, access: Access) -> Floats | None:
    has_some = manifest.has_head or manifest.n_logits == len(manifest.labels.classes)
    return access.material.logits(manifest.digest) if has_some else None


def _some(rows: Rows, positions: NDArray[np.intp], backend: Backend) -> Rows:
    return replace(
        rows,
        features=None if rows.features is None else rows.features[backend.to_device(positions)],
        y=rows.y[positions],
        a=rows.a[positions],
        row_id=rows.row_id[positions],
        logits=None if rows.logits is None else rows.logits[positions],
        attributes={name: (column[positions], values) for name, (column, values) in rows.attributes.items()},
    )


def _head(request: pb.DiscoverGroupsRequest, access: Access) -> Head:
    """The head that is named, with its rows in the order of the classes of the source."""
    message: refits_pb2.HeadReference = request.head
    named = access.material.given_head(message)
    rules = Rules(is_same_model=access.material.is_same_model, across_checkpoints=False)
    match = rules.head(named, access.manifest(request.source.feature_set))
    return Head(weight=match.rows(np.asarray(named.head.weight)), bias=match.rows(np.asarray(named.head.bias)))


def _with_logits(rows: Rows, head: Head | None) -> Rows:
    """Rows with the logits of a head, if one was given."""
    if head is None:
        return rows
    with np.errstate(over="ignore", invalid="ignore"):
        logits = to_host(logits_of_heads(rows.features, [head])[0])
    if not np.isfinite(logits).all():
        raise ServiceError(
            ErrorKind.NOT_FINITE,
            "the head's logits overflow, so that it predicts nothing; scale the head or the features down",
            field="head",
        )
    return replace(rows, logits=logits)


def _check_classes(rows: Rows, what: str) -> None:
    counts = np.bincount(rows.y, minlength=len(rows.labels.classes))
    if not counts.all():
        name = rows.labels.classes[int(np.argmin(counts))]
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"class {name!r} has no row among the {rows.y.size} that are {what}, and groups are looked for in every "
            "class: choose rows of each",
            class_name=name,
        )


def _columns(stored: StoredFeatures, a: Integers) -> Mapping[str, tuple[Integers, tuple[str, ...]]]:
    """Every attribute column by its name; the one that the groups are made of first."""
    labels = stored.manifest.labels
    found: dict[str, tuple[Integers, tuple[str, ...]]] = {}
    if labels.attribute_values:
        found[labels.attribute] = (a, labels.attribute_values)
    if stored.manifest.attributes:
        columns: NDArray[np.int64] = stored.read("attributes")
        for place, one in enumerate(stored.manifest.attributes):
            found.setdefault(one.name, (columns[:, place], one.values))
    return found


def _uploaded(request: pb.DiscoverGroupsRequest) -> Uploaded:
    given = request.uploaded
    return Uploaded(
        row_id=array_from_proto(given.row_ids, "row_ids").astype(np.uint64),
        value=array_from_proto(given.values, "values").astype(np.int64),
        names=tuple(given.names),
    )
