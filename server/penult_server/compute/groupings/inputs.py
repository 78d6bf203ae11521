"""What a question about groups needs, read from the store."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_proto.v1 import groupings_pb2 as pb
from penult_server.compute.backend import Backend
from penult_server.compute.groupings.found import Inputs, Integers, Rows, Uploaded
from penult_server.compute.reporting import SILENT, Reporter
from penult_server.compute.rows.resident import ResidentFeatures
from penult_server.messages import array_from_proto
from penult_server.stores.manifest import FeatureManifest
from penult_server.stores.reading import StoredFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Stores, resident features and device."""

    root: Path
    residents: ResidentFeatures
    backend: Backend
    check: Callable[[], None]
    """Called between steps; raises when nobody waits for the answer any more."""
    progress: Reporter = SILENT

    def manifest(self, feature_set: str) -> FeatureManifest:
        """What is known of a feature set. Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT."""
        return StoredFeatures(self.root, feature_set).manifest


def read_inputs(request: pb.DiscoverGroupsRequest, access: Access, *, with_features: bool) -> Inputs:
    """The rows of a complete question, and what it says besides.

    Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT, OUT_OF_MEMORY.
    """
    source = read_rows(request.source.feature_set, access, with_features=with_features)
    fit = read_rows(request.fit, access, with_features=with_features) if request.fit else source
    return Inputs(
        source=source,
        fit=fit,
        other=read_rows(request.other, access, with_features=with_features) if request.other else None,
        numbers=dict(request.numbers),
        words=dict(request.words),
        indices=tuple(request.indices),
        uploaded=_uploaded(request) if request.HasField("uploaded") else None,
        seed=request.seed,
        backend=access.backend,
        check=access.check,
        progress=access.progress,
    )


def read_rows(feature_set: str, access: Access, *, with_features: bool) -> Rows:
    """All rows of a feature set, with the logits stored with them."""
    stored = StoredFeatures(access.root, feature_set)
    labels = stored.manifest.labels
    a: Integers = stored.read("a")
    features: Any = None
    if with_features:
        features = access.residents.get(feature_set, access.check, access.progress).features
    return Rows(
        features=features,
        y=stored.read("y"),
        a=a,
        row_id=stored.read("row_id"),
        logits=stored.read("logits").astype(np.float64) if stored.manifest.n_logits else None,
        labels=labels,
        attributes=_columns(stored, a),
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
