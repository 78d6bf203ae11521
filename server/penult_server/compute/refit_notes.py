"""What of a refit its numbers alone do not say."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_kernels.heads import logits_of_heads
from penult_kernels.refit_engine import Certificate, Head
from penult_proto.notes import NoteId
from penult_proto.v1 import groups_pb2
from penult_proto.v1 import refits_pb2 as pb
from penult_server.compute.refit_material import RefitMaterial
from penult_server.compute.refit_problems import ProblemMaker, Task
from penult_server.compute.refit_work import Logits, Rounds
from penult_server.notes import Note

SAMPLED = 1024
"""Rows whose predictions are looked at first: where they are of two classes, so are those of all."""


def fit_notes(
    request: pb.RefitRequest,
    maker: ProblemMaker,
    tasks: Sequence[Task],
    certificate: Certificate,
    n_failed: int,
    *,
    choice_has_no_groups: bool,
) -> list[Note]:
    """About the fit: rows, candidates, intercept, certificate."""
    found = [note for task in tasks for note in maker.rows.notes(request, task.draw)]
    if n_failed:
        text = f"{n_failed} candidates of the grid could not be fitted; the selection says why of each"
        found.append(Note(NoteId.FAILED_CANDIDATES, text))
    if request.intercept == pb.INTERCEPT_NONE and request.center.kind != pb.HEAD_KIND_ZERO:
        text = "no intercept is fitted, so the bias is that of the center in the space that is solved"
        found.append(Note(NoteId.INTERCEPT_OF_CENTER, text))
    by_group = (pb.SELECT_METRIC_WORST_GROUP, pb.SELECT_METRIC_MEAN_GROUP)
    if choice_has_no_groups and request.select.metric in by_group:
        text = "the set that chooses has no attribute, so its groups are the classes"
        found.append(Note(NoteId.GROUPS_ARE_CLASSES, text))
    if not request.HasField("path") and not certificate.converged:
        text = (
            f"the solver stopped {certificate.gap:.2g} above the optimum at most, which is more than the tolerance "
            "asked for: allow more max_iterations"
        )
        found.append(Note(NoteId.NOT_CONVERGED, text))
    return found


def prediction_notes(
    request: pb.RefitRequest,
    head: Head,
    maker: ProblemMaker,
    material: RefitMaterial,
    metrics: Mapping[str, groups_pb2.Metrics],
) -> Rounds[list[Note]]:
    """Whether one class is predicted for every row, of the set that was fitted or of one that it was evaluated on."""
    notes = [Note(NoteId(note.id), f"on {name!r}, {note.text}") for name, one in metrics.items() for note in one.notes]
    features = material.resident(request.feature_set).features
    step = max(1, int(features.shape[0]) // SAMPLED)
    (few,) = logits_of_heads(features[::step, :], [head])
    classes = _predicted(few, material)
    if classes.size == 1 and step > 1:
        ((logits,),) = yield [Logits(digest=request.feature_set, heads=[head])]
        classes = _predicted(logits, material)
    if classes.size == 1:
        name = maker.rows.labels.classes[int(classes[0])]
        text = f"the head predicts class {name!r} for every row of the set that was fitted"
        notes.append(Note(NoteId.PREDICTS_ONE_CLASS, text))
    return notes


def _predicted(logits: Any, material: RefitMaterial) -> NDArray[np.int64]:
    return np.unique(material.backend.to_host(logits).argmax(axis=1))
