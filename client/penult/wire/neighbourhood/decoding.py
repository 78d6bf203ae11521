"""From the messages of what is read off neighbours to records."""

from collections.abc import Iterable

import numpy as np

from penult.results.neighbourhood.duplicates import Duplicates, GroupShare
from penult.results.neighbourhood.label_noise import LabelNoise
from penult.results.neighbourhood.rates import NeighbourRate, NeighbourRates
from penult.results.neighbourhood.votes import NeighbourMetrics
from penult.results.used_grouping import UsedGrouping
from penult.wire.arrays import decode as array
from penult.wire.decode import decode_notes, groups, metrics, record, used_grouping
from penult_proto.enums import name_or
from penult_proto.v1 import neighbours_pb2 as pb


def neighbour_metrics(message: pb.NeighbourMetrics) -> NeighbourMetrics:
    """Metrics by k."""
    return record(
        NeighbourMetrics,
        message,
        ks=tuple(one.k for one in message.by_k),
        metrics=tuple(metrics(one.metrics) for one in message.by_k),
        balanced_by=record(UsedGrouping, message.balanced_by) if message.HasField("balanced_by") else None,
        notes=decode_notes(message.notes),
    )


def duplicates(message: pb.Duplicates) -> Duplicates:
    """Pairs of rows, and accuracies where they are known."""
    optional = {
        name: metrics(getattr(message, name)) if message.HasField(name) else None
        for name in ("with_duplicates", "without_duplicates")
    }
    return record(
        Duplicates,
        message,
        metric=name_or(pb.NeighbourMetric, message.metric, "cosine"),
        pairs=array(message.pairs),
        distances=array(message.distances),
        components=array(message.components),
        groups=_shares(message.groups),
        grouping=used_grouping(message),
        notes=decode_notes(message.notes),
        **optional,
    )


def label_noise(message: pb.LabelNoise) -> LabelNoise:
    """Rows from the most suspect on."""
    names = {one.group.y: one.group.class_name for one in message.flagged_groups}
    return record(
        LabelNoise,
        message,
        classes=tuple(names[y] for y in sorted(names)),
        row_ids=array(message.row_ids),
        suspicion=array(message.suspicion),
        neighbour_class=array(message.neighbour_class),
        head_class=array(message.head_class),
        flagged=array(message.flagged).astype(np.bool_),
        minority=array(message.minority).astype(np.bool_),
        flagged_groups=_shares(message.flagged_groups),
        minority_groups=_shares(message.minority_groups),
        grouping=used_grouping(message),
        notes=decode_notes(message.notes),
    )


def neighbour_rates(message: pb.NeighbourRates) -> NeighbourRates:
    """Shares by group."""
    names = tuple(message.attributes)
    return record(
        NeighbourRates,
        message,
        groups=tuple(_rate(one, names) for one in message.groups),
        overall=_rate(message.overall, names),
        grouping=used_grouping(message),
        notes=decode_notes(message.notes),
    )


def _rate(message: pb.NeighbourRate, names: tuple[str, ...]) -> NeighbourRate:
    (group,) = groups([message.group])
    return record(
        NeighbourRate,
        message,
        group=group,
        same_attribute=dict(zip(names, message.same_attribute, strict=True)),
        expected_attribute=dict(zip(names, message.expected_attribute, strict=True)),
    )


def _shares(messages: Iterable[pb.GroupShare]) -> tuple[GroupShare, ...]:
    return tuple(record(GroupShare, one, group=groups([one.group])[0]) for one in messages)
