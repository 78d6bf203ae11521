"""Why a refit may be refused: names and sizes that do not match, before anything is fitted; errors of the kernels.

Heads, and the sets that choose and score, are matched by the names of their classes. Answers too large for a message
are refused before they are computed. Errors of the kernels are explained in terms of the request.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penult_kernels.sampling.balancing import EmptyLabelError
from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2 as pb
from penult_server.class_names import Match
from penult_server.compute.refits.material import RefitMaterial
from penult_server.compute.refits.named_heads import Rules, check_width, head_from_proto
from penult_server.compute.refits.rows import RowChooser
from penult_server.errors import ServiceError
from penult_server.messages import array_to_proto
from penult_server.notes import Note
from penult_server.questions.refit_scalars import candidates_of
from penult_server.stores.manifest import FeatureManifest

MOST_BYTES = 48 * 2**20
"""Largest head, or plan, of an answer: messages hold 64 MiB."""
BYTES_OF_A_ROW = 16
"""Bytes of a row in a plan: its id and its weight."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matched:
    """A request whose names match."""

    request: pb.RefitRequest
    """The request, with the rows of its heads in the order of the classes of the set that is fitted."""
    select: Match | None
    """The match of heads to the set that chooses; None if that is the set that is fitted."""
    evaluate: Mapping[str, Match]
    """The match of heads to each set that scores."""
    notes: tuple[Note, ...]


def match_names(request: pb.RefitRequest, material: RefitMaterial) -> Matched:
    """Match the heads, scalers and sets of a request to the set that is fitted.

    Raises ServiceError: WRONG_SHAPE, NOT_FINITE, OTHER_CHECKPOINT, OTHER_CLASSES, and what reading manifests raises.
    """
    rules = Rules(is_same_model=material.is_same_model, across_checkpoints=request.across_checkpoints)
    manifest = material.manifest(request.feature_set)
    asked = pb.RefitRequest()
    asked.CopyFrom(request)
    notes = [*_match_heads(asked, rules, manifest), *_match_scalers(asked, rules, manifest, material)]
    if request.rows.kind == pb.ROWS_KIND_TOP_DISAGREEMENT:
        notes += material.match_logits(request.rows.other, request.feature_set).notes
    select = None
    if request.select.feature_set:
        select = rules.heads_of_set(manifest, material.manifest(request.select.feature_set))
        notes += select.notes
    evaluate = {
        name: rules.heads_of_set(manifest, material.manifest(request.evaluate[name]))
        for name in sorted(request.evaluate)
    }
    notes += [note for match in evaluate.values() for note in match.notes]
    return Matched(request=asked, select=select, evaluate=evaluate, notes=tuple(notes))


def _match_heads(request: pb.RefitRequest, rules: Rules, manifest: FeatureManifest) -> list[Note]:
    """Put the rows of given heads in order, in place."""
    notes: list[Note] = []
    sources = {
        "center": request.center,
        "path.start": request.path.start,
        "detector.start": request.weights.detector.start,
    }
    for name, source in sources.items():
        if source.kind in (pb.HEAD_KIND_EXPLICIT, pb.HEAD_KIND_REFIT):
            given = head_from_proto(source.head, f"the head of {name}")
            match = rules.head(given, manifest)
            source.head.weight.CopyFrom(array_to_proto(match.rows(given.head.weight)))
            source.head.bias.CopyFrom(array_to_proto(match.rows(given.head.bias)))
            notes += match.notes
    return notes


def _match_scalers(
    request: pb.RefitRequest, rules: Rules, manifest: FeatureManifest, material: RefitMaterial
) -> list[Note]:
    notes: list[Note] = []
    for scaling in (request.scaling, request.select.scaling):
        if scaling.kind == pb.SCALING_KIND_SET:
            other = material.manifest(scaling.feature_set)
            whose = f"feature set {other.digest[:12]}, which standardises,"
            check_width(other.n_features, whose, manifest)
            notes += rules.checkpoint(other.checkpoint, whose, manifest)
    return notes


def check_sizes(request: pb.RefitRequest, rows: RowChooser) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) where the head, or the plan that is asked for, is too large to be sent."""
    n_features = rows.labelled.manifest.n_features
    if 8 * rows.n_classes * (n_features + 1) > MOST_BYTES:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"a head of {rows.n_classes} classes and {n_features} features takes more than {MOST_BYTES >> 20} MiB, "
            "which no answer holds: use pooled features",
            field="feature_set",
        )
    if not request.plan:
        return
    most_rows = MOST_BYTES // BYTES_OF_A_ROW
    listed = _rows_of_plan(request, rows)
    if listed > most_rows:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"plan=True would list {listed:,} rows in all draws, at most {most_rows:,} fit in an answer: ask for fewer "
            "repeats, or leave plan= out, which changes nothing else",
            field="plan",
        )


def _rows_of_plan(request: pb.RefitRequest, rows: RowChooser) -> int:
    """Rows in all draws of the candidate with most of them."""
    most, seen = 0, set[bytes]()
    for candidate in candidates_of(request):
        key = candidate.balance.SerializeToString(deterministic=True) + candidate.rows.SerializeToString(
            deterministic=True
        )
        if key in seen:
            continue
        seen.add(key)
        try:
            draws = rows.draws(candidate, rows.universe, request.repeats)
        except ValueError:
            continue  # Reported when the candidate is fitted.
        most = max(most, sum(draw.rows.size for draw in draws))
    return most


def explained(error: Exception, request: pb.RefitRequest, manifest: FeatureManifest) -> Exception:
    """An error of the kernels, explained in terms of the request; `manifest` has the groups that are balanced."""
    if isinstance(error, EmptyLabelError):
        return _empty(error, request, manifest)
    if isinstance(error, np.linalg.LinAlgError):
        return ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the features are too large, or too unlike each other in size, for the solver's arithmetic ({error}): "
            "divide them by a common scale before they are stored",
        )
    if isinstance(error, ValueError):
        return ServiceError(ErrorKind.INVALID_ARGUMENT, str(error))
    return error


def _empty(error: EmptyLabelError, request: pb.RefitRequest, manifest: FeatureManifest) -> ServiceError:
    labels = manifest.labels
    is_group = error.n_labels != len(labels.classes)
    if is_group and request.groups == pb.GROUP_SOURCE_STORED:
        y, a = divmod(error.label, labels.n_attributes)
        name = f"group {error.label} ({labels.classes[y]}, {labels.attribute_values[a]})"
    elif is_group:
        y, environment = divmod(error.label, 2)
        name = f"environment {environment} of class {labels.classes[y]}"
    else:
        name = f"class {error.label} ({labels.classes[error.label]})"
    mend = "use a set, or a half, that has all of them"
    if is_group:
        mend += ", or balance the groups that are there with missing_groups='skip'"
    return ServiceError(
        ErrorKind.EMPTY_GROUP,
        f"{name} has no example among the rows of feature set {manifest.digest[:12]} that are fitted, so it cannot be "
        f"balanced or fitted; {mend}",
        label=error.label,
        by="group" if is_group else "class",
    )
