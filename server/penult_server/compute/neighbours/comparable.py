"""Whether rows of two sets have distances that mean something."""

from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_proto.v1 import neighbours_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.notes import Note
from penult_server.questions.neighbours import OF_ATTRIBUTE, OF_CLASS
from penult_server.stores.checkpoints import read_manifest
from penult_server.stores.manifest import FeatureManifest


def check_comparable(
    query: pb.NeighbourQuery, source: FeatureManifest, among: FeatureManifest, root: Path
) -> tuple[Note, ...]:
    """A note where the features are of two checkpoints and this was meant.

    Raises ServiceError: WRONG_SHAPE for other widths; OTHER_CHECKPOINT unless it was meant; OTHER_CLASSES where a
    filter compares classes, groups or values of an attribute that the sets do not number alike.
    """
    both = f"feature sets {source.digest[:12]} and {among.digest[:12]}"
    if source.n_features != among.n_features:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"{both} have {source.n_features} and {among.n_features} features, and rows of both no distance: look "
            "among features of the same checkpoint",
            field="among",
        )
    _check_labels(query, source, among, both)
    if not (source.checkpoint and among.checkpoint) or _is_same_model(root, source.checkpoint, among.checkpoint):
        return ()
    said = f"{both} are of checkpoints {source.checkpoint[:12]} and {among.checkpoint[:12]}, which are different spaces"
    if not query.across_checkpoints:
        raise ServiceError(
            ErrorKind.OTHER_CHECKPOINT,
            f"{said}: look among features of the same checkpoint, or ask with across_checkpoints=True if this is meant",
            field="across_checkpoints",
        )
    return (Note(NoteId.ACROSS_CHECKPOINTS, said),)


def _check_labels(query: pb.NeighbourQuery, source: FeatureManifest, among: FeatureManifest, both: str) -> None:
    if query.within in (pb.NEIGHBOUR_WITHIN_UNSPECIFIED, pb.NEIGHBOUR_WITHIN_ALL):
        return
    own, other = source.labels, among.labels
    compared = [] if query.within in OF_ATTRIBUTE else [("classes", own.classes, other.classes)]
    if query.within not in OF_CLASS:
        compared.append(("values of the attribute", own.attribute_values, other.attribute_values))
    for what, mine, theirs in compared:
        if mine != theirs:
            raise ServiceError(
                ErrorKind.OTHER_CLASSES,
                f"within= compares {what}, and {both} have {list(mine)[:20]} and {list(theirs)[:20]}",
                field="within",
            )


def _is_same_model(root: Path, first: str, second: str) -> bool:
    """Whether two checkpoints give the same features; one that is not stored here counts as different."""
    if first == second:
        return True
    try:
        return read_manifest(root, first).model == read_manifest(root, second).model
    except ServiceError as error:
        if error.kind == ErrorKind.UNKNOWN_CHECKPOINT:
            return False
        raise
