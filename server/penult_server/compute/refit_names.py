"""What a refit brings together, matched by names before anything is fitted: heads, and sets that choose and score."""

from collections.abc import Mapping
from dataclasses import dataclass

from penult_proto.v1 import refits_pb2 as pb
from penult_server.class_names import Match
from penult_server.compute.named_heads import Rules, check_width, head_from_proto
from penult_server.compute.refit_material import RefitMaterial
from penult_server.messages import array_to_proto
from penult_server.notes import Note
from penult_server.stores.manifest import FeatureManifest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matched:
    """A request whose names agree."""

    request: pb.RefitRequest
    """Its heads have their rows in the order of the classes of the set that is fitted."""
    select: Match | None
    """Of the heads to the set that chooses, where that is another one."""
    evaluate: Mapping[str, Match]
    """The same of each set that scores."""
    notes: tuple[Note, ...]


def match_names(request: pb.RefitRequest, material: RefitMaterial) -> Matched:
    """Match everything.

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
