"""Which feature set, and which of its rows, a query means."""

from collections.abc import Collection

import numpy as np

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, runs_pb2, spectra_pb2
from penult_server.errors import ServiceError
from penult_server.front.queries.used_groupings import resolve_grouping, seen
from penult_server.messages import array_from_proto, array_to_proto
from penult_server.registry.catalog import Catalog

TRAIN = "train"
FLAT = "flat"


def resolve_source(catalog: Catalog, source: spectra_pb2.FeatureSource) -> features_pb2.FeatureSet:
    """The set that `source` means, with the groups of the grouping where there is one; in place, `source` then names it
    by its digest, its grouping likewise and its rows in order.

    Raises ServiceError: UNKNOWN_FEATURE_SET, UNKNOWN_CHECKPOINT, UNKNOWN_RUN, INVALID_ARGUMENT; those of
    `resolve_grouping`.
    """
    _check_source(source)
    if source.checkpoint:
        checkpoint = catalog.checkpoint(source.checkpoint)
        twins = catalog.checkpoints_of_model(checkpoint)
        known = catalog.feature_sets_of(twins, source.split)
        feature_set = features_of(known, checkpoint, source.split, twins)
    else:
        feature_set = catalog.feature_set(source.feature_set)
    source.feature_set = feature_set.digest
    source.ClearField("checkpoint")
    source.ClearField("split")
    match source.rows.WhichOneof("kind"):
        case "row_ids":
            source.rows.row_ids.CopyFrom(array_to_proto(_row_ids(source.rows)))
        case "run":
            run = catalog.run(source.rows.run)
            _check_run(run, feature_set)
            source.rows.run = run.id
        case None:
            pass
    if source.grouping:
        grouping = resolve_grouping(catalog, source.grouping, feature_set)
        source.grouping, feature_set = grouping.digest, seen(feature_set, grouping)
    return feature_set


def check_rows_alone(source: spectra_pb2.FeatureSource) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for a source that names a set where the request names it already."""
    named = [name for name in ("feature_set", "checkpoint", "split") if getattr(source, name)]
    if named:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"spectra of a run look at the features of its checkpoints; of their source only rows may be given, got "
            f"{', '.join(named)} too",
            field=named[0],
        )


def _check_source(source: spectra_pb2.FeatureSource) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) where a part of a source would have no effect."""
    if source.feature_set and (source.checkpoint or source.split):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the features are named twice: feature_set {source.feature_set!r} and checkpoint {source.checkpoint!r}, "
            f"split {source.split!r}; give one of both",
            field="checkpoint" if source.checkpoint else "split",
        )
    if source.split and not source.checkpoint:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"split {source.split!r} belongs to a checkpoint; give it", field="checkpoint"
        )
    if source.HasField("rows") and source.rows.WhichOneof("kind") is None:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, "rows is empty: give row ids or a run, or leave it out for all", field="rows"
        )


def features_of(
    known: list[features_pb2.FeatureSet], checkpoint: runs_pb2.Checkpoint, split: str, twins: Collection[str]
) -> features_pb2.FeatureSet:
    """The one stored feature set of a split under a checkpoint, of the dataset it was trained on if there are more.

    `twins` are the digests of checkpoints that give the same features: features that were extracted from one of them
    are found, too, and name that checkpoint.

    Raises ServiceError: UNKNOWN_FEATURE_SET when nothing was extracted, INVALID_ARGUMENT when several fit.
    """
    short = checkpoint.digest[:12]
    if not split:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"checkpoint {short} has features of several splits; say which: split='train'"
        )
    found = [one for one in known if one.checkpoint in twins and one.split == split]
    own = [one for one in found if one.dataset_digest == checkpoint.dataset_digest]
    # Flat features are asked for by their digest: a checkpoint's features are those that its head reads.
    candidates = [one for one in own or found if one.feature_kind != FLAT] or own or found
    if not candidates:
        raise ServiceError(
            ErrorKind.UNKNOWN_FEATURE_SET,
            f"checkpoint {short} has no stored features of split {split!r}; extract them first: "
            f"client.extract('{short}', splits=['{split}']).wait()",
            checkpoint=checkpoint.digest,
            split=split,
        )
    if len(candidates) > 1:
        candidates = [one for one in candidates if one.checkpoint == checkpoint.digest] or candidates
    if len(candidates) > 1:
        listed = ", ".join(f"{one.digest[:12]} ({one.feature_kind}, {one.labels.attribute})" for one in candidates)
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"several feature sets hold split {split!r} under checkpoint {short}: {listed}; name one of them",
            checkpoint=checkpoint.digest,
            split=split,
        )
    return candidates[0]


def refittable(feature_set: features_pb2.FeatureSet) -> features_pb2.FeatureSet:
    """The same set. Raises ServiceError (INVALID_ARGUMENT) for features that no head reads."""
    if feature_set.feature_kind == FLAT:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"feature set {feature_set.digest[:12]} is flat, the last hidden state before pooling, which no head "
            "reads; refit on the pooled features of the same checkpoint: client.extract(..., kind='pooled')",
            digest=feature_set.digest,
        )
    return feature_set


def _row_ids(rows: spectra_pb2.RowSelection) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """The ids, ascending. Raises ServiceError when they are no list of different ids."""
    given = array_from_proto(rows.row_ids, "rows")
    if given.ndim != 1 or given.dtype != np.uint64 or not given.size:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"rows must be a list of row ids, (n,) uint64 with n at least 1, got {given.shape} {given.dtype}",
        )
    ids = np.unique(given.astype(np.uint64))
    if ids.size != given.size:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"rows must name every row once; {given.size - ids.size} ids are repeated"
        )
    return ids


def _check_run(run: runs_pb2.Run, feature_set: features_pb2.FeatureSet) -> None:
    if feature_set.split != TRAIN or feature_set.dataset_digest != run.dataset_digest:
        of_what = f"split {feature_set.split!r} of {feature_set.dataset!r}" if feature_set.split else "an upload"
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"run {run.id} kept rows of the split {TRAIN!r} of dataset {run.spec.dataset!r}, but feature set "
            f"{feature_set.digest[:12]} is {of_what}; ask about features of that training split",
            run=run.id,
        )
