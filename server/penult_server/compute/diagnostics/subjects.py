"""What is diagnosed of a stored set: its rows, their parts and labels, and the same rows of a second set."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penult_kernels.diagnostics.subject import Subject
from penult_kernels.linear.problem import Head
from penult_kernels.rows import ArrayRows, RowSource
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import diagnostics_pb2 as pb
from penult_proto.v1 import groups_pb2, spectra_pb2
from penult_proto.v1 import neighbours_pb2 as neighbours
from penult_server.compute.neighbours.answers.labelled import Labelled, labelled
from penult_server.compute.neighbours.graph import graph_of
from penult_server.compute.rows.selected import selected_rows
from penult_server.compute.rows.stored_rows import StoredRows
from penult_server.compute.spectra.parts import Resources
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto, classes_to_proto, groups_to_proto
from penult_server.notes import Note

Integers = NDArray[np.int64]
WITHIN = {
    spectra_pb2.SPECTRA_BY_ALL: neighbours.NEIGHBOUR_WITHIN_ALL,
    spectra_pb2.SPECTRA_BY_CLASS: neighbours.NEIGHBOUR_WITHIN_CLASS,
    spectra_pb2.SPECTRA_BY_GROUP: neighbours.NEIGHBOUR_WITHIN_GROUP,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A subject, and what an answer says of it."""

    subject: Subject
    groups: list[groups_pb2.Group]
    """The parts; none where all rows are one."""
    used_grouping: groups_pb2.UsedGrouping | None
    notes: tuple[Note, ...]


def asked_of(request: pb.DiagnoseRequest, resources: Resources) -> Asked:
    """The subject of a request whose every field is set.

    Raises ServiceError: EMPTY_GROUP, OTHER_ROWS, and what reading raises.
    """
    own = labelled(resources.root, request.source)
    positions = positions_of(own, request.source, resources)
    notes = own.notes
    other, other_positions = None, None
    if request.HasField("other"):
        other = labelled(resources.root, request.other)
        positions, other_positions, joined = _joined(own, positions, other, request, resources)
        notes = (*notes, *joined)
    if not positions.size:
        raise ServiceError(ErrorKind.EMPTY_GROUP, f"no row of feature set {own.manifest.digest[:12]} is asked about")
    labels, y = own.manifest.labels, own.y[positions]
    part, n_parts = parts_of(own, positions, request.by)
    head = _head(own, resources) if own.manifest.has_head else None
    has_logits = own.manifest.n_logits == len(labels.classes)
    subject = Subject(
        rows=rows_of(own, positions, resources),
        part=part,
        n_parts=n_parts,
        y=y,
        n_classes=len(labels.classes),
        head=head,
        logits=own.stored.read("logits")[positions] if has_logits else None,
        other=None if other is None or other_positions is None else rows_of(other, other_positions, resources),
        columns=_columns(own, positions),
        neighbours=_Neighbours(request, own.row_id[positions], positions.size == own.n_rows, resources),
    )
    groups = []
    if request.by != spectra_pb2.SPECTRA_BY_ALL:
        group_counts = np.bincount(own.g[positions][own.g[positions] >= 0], minlength=labels.n_groups).tolist()
        describe = classes_to_proto if request.by == spectra_pb2.SPECTRA_BY_CLASS else groups_to_proto
        groups = describe(labels, group_counts)
    return Asked(subject=subject, groups=groups, used_grouping=own.used_grouping, notes=notes)


class _Neighbours:
    """Distances within the parts of a request, from the stored graph where there is one."""

    def __init__(
        self, request: pb.DiagnoseRequest, row_id: NDArray[np.uint64], is_whole: bool, resources: Resources
    ) -> None:
        self._query = neighbours.NeighbourQuery(
            source=spectra_pb2.FeatureSource(feature_set=request.source.feature_set, grouping=request.source.grouping),
            metric=neighbours.NEIGHBOUR_METRIC_L2,
            within=WITHIN[request.by],
            recall=1.0,
        )
        if not is_whole:
            self._query.source.rows.row_ids.CopyFrom(array_to_proto(np.sort(row_id)))
        self._row_id, self._resources = row_id, resources

    def __call__(self, k: int) -> NDArray[np.float64]:
        """(n, k) Euclidean distances, NaN where there are fewer."""
        n = self._row_id.size
        found = np.full((n, k), np.nan)
        if n > 1:
            self._query.k = min(k, n - 1)
            graph = graph_of(self._query, self._resources)
            order = np.argsort(graph.query_id)
            place = order[np.searchsorted(graph.query_id, self._row_id, sorter=order)]
            found[:, : self._query.k] = graph.distance[place]
        return found


