"""Questions about groups that are to be found as messages of the wire, and scores from it."""

import math
from collections.abc import Mapping, Sequence

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.errors import invalid, shown
from penult.results.groupings.scores import GroupingScore, GroupingScores
from penult.wire import decode
from penult.wire.encode_refits import head_reference
from penult.wire.encode_spectra import RowsLike, SourceLike, feature_source
from penult.wire.references import AnyHead, FeatureSetLike, feature_set_name
from penult_proto.v1 import groupings_pb2

SEEDS = "seeds"
"""The number of a method that has several seeds within it."""


def discovery_request(
    features: SourceLike,
    *,
    method: str,
    split: str | None = None,
    rows: RowsLike | None = None,
    fit: FeatureSetLike | None = None,
    other: FeatureSetLike | None = None,
    head: AnyHead | None = None,
    indices: Sequence[int] | None = None,
    seed: int = 0,
    seeds: int | None = None,
    options: Mapping[str, object],
) -> groupings_pb2.DiscoverGroupsRequest:
    """A question for groups. Raises `InvalidRequest`."""
    numbers, words = _options(options if seeds is None else {**options, SEEDS: coerce.whole("seeds", seeds)})
    listed = coerce.listed("indices", indices, "[3, 17, 40]")
    return build(
        groupings_pb2.DiscoverGroupsRequest,
        source=feature_source(features, split, rows),
        method=coerce.text("method", method, example="'xrm'"),
        fit="" if fit is None else feature_set_name(fit, "fit"),
        other="" if other is None else feature_set_name(other, "other"),
        head=None if head is None else head_reference(head),
        indices=[coerce.whole(f"indices[{place}]", one, 0) for place, one in enumerate(listed)],
        seed=coerce.seed(seed),
        numbers=numbers,
        words=words,
    )


def _options(options: Mapping[str, object]) -> tuple[dict[str, float], dict[str, str]]:
    """Options that are numbers, and those that are words."""
    numbers: dict[str, float] = {}
    words: dict[str, str] = {}
    for name, value in options.items():
        plain = coerce.scalar(value)
        if isinstance(plain, str):
            words[name] = coerce.text(name, plain)
        elif isinstance(plain, bool) or not isinstance(plain, int | float):
            raise invalid(f"{name} must be a number or a word; got {shown(value)}", argument=name)
        else:
            numbers[name] = coerce.number(name, plain)
    return numbers, words


def grouping_scores(message: groupings_pb2.GroupingScores) -> GroupingScores:
    """Scores with the names of what they are about."""
    return GroupingScores(
        grouping=message.grouping,
        truth=message.truth or "stored",
        classes=tuple(_score(one, message) for one in message.classes),
        overall=_score(message.overall, message),
    )


def _score(one: groupings_pb2.GroupingScore, message: groupings_pb2.GroupingScores) -> GroupingScore:
    values, true = message.labels.attribute_values, message.true_labels.attribute_values
    return decode.record(
        GroupingScore,
        one,
        name="all" if one.y < 0 else message.labels.classes[one.y],
        minority="" if one.minority < 0 else true[one.minority],
        minority_found="" if one.minority_found < 0 or math.isnan(one.ari) else values[one.minority_found],
    )
