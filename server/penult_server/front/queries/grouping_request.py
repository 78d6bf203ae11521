"""Questions about groups made complete: names a digest, every default filled in, and everything they say checked."""

import hashlib
import math

import numpy as np

from penult_proto.errors import ErrorKind
from penult_proto.grouping_methods import METHODS, GroupingMethod
from penult_proto.limits import MOST_GROUP_NAMES, MOST_LABELS, MOST_NAME
from penult_proto.v1 import features_pb2, spectra_pb2
from penult_proto.v1 import groupings_pb2 as pb
from penult_server.errors import ServiceError, unknown
from penult_server.front.queries.digests import query_digest
from penult_server.front.queries.feature_sources import resolve_source
from penult_server.messages import array_from_proto, array_to_proto
from penult_server.registry.catalog import Catalog

DEFAULT_PERMUTATIONS = 200
MOST_PERMUTATIONS = 100_000
UPLOADED, ATTRIBUTE = "uploaded", "attribute"


def complete_discovery(catalog: Catalog, request: pb.DiscoverGroupsRequest) -> features_pb2.FeatureSet:
    """Complete a question in place; on the registry's thread. Returns the set that is grouped.

    Raises ServiceError: UNKNOWN_METHOD, UNKNOWN_FEATURE_SET, UNKNOWN_CHECKPOINT, UNKNOWN_RESULT, INVALID_ARGUMENT,
    OTHER_CHECKPOINT, OTHER_CLASSES, WRONG_SHAPE, ATTRIBUTE_MISSING, and for uploads WRONG_DTYPE, LABEL_OUT_OF_RANGE.
    """
    method = _method(request.method)
    source = _resolve_rows(catalog, request.source)
    _complete_sets(catalog, request, source)
    _complete_numbers(request, method)
    _complete_words(request, method, source)
    _complete_head(catalog, request, method, source)
    if request.HasField("uploaded") != (method.name == UPLOADED):
        raise _wrong("uploaded", f"given for the method {UPLOADED!r}, and for no other", f"the method {method.name!r}")
    if request.HasField("uploaded"):
        _complete_upload(request.uploaded)
    if request.indices and not method.takes_indices:
        raise _wrong("indices", f"left out: they say nothing to the method {method.name!r}", len(request.indices))
    if not method.is_random:
        request.seed = 0
    return source


def complete_score(catalog: Catalog, request: pb.ScoreGroupingRequest) -> None:
    """Complete a question about agreement in place; on the registry's thread.

    Raises ServiceError: UNKNOWN_GROUPING, INVALID_ARGUMENT.
    """
    request.grouping = catalog.grouping(request.grouping).digest
    if request.truth:
        request.truth = catalog.grouping(request.truth).digest
    request.permutations = request.permutations if request.HasField("permutations") else DEFAULT_PERMUTATIONS
    if not 0 <= request.permutations <= MOST_PERMUTATIONS:
        raise _wrong("permutations", f"0 (none) .. {MOST_PERMUTATIONS}", request.permutations)


def resolve_set(catalog: Catalog, source: spectra_pb2.FeatureSource) -> features_pb2.FeatureSet:
    """The set that is grouped, by its digest in `source` afterwards.

    Raises ServiceError: UNKNOWN_FEATURE_SET, UNKNOWN_CHECKPOINT, INVALID_ARGUMENT.
    """
    if source.HasField("rows"):
        raise _wrong("rows", "left out: all rows of a set are assigned", "rows")
    return _resolve_rows(catalog, source)


def _resolve_rows(catalog: Catalog, source: spectra_pb2.FeatureSource) -> features_pb2.FeatureSet:
    """The set whose rows, all or some, are grouped. Raises as `resolve_set`."""
    if source.grouping:
        raise _wrong("grouping", "left out of the set that is grouped", source.grouping)
    return resolve_source(catalog, source)


def grouping_digest(request: pb.DiscoverGroupsRequest) -> str:
    """Identity of a complete question; of an upload, that of its rows and values."""
    said = pb.DiscoverGroupsRequest()
    said.CopyFrom(request)
    for array in (said.uploaded.row_ids, said.uploaded.values) if request.HasField("uploaded") else ():
        array.data = hashlib.sha256(array.data).digest()
    return query_digest("grouping", said)


def _method(name: str) -> GroupingMethod:
    if name not in METHODS:
        raise unknown(ErrorKind.UNKNOWN_METHOD, "method that finds groups", name, sorted(METHODS))
    return METHODS[name]