def positions_of(one: Labelled, source: spectra_pb2.FeatureSource, resources: Resources) -> Integers:
    """Rows that are asked about: those selected that are in a group."""
    selected = selected_rows(source, one.stored, resources.root)
    inside = one.g >= 0
    return np.flatnonzero(inside if selected is None else inside & selected)


def _joined(
    own: Labelled, positions: Integers, other: Labelled, request: pb.DiagnoseRequest, resources: Resources
) -> tuple[Integers, Integers, tuple[Note, ...]]:
    """Rows of both sets with equal ids. Raises ServiceError (OTHER_ROWS) where there are none, or they are others."""
    candidates = positions_of(other, request.other, resources)
    ids, mine, theirs = np.intersect1d(
        own.row_id[positions], other.row_id[candidates], assume_unique=True, return_indices=True
    )
    short = f"feature sets {own.manifest.digest[:12]} and {other.manifest.digest[:12]}"
    if not ids.size:
        raise ServiceError(
            ErrorKind.OTHER_ROWS, f"{short} have no row id in common: diagnostics compare features of the same examples"
        )
    order = np.argsort(mine)
    first, second = positions[mine[order]], candidates[theirs[order]]
    names, others = own.manifest.labels.classes, other.manifest.labels.classes
    differ = np.count_nonzero(np.asarray(names)[own.y[first]] != np.asarray(others)[other.y[second]])
    if differ:
        raise ServiceError(
            ErrorKind.OTHER_ROWS,
            f"{differ} of the {ids.size} rows that {short} have in common are of other classes there, so that equal "
            "ids do not mean equal examples: compare sets of one split",
        )
    left_out = positions.size - ids.size, candidates.size - ids.size
    if not any(left_out):
        return first, second, ()
    said = f"rows were joined by their ids: {ids.size} in both sets, {left_out[0]} and {left_out[1]} left out"
    return first, second, (Note(NoteId.ROWS_JOINED, said),)


def parts_of(own: Labelled, positions: Integers, by: "spectra_pb2.SpectraBy.ValueType") -> tuple[Integers, int]:
    if by == spectra_pb2.SPECTRA_BY_ALL:
        return np.zeros(positions.size, dtype=np.int64), 1
    if by == spectra_pb2.SPECTRA_BY_CLASS:
        return own.y[positions].astype(np.int64), own.n_classes
    return own.g[positions].astype(np.int64), own.n_groups


def rows_of(one: Labelled, positions: Integers, resources: Resources) -> RowSource:
    # Rows that were joined may be all of a set in another order.
    chosen = None if np.array_equal(positions, np.arange(one.n_rows)) else positions
    if not resources.residents.fits(one.manifest):
        return StoredRows(one.stored, chosen, resources.backend)
    resident = resources.residents.get(one.manifest.digest, resources.check, resources.progress)
    return ArrayRows(resident.features, chosen)


def _head(own: Labelled, resources: Resources) -> Head:
    weight, bias = (own.stored.read(f"head_{name}").astype(np.float64) for name in ("weight", "bias"))
    return Head(weight=resources.backend.to_device(weight), bias=resources.backend.to_device(bias))


def _columns(own: Labelled, positions: Integers) -> dict[str, tuple[Integers, int]]:
    """Every column of labels: the class, then the attributes."""
    found = {"class": (own.y[positions].astype(np.int64), own.n_classes)}
    for name, (attribute, values) in own.attributes().items():
        found.setdefault(name, (values[positions].astype(np.int64), len(attribute.values)))
    return found
