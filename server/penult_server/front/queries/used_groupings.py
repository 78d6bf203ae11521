"""Which grouping a question means, and whether it can serve the rows that are asked about: early, by what is known."""

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2, features_pb2, groupings_pb2, spectra_pb2
from penult_server.errors import ServiceError
from penult_server.registry.catalog import Catalog

TRAIN = "train"


def resolve_grouping(catalog: Catalog, name: str, feature_set: features_pb2.FeatureSet) -> groupings_pb2.Grouping:
    """The grouping of that name for the rows of a set; on the registry's thread.

    It serves every set of the same examples, whatever the checkpoint; row by row that is compared by the worker.
    Raises ServiceError: UNKNOWN_GROUPING, OTHER_ROWS, OTHER_CLASSES.
    """
    grouping = _named(catalog, name)
    of_data = grouping.dataset_digest and feature_set.dataset_digest
    if of_data and _examples(grouping) != _examples(feature_set):
        raise _other_rows(grouping, f"feature set {feature_set.digest[:12]} is of {_described(feature_set)}")
    _check_classes(grouping, list(feature_set.labels.classes), f"feature set {feature_set.digest[:12]}")
    return grouping


def resolve_training_grouping(catalog: Catalog, name: str, dataset: datasets_pb2.Dataset) -> str:
    """Digest of the grouping of that name for the training examples of a dataset; on the registry's thread.

    Raises ServiceError: UNKNOWN_GROUPING, OTHER_ROWS.
    """
    grouping = _named(catalog, name)
    if (grouping.dataset_digest, grouping.split) != (dataset.digest, TRAIN):
        raise _other_rows(
            grouping, f"a finetuning needs one of split {TRAIN!r} of dataset {dataset.name!r} as it is now"
        )
    return grouping.digest


def _named(catalog: Catalog, name: str) -> groupings_pb2.Grouping:
    """Raises ServiceError (UNKNOWN_GROUPING), saying what else a caller may have meant."""
    try:
        return catalog.grouping(name)
    except ServiceError as error:
        if error.kind is not ErrorKind.UNKNOWN_GROUPING:
            raise
        said = f"by= is 'group', 'class' or a grouping: {error.message}"
        raise ServiceError(error.kind, said, **dict(error.metadata)) from error


def seen(feature_set: features_pb2.FeatureSet, grouping: groupings_pb2.Grouping) -> features_pb2.FeatureSet:
    """A set with the groups of a grouping in the place of its own."""
    found = features_pb2.FeatureSet()
    found.CopyFrom(feature_set)
    del found.groups[:]
    found.groups.extend(grouping.groups)
    return found


def check_by(by: "spectra_pb2.SpectraBy.ValueType", source: spectra_pb2.FeatureSource) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for a grouping where classes are asked for, which it does not make.

    And for all rows as one part, which only weighted spectra have.
    """
    if by == spectra_pb2.SPECTRA_BY_ALL:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "by='all' takes all rows as one part, which spectra with weights='errors' do (gamma=0 weighs all alike): "
            "ask for those, or by='group' or 'class'",
            field="by",
        )
    if by == spectra_pb2.SPECTRA_BY_CLASS and source.grouping:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            "by='class' pools the groups of each class, and a grouping makes groups: ask by group, or leave the "
            "grouping out",
            field="by",
        )


def _examples(one: groupings_pb2.Grouping | features_pb2.FeatureSet) -> tuple[str, str]:
    return one.dataset_digest, one.split


def _described(one: groupings_pb2.Grouping | features_pb2.FeatureSet) -> str:
    return f"split {one.split!r} of dataset {one.dataset!r}" if one.dataset else "rows that were uploaded"


def _other_rows(grouping: groupings_pb2.Grouping, said: str) -> ServiceError:
    what_to_do = (
        "assign these rows by its rule: grouping.on(features)"
        if grouping.has_rule
        else "make a grouping of these rows, for it has no rule by which others are assigned"
    )
    return ServiceError(
        ErrorKind.OTHER_ROWS,
        f"grouping {grouping.digest[:12]} ({grouping.labels.attribute}) is of {_described(grouping)} (dataset "
        f"{grouping.dataset_digest[:12] or 'none'}); {said}: {what_to_do}",
        grouping=grouping.digest,
    )


def _check_classes(grouping: groupings_pb2.Grouping, classes: list[str], whose: str) -> None:
    own = list(grouping.labels.classes)
    if sorted(own) != sorted(classes):
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"grouping {grouping.digest[:12]} ({grouping.labels.attribute}) is of the classes {', '.join(own[:20])}; "
            f"{whose} has {', '.join(classes[:20])}: use a grouping of these",
            grouping=grouping.digest,
        )