def _complete_sets(catalog: Catalog, request: pb.DiscoverGroupsRequest, source: features_pb2.FeatureSet) -> None:
    """The sets beside the source by their digests; they must be of the same classes, features and model."""
    for field in ("fit", "other"):
        name = getattr(request, field)
        if not name:
            continue
        found = catalog.feature_set(name)
        setattr(request, field, found.digest)
        check_alike(catalog, found, source, field)
    if request.fit == source.digest and not request.source.HasField("rows"):
        request.ClearField("fit")
    method = METHODS[request.method]
    if request.fit and not method.takes_fit:
        raise _wrong("fit", f"left out: the method {method.name!r} fits nothing", f"set {request.fit[:12]}")
    if request.other and not (method.takes_other or method.needs_attribute):
        raise _wrong("other", f"left out: the method {method.name!r} compares nothing", f"set {request.other[:12]}")


def check_alike(catalog: Catalog, found: features_pb2.FeatureSet, source: features_pb2.FeatureSet, field: str) -> None:
    """Raise ServiceError (WRONG_SHAPE, OTHER_CLASSES, OTHER_CHECKPOINT) unless two sets can be looked at together."""
    both = f"{field} is feature set {found.digest[:12]}, the rows that are grouped are those of {source.digest[:12]}"
    if found.n_features != source.n_features:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE, f"{both}: they have {found.n_features} and {source.n_features} features", field=field
        )
    if tuple(found.labels.classes) != tuple(source.labels.classes):
        raise ServiceError(
            ErrorKind.OTHER_CLASSES,
            f"{both}: their classes are {list(found.labels.classes)[:20]} and {list(source.labels.classes)[:20]}",
            field=field,
        )
    if not (found.checkpoint and source.checkpoint) or found.checkpoint == source.checkpoint:
        return
    if source.checkpoint not in catalog.checkpoints_of_model(catalog.checkpoint(found.checkpoint)):
        raise ServiceError(
            ErrorKind.OTHER_CHECKPOINT,
            f"{both}: they are features of checkpoints {found.checkpoint[:12]} and {source.checkpoint[:12]}; use those "
            "of one checkpoint",
            field=field,
        )


def _complete_numbers(request: pb.DiscoverGroupsRequest, method: GroupingMethod) -> None:
    for name, value in request.numbers.items():
        if name not in method.numbers:
            raise unknown(ErrorKind.INVALID_ARGUMENT, f"number of the method {method.name!r}", name, [*method.numbers])
        one = method.numbers[name]
        if not (math.isfinite(value) and one.low <= value <= one.high) or (one.is_integer and value != int(value)):
            kind = "a whole number" if one.is_integer else "a number"
            raise _wrong(name, f"{kind} in {one.low:g} .. {one.high:g}", f"{value:g}")
    for name, one in method.numbers.items():
        if name not in request.numbers:
            request.numbers[name] = one.default


def _complete_words(request: pb.DiscoverGroupsRequest, method: GroupingMethod, source: features_pb2.FeatureSet) -> None:
    for name, word in request.words.items():
        if name not in method.words:
            raise unknown(ErrorKind.INVALID_ARGUMENT, f"word of the method {method.name!r}", name, [*method.words])
        legal = method.words[name]
        if legal and word not in legal:
            raise unknown(ErrorKind.INVALID_ARGUMENT, name, word, list(legal))
        _check_name(name, word)
    for name, legal in method.words.items():
        if not request.words.get(name):
            request.words[name] = legal[0] if legal else ""
    if method.name == ATTRIBUTE:
        request.words[ATTRIBUTE] = _column(request.words[ATTRIBUTE], source)
    if method.name == UPLOADED:
        request.words[ATTRIBUTE] = request.words[ATTRIBUTE] or UPLOADED


def _column(name: str, source: features_pb2.FeatureSet) -> str:
    """The attribute column that is meant; the one that the groups are made of when nothing is said."""
    own = [source.labels.attribute] if source.labels.attribute_values else []
    known = list(dict.fromkeys([*own, *(one.name for one in source.attributes)]))
    if not known:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            f"feature set {source.digest[:12]} has no attribute: upload values (client.groupings.upload), or discover "
            "groups by another method",
            digest=source.digest,
        )
    if not name:
        return known[0]
    if name not in known:
        raise unknown(ErrorKind.INVALID_ARGUMENT, "attribute column", name, known)
    return name


