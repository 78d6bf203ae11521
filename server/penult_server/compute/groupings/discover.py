"""Questions about groups: a method finds values, or a stored rule assigns them, and the grouping is written."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.json_format import MessageToDict, ParseDict
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_LABELS
from penult_proto.v1 import groupings_pb2 as pb
from penult_server.clock import timestamp
from penult_server.compute.groupings.found import Found, Inputs, Integers, Rows
from penult_server.compute.groupings.inputs import Access, read_inputs, read_rows
from penult_server.compute.groupings.methods import (
    attribute,
    eiil,
    errors,
    gic,
    predictions,
    regularised_errors,
    spuriosity,
    ssa,
    units,
    uploaded,
    xrm,
)
from penult_server.compute.groupings.methods.clustering import tables as clustering
from penult_server.errors import ServiceError, unknown
from penult_server.messages import groups_to_proto, labels_to_proto
from penult_server.notes import notes_to_proto
from penult_server.records import LabelNames
from penult_server.stores.groupings import RULE, GroupingManifest, StoredGrouping, write_grouping
from penult_server.stores.manifest import FeatureManifest

Assigned: TypeAlias = tuple[Integers, NDArray[np.float32] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How other rows are assigned."""

    assign: Callable[[Mapping[str, NDArray[Any]], Rows], Assigned]
    """From the arrays of the rule and rows: (N,) values, and (N, V) how far each row belongs to each."""
    needs_features: bool = True


FINDERS: dict[str, Callable[[Inputs], Found]] = {
    "attribute": attribute.find,
    "eiil": eiil.find,
    "errors": errors.find,
    "gic": gic.find,
    "predictions": predictions.find,
    "regularised_errors": regularised_errors.find,
    "spuriosity": spuriosity.find,
    "ssa": ssa.find,
    "units": units.find,
    "uploaded": uploaded.find,
    "xrm": xrm.find,
    **clustering.FINDERS,
}
"""What finds values, by the name of the method in `METHODS`."""
RULES: dict[str, Rule] = {
    attribute.RULE: Rule(assign=attribute.assign, needs_features=False),
    eiil.RULE: Rule(assign=eiil.assign),
    errors.RULE: Rule(assign=errors.assign),
    "gic": Rule(assign=gic.assign),
    predictions.RULE: Rule(assign=predictions.assign),
    "spuriosity": Rule(assign=spuriosity.assign),
    "ssa": Rule(assign=ssa.assign),
    "units": Rule(assign=units.assign),
    "xrm": Rule(assign=xrm.assign),
    **{kind: Rule(assign=own) for kind, own in clustering.RULES.items()},
}
"""Rules by their kind, as `Found.rule` names it."""


def discover(request: pb.DiscoverGroupsRequest, digest: str, access: Access) -> pb.Grouping:
    """Find the groups of a complete question, and store them.

    Raises ServiceError: UNKNOWN_FEATURE_SET, STORE_CORRUPT, OUT_OF_MEMORY, LABEL_OUT_OF_RANGE, and what the method
    raises.
    """
    if request.method not in FINDERS:
        raise unknown(ErrorKind.UNKNOWN_METHOD, "method", request.method, sorted(FINDERS))
    inputs = read_inputs(request, access)
    found = FINDERS[request.method](inputs)
    named = request.words.get("attribute", "") or request.method
    return _store(found, inputs.source, named, pb.Grouping(digest=digest, request=_said(request)), access)


def assign(request: pb.AssignGroupsRequest, digest: str, access: Access) -> pb.Grouping:
    """Assign the rows of a set by the rule of a stored grouping, and store that. Raises as `discover`."""
    stored = StoredGrouping(access.root, request.grouping)
    if stored.manifest.rule not in RULES:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"grouping {request.grouping[:12]} has no rule that this server knows: it holds the values of its own rows "
            "alone; upload those of other rows",
            grouping=request.grouping,
        )
    rule = RULES[stored.manifest.rule]
    if rule.needs_features:
        _check_features(stored.manifest, access.manifest(request.source.feature_set), access)
    rows = read_rows(request.source, access, with_features=rule.needs_features)
    value, soft = rule.assign(stored.rule, rows)
    found = Found(
        value=value,
        names=stored.manifest.values,
        soft=soft,
        rule=stored.manifest.rule,
        rule_arrays=stored.rule,
    )
    before = ParseDict(stored.manifest.record, pb.Grouping(), ignore_unknown_fields=True)
    grouping = pb.Grouping(digest=digest, request=before.request, assigned_by=request.grouping)
    grouping.request.source.CopyFrom(request.source)
    return _store(found, rows, stored.manifest.attribute, grouping, access)


