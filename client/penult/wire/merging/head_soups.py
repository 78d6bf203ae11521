"""Soups of heads: arguments to messages, messages to records."""

from collections.abc import Mapping, Sequence

import numpy as np

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.errors import invalid
from penult.results.merging.head_soup import HeadSoup, HeadStep
from penult.types import HeadSoupRule
from penult.wire import decode
from penult.wire.arrays import decode as array
from penult.wire.decode_refits import head as head_of
from penult.wire.encode import check_class_map
from penult.wire.encode_refits import head_reference
from penult.wire.references import AnyHead, FeatureSetLike, feature_set_name
from penult_proto.enums import name_or
from penult_proto.v1 import refits_pb2 as pb


def soup_request(
    heads: Sequence[AnyHead],
    features: FeatureSetLike,
    *,
    weights: HeadSoupRule,
    by_group: bool,
    margin: float,
    groups: Sequence[int] | None,
    class_map: Mapping[str, str] | None,
    across_checkpoints: bool,
) -> pb.SoupHeadsRequest:
    """Raises `InvalidRequest`."""
    rule = coerce.choice("weights", weights, pb.HeadSoupRule)
    if rule == pb.HEAD_SOUP_RULE_MOMENTS and groups is None:
        raise invalid("weights='moments' needs groups=, for every head the index of the group it was fitted on")
    given = [] if groups is None else coerce.listed("groups", groups, "[0, 3]")
    return build(
        pb.SoupHeadsRequest,
        heads=[head_reference(one, f"heads[{i}]") for i, one in enumerate(heads)],
        feature_set=feature_set_name(features),
        rule=rule,
        by_group=coerce.flag("by_group", by_group),
        margin=coerce.number("margin", margin, 0),
        head_groups=[coerce.whole("groups", one, 0) for one in given],
        class_map=check_class_map(class_map),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
    )


def head_soup(message: pb.HeadSoup) -> HeadSoup:
    """A soup of heads."""
    is_learned = message.rule == pb.HEAD_SOUP_RULE_LEARNED
    metrics = decode.metrics(message.metrics)
    alone = np.zeros((1, len(metrics.groups)))
    return HeadSoup(
        rule=name_or(pb.HeadSoupRule, message.rule, "uniform"),
        head=head_of(message.head),
        shares=array(message.shares) if message.HasField("shares") else None,
        gap=message.gap if is_learned else None,
        loss=message.loss if is_learned else None,
        converged=message.converged or not is_learned,
        metrics=metrics,
        shapley=array(message.shapley) if message.HasField("shapley") else None,
        leave_one_out_loss=array(message.leave_one_out_loss) if message.HasField("leave_one_out_loss") else alone,
        leave_one_out_accuracy=array(message.leave_one_out_accuracy)
        if message.HasField("leave_one_out_accuracy")
        else alone,
        steps=tuple(decode.record(HeadStep, one) for one in message.steps),
        notes=decode.decode_notes(message.notes),
    )
