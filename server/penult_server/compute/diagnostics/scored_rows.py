"""The rows whose losses an influence is on: of a stored set, cut into groups, classes, or all as one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.linear.problem import Head
from penult_kernels.rows import RowSource
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2, influence_pb2, spectra_pb2
from penult_server.class_names import Match
from penult_server.compute.diagnostics.subjects import parts_of, positions_of, rows_of
from penult_server.compute.neighbours.answers.labelled import labelled
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.named_heads import Rules, head_from_proto
from penult_server.compute.spectra.parts import Resources
from penult_server.errors import ServiceError
from penult_server.messages import classes_to_proto, groups_to_proto
from penult_server.notes import Note

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredRows:
    """Rows with the losses of heads on them; classes are in the order of the heads."""

    rows: RowSource
    positions: Integers
    """(n,) in the set."""
    y: Integers
    """(n,) in the order of the heads' classes."""
    part: Integers
    n_parts: int
    groups: list[groups_pb2.Group]
    used_grouping: groups_pb2.UsedGrouping | None
    notes: tuple[Note, ...]
    digest: str
    material: RefitMaterial

    def logits(self, head: Head) -> Floats:
        """(n, C) of a head, in the order of its classes. Raises ServiceError (NOT_FINITE) where they overflow."""
        found = self.material.backend.to_host(self.material.logits_of(self.digest, [head])[0])[self.positions]
        if not np.isfinite(found).all():
            raise ServiceError(
                ErrorKind.NOT_FINITE,
                f"the head's logits overflow on feature set {self.digest[:12]}; scale the features down",
                feature_set=self.digest,
            )
        return found

    def losses(self, logits: Floats) -> Floats:
        """(T,) mean cross-entropy of each part, nats; NaN without rows."""
        shifted = logits - logits.max(axis=1, keepdims=True)
        each = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(self.y.size), self.y]
        return self._means(each)

    def accuracies(self, logits: Floats) -> Floats:
        """(T,) share of each part that is predicted rightly; NaN without rows."""
        return self._means((logits.argmax(axis=1) == self.y).astype(np.float64))

    def _means(self, values: Floats) -> Floats:
        count = np.bincount(self.part, minlength=self.n_parts)
        total = np.bincount(self.part, weights=values, minlength=self.n_parts)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def scored_rows(request: influence_pb2.InfluenceRequest, material: RefitMaterial, resources: Resources) -> ScoredRows:
    """The rows of a request, matched to its refit by the names of classes.

    Raises ServiceError: EMPTY_GROUP without rows, OTHER_CLASSES, OTHER_CHECKPOINT, WRONG_SHAPE.
    """
    own = labelled(resources.root, request.source)
    positions = positions_of(own, request.source, resources)
    if not positions.size:
        raise ServiceError(ErrorKind.EMPTY_GROUP, f"no row of feature set {own.manifest.digest[:12]} is asked about")
    part, n_parts = parts_of(own, positions, request.by)
    match = _match(request, material)
    labels = own.manifest.labels
    counts = np.bincount(own.g[positions], minlength=labels.n_groups).tolist()
    groups = [groups_pb2.Group(index=0, name="all", y=-1, a=-1, count=positions.size)]
    if request.by != spectra_pb2.SPECTRA_BY_ALL:
        describe = classes_to_proto if request.by == spectra_pb2.SPECTRA_BY_CLASS else groups_to_proto
        groups = describe(labels, counts)
    return ScoredRows(
        rows=rows_of(own, positions, resources),
        positions=positions,
        y=match.order[own.y[positions]].astype(np.int64),
        part=part,
        n_parts=n_parts,
        groups=groups,
        used_grouping=own.used_grouping,
        notes=(*own.notes, *match.notes),
        digest=own.manifest.digest,
        material=material,
    )


def _match(request: influence_pb2.InfluenceRequest, material: RefitMaterial) -> Match:
    rules = Rules(is_same_model=material.is_same_model, across_checkpoints=request.across_checkpoints)
    head = head_from_proto(request.fitted.head, f"refit {request.refit[:12]}")
    return rules.head(head, material.manifest(request.source.feature_set))