def _check_features(grouping: GroupingManifest, manifest: FeatureManifest, access: Access) -> None:
    """Raise ServiceError (WRONG_SHAPE, OTHER_CHECKPOINT) for other features than those that a rule is about."""
    if manifest.n_features != grouping.n_features:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"the rule of grouping {grouping.digest[:12]} is about {grouping.n_features} features; feature set "
            f"{manifest.digest[:12]} has {manifest.n_features}",
            grouping=grouping.digest,
        )
    ours, theirs = grouping.checkpoint, manifest.checkpoint
    if ours and theirs and not access.material.is_same_model(ours, theirs):
        raise ServiceError(
            ErrorKind.OTHER_CHECKPOINT,
            f"the rule of grouping {grouping.digest[:12]} is about features of checkpoint {ours[:12]}; feature set "
            f"{manifest.digest[:12]} holds those of checkpoint {theirs[:12]}: use features of the same checkpoint",
            grouping=grouping.digest,
        )


def _store(found: Found, rows: Rows, attribute: str, grouping: pb.Grouping, access: Access) -> pb.Grouping:
    """Write what was found; a grouping is complete in what the caller has not filled in."""
    feature_set = access.manifest(grouping.request.source.feature_set)
    labels = replace(rows.labels, attribute=attribute, attribute_values=found.names, masks=())
    _check(found, rows, labels)
    arrays: dict[str, NDArray[Any]] = {"row_id": rows.row_id, "y": rows.y, "value": found.value}
    if found.soft is not None:
        arrays["soft"] = found.soft
    arrays |= {f"{RULE}{name}": array for name, array in found.rule_arrays.items()}
    _complete(grouping, found, rows, labels, feature_set)
    manifest = GroupingManifest(
        digest=grouping.digest,
        feature_set=feature_set.digest,
        classes=labels.classes,
        values=labels.attribute_values,
        attribute=labels.attribute,
        record=MessageToDict(grouping),
        dataset=feature_set.dataset,
        dataset_digest=feature_set.dataset_digest,
        split=feature_set.split,
        rule=found.rule,
        checkpoint=feature_set.checkpoint,
        n_features=feature_set.n_features,
    )
    written = write_grouping(access.root, manifest, arrays)
    return ParseDict(written.record, pb.Grouping(), ignore_unknown_fields=True)


def _complete(
    grouping: pb.Grouping, found: Found, rows: Rows, labels: LabelNames, feature_set: FeatureManifest
) -> None:
    is_in = found.value >= 0
    g = (rows.y * labels.n_attributes + found.value)[is_in]
    grouping.feature_set = feature_set.digest
    grouping.dataset, grouping.dataset_digest = feature_set.dataset, feature_set.dataset_digest
    grouping.split = feature_set.split
    grouping.method = grouping.request.method
    grouping.labels.CopyFrom(labels_to_proto(labels))
    grouping.groups.extend(groups_to_proto(labels, np.bincount(g, minlength=labels.n_groups).tolist()))
    grouping.n_rows = rows.row_id.size
    grouping.n_unassigned = int(rows.row_id.size - is_in.sum())
    grouping.has_rule = bool(found.rule)
    grouping.has_soft = found.soft is not None
    grouping.scores.update({name: float(score) for name, score in found.scores.items()})
    grouping.notes.extend(notes_to_proto(found.notes))
    grouping.created.CopyFrom(timestamp(time.time()))


def _check(found: Found, rows: Rows, labels: LabelNames) -> None:
    """Raise ServiceError (LABEL_OUT_OF_RANGE) for more groups than any answer names; a method's own fault is a bug."""
    if labels.n_groups > MOST_LABELS:
        raise ServiceError(
            ErrorKind.LABEL_OUT_OF_RANGE,
            f"{len(labels.classes)} classes x {labels.n_attributes} values make {labels.n_groups} groups, more than "
            f"{MOST_LABELS}; ask for fewer",
        )
    n, v = rows.row_id.size, len(found.names)
    if found.value.shape != (n,) or found.value.dtype != np.int64 or not v or len(set(found.names)) != v:
        raise AssertionError(f"a method gave {found.value.shape} {found.value.dtype} values and names {found.names}")
    if n and not -1 <= int(found.value.min()) <= int(found.value.max()) < v:
        raise AssertionError(f"a method gave values beyond its {v} names")


def _said(request: pb.DiscoverGroupsRequest) -> pb.DiscoverGroupsRequest:
    """The question as it is kept: without arrays of one number a row, and without the weights of heads."""
    said = pb.DiscoverGroupsRequest()
    said.CopyFrom(request)
    said.uploaded.ClearField("row_ids")
    said.uploaded.ClearField("values")
    if not request.HasField("uploaded"):
        said.ClearField("uploaded")
    said.head.explicit.ClearField("weight")
    said.head.explicit.ClearField("bias")
    if not request.HasField("head"):
        said.ClearField("head")
    return said
