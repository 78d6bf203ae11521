"""Rows whose label their neighbours, and a head that has not seen them, contradict."""

import warnings

import numpy as np

from penult_kernels.linear.solve import ConvergenceWarning, Head, Intercept, Problem, Standardize, solve
from penult_kernels.metrics.head_scores import logits_of_heads
from penult_kernels.neighbours import noise
from penult_kernels.neighbours.votes import vote_shares
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.compute.neighbours.answers.labelled import (
    Integers,
    Labelled,
    bare,
    labelled,
    of_neighbours,
    shares_to_proto,
)
from penult_server.compute.neighbours.graph import graph_of
from penult_server.compute.neighbours.sides import Resources
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto
from penult_server.notes import Note, notes_to_proto

MOST_ROWS = 500_000
"""Most rows of an answer: some 17 MB."""
L2 = 0.01
"""Penalty of the head, on standardised features."""
TOLERANCE = 1e-3
"""Relative gap of the heads: what they predict hardly changes below."""
INTERCEPT_SCALE = 10.0
"""The head's bias is penalised, as it must be where a fold has no row of a class, but hardly."""


def find_label_noise(request: pb.FindLabelNoiseRequest, resources: Resources) -> pb.LabelNoise:
    """All rows from the most suspect on. Every field of the request is set by now.

    Raises ServiceError: EMPTY_GROUP where there is one class alone, and what the search raises.
    """
    rows = labelled(resources.root, request.source)
    _check_classes(rows)
    query = pb.NeighbourQuery(source=bare(request.source), k=request.k, metric=pb.NEIGHBOUR_METRIC_COSINE)
    found = graph_of(query, resources)
    neighbour_y = of_neighbours(rows.y, found.position)
    ((_, shares),) = vote_shares(
        neighbour_y, found.distance, rows.n_classes, [request.k], temperature=request.temperature
    )
    suspicion = 1.0 - np.take_along_axis(shares, rows.y[:, None], axis=1)[:, 0]
    neighbour_class = np.argmax(shares, axis=1)
    head_class = _held_out_classes(request, rows, resources) if request.folds else None
    is_other = noise.contradicted(rows.y, neighbour_class, head_class)
    a = rows.a if rows.manifest.labels.attribute_values else np.full_like(rows.y, -1)
    is_minority = is_other & noise.of_minority(rows.y, a, neighbour_y, of_neighbours(a, found.position))
    is_flagged = is_other & ~is_minority
    order = np.lexsort((rows.row_id, -suspicion))
    listed = order[:MOST_ROWS]
    return pb.LabelNoise(
        feature_set=request.source.feature_set,
        k=request.k,
        folds=request.folds,
        row_ids=array_to_proto(rows.row_id[listed]),
        suspicion=array_to_proto(suspicion[listed]),
        neighbour_class=array_to_proto(neighbour_class[listed]),
        head_class=array_to_proto((np.full_like(rows.y, -1) if head_class is None else head_class)[listed]),
        flagged=array_to_proto(is_flagged[listed]),
        minority=array_to_proto(is_minority[listed]),
        flagged_groups=shares_to_proto(rows, is_flagged),
        minority_groups=shares_to_proto(rows, is_minority),
        truncated=listed.size < order.size,
        notes=notes_to_proto([*_notes(rows), *rows.notes]),
        grouping=rows.used_grouping,
    )


def _check_classes(rows: Labelled) -> None:
    present = np.unique(rows.y)
    if present.size < 2:
        names = rows.manifest.labels.classes
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"feature set {rows.manifest.digest[:12]} has rows of one class only, {names[int(present[0])]!r}: no "
            "neighbour can say that a label is another's; ask about a set of two classes or more",
            feature_set=rows.manifest.digest,
        )


def _notes(rows: Labelled) -> list[Note]:
    if rows.manifest.labels.attribute_values:
        return []
    text = (
        "the set has no attribute, so that rows of a minority cannot be told from wrong labels: upload it with a=..., "
        "or ask through a grouping"
    )
    return [Note(NoteId.GROUPS_ARE_CLASSES, text)]


def _held_out_classes(request: pb.FindLabelNoiseRequest, rows: Labelled, resources: Resources) -> Integers:
    """(N,) the class that each row is predicted to be of by a head that was fitted without its fold."""
    # In the order of their ids, so that folds do not depend on that of the rows.
    order = np.argsort(rows.row_id, kind="stable")
    fold = np.empty(rows.n_rows, dtype=np.int64)
    fold[order] = noise.stratified_folds(rows.y[order], request.folds, request.seed)
    resident = resources.residents.get(rows.manifest.digest, resources.check, resources.progress)
    problems = [
        Problem(
            rows=np.flatnonzero(fold != one),
            l2=L2,
            intercept=Intercept.PENALIZED,
            intercept_scale=INTERCEPT_SCALE,
            standardize=Standardize.ROWS,
        )
        for one in range(request.folds)
    ]
    with warnings.catch_warnings():
        # Where a head predicts hardly depends on the last digits of its optimum.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = solve(
            resident.features,
            resident.y,
            rows.n_classes,
            problems,
            tolerance=TOLERANCE,
            check=resources.check,
            report=resources.progress.stage("fitting", "folds"),
            bases=resident.bases,
        )
    to_host = resources.backend.to_host
    heads = [Head(weight=to_host(fit.weight), bias=to_host(fit.bias)) for fit in fits]
    predicted = np.empty(rows.n_rows, dtype=np.int64)
    for one, logits in enumerate(logits_of_heads(resident.features, heads)):
        resources.check()
        held_out = fold == one
        predicted[held_out] = to_host(logits)[held_out].argmax(axis=1)
    return predicted