def _complete_head(
    catalog: Catalog, request: pb.DiscoverGroupsRequest, method: GroupingMethod, source: features_pb2.FeatureSet
) -> None:
    """A stored refit or checkpoint by its digest. Raises where logits are needed and there are none."""
    match request.head.WhichOneof("head"):
        case "refit":
            request.head.refit = catalog.refit(request.head.refit).digest
        case "checkpoint":
            request.head.checkpoint = catalog.checkpoint(request.head.checkpoint).digest
        case "explicit":
            pass
        case None:
            request.ClearField("head")
    if request.HasField("head") and not (method.needs_logits or method.takes_head):
        raise _wrong("head", f"left out: the method {method.name!r} looks at no logits", "a head")
    if request.HasField("head") and not method.looks_at_head(request.words) and method.head_with is not None:
        word, value = method.head_with
        raise _wrong("head", f"left out, or given with {word}={value!r}, which looks at it", request.words[word])
    sets = [source, *(catalog.feature_set(one) for one in (request.fit, request.other) if one)]
    without = [one.digest[:12] for one in sets if not (one.has_logits or one.has_head)]
    if method.needs_logits and without and not request.HasField("head"):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the method {method.name!r} looks at logits, and feature set {', '.join(without)} has neither these "
            "nor a head: upload it with logits=... or head=..., or give a head, such as a refit (head=...)",
            field="head",
        )
    if method.needs_attribute and not request.other:
        raise _wrong("other", f"a feature set with an attribute, which the method {method.name!r} learns from", "none")
    if method.needs_attribute and not sets[-1].labels.attribute_values:
        raise ServiceError(
            ErrorKind.ATTRIBUTE_MISSING,
            f"the method {method.name!r} learns from the attribute of {request.other[:12]}, which has none",
            digest=request.other,
        )


def _complete_upload(given: pb.UploadedGroups) -> None:
    """Rows in a group by ascending id, and a name for every value."""
    ids, values = array_from_proto(given.row_ids, "row_ids"), array_from_proto(given.values, "values")
    for name, array, dtype in (("row_ids", ids, np.uint64), ("values", values, np.int64)):
        if array.dtype != dtype:
            raise ServiceError(
                ErrorKind.WRONG_DTYPE, f"{name} must be {np.dtype(dtype).name}, got {array.dtype.name}", array=name
            )
    if ids.ndim != 1 or ids.shape != values.shape or not ids.size:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"row_ids and values must be lists of one length, at least 1; got {ids.shape} and {values.shape}",
            array="values",
        )
    order = np.argsort(ids, kind="stable")
    ids, values = ids[order], values[order]
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if repeated.size:
        raise _wrong("row_ids", "different: a row is in one group", f"row {repeated[0]} more than once")
    _complete_names(given, values)
    kept = values >= 0
    given.row_ids.CopyFrom(array_to_proto(ids[kept]))
    given.values.CopyFrom(array_to_proto(values[kept]))


def _complete_names(given: pb.UploadedGroups, values: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    least, most = int(values.min()), int(values.max())
    if most < 0:
        raise _wrong(
            "values", "0 or more for one row at least; -1 means that a row is in no group", "no row in a group"
        )
    n_values = len(given.names) or most + 1
    if least < -1 or most >= n_values or n_values > MOST_LABELS:
        named = f" (there are {n_values} names)" if given.names else ""
        raise ServiceError(
            ErrorKind.LABEL_OUT_OF_RANGE,
            f"values must lie in 0 .. {min(n_values, MOST_LABELS) - 1}{named}, or be -1 for no group; got {least} .. "
            f"{most}",
            array="values",
        )
    if not given.names:
        given.names.extend(str(index) for index in range(n_values))
    if len(set(given.names)) < n_values or "" in given.names:
        raise _wrong("names", "a name of its own for every value", list(given.names)[:20])
    for name in given.names:
        _check_name("names", name)
    if sum(len(name.encode()) for name in given.names) > MOST_GROUP_NAMES:
        raise _wrong("names", f"{MOST_GROUP_NAMES} bytes together at most", "more")


def _check_name(field: str, name: str) -> None:
    if len(name) > MOST_NAME:
        raise _wrong(field, f"of {MOST_NAME} characters at most", f"{name[:40]!r}... with {len(name)}")


def _wrong(field: str, expected: str, got: object) -> ServiceError:
    return ServiceError(ErrorKind.INVALID_ARGUMENT, f"{field} must be {expected}; got {got}", field=field)
