"""Questions about what is read off neighbours as messages of the wire; what is plainly wrong is refused here."""

from collections.abc import Mapping, Sequence
from typing import Any

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.errors import invalid, shown
from penult.results.groupings.grouping import Grouping
from penult.types import NeighbourMetric
from penult.wire.encode_spectra import SourceLike, feature_source
from penult.wire.references import ByLike, FeatureSetLike, GroupingLike, feature_set_name, grouping_name, scored_by
from penult_proto.v1 import neighbours_pb2 as pb
from penult_proto.v1 import spectra_pb2

EXAMPLE = '{"train": sets["train"], "test": sets["test"]}'


def evaluation(
    features: SourceLike,
    among: FeatureSetLike | None,
    *,
    k: Sequence[int] | int | None,
    temperature: float,
    balanced: bool | GroupingLike,
    split: str | None,
    by: ByLike,
    across_checkpoints: bool,
) -> pb.EvaluateNeighboursRequest:
    """A question for metrics. Raises `InvalidRequest`."""
    grouping = _balancing(balanced, among)
    return build(
        pb.EvaluateNeighboursRequest,
        source=feature_source(features, split, None, grouping=scored_by(by)),
        among=_other(among, "among", grouping),
        k=_numbers(k),
        temperature=_positive("temperature", temperature),
        balanced=bool(grouping) or coerce.flag("balanced", balanced),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
    )


def duplicates(
    features: SourceLike,
    against: FeatureSetLike | None,
    *,
    threshold: float | None,
    metric: NeighbourMetric,
    split: str | None,
    by: ByLike,
    across_checkpoints: bool,
    seed: int,
) -> pb.FindDuplicatesRequest:
    """A question for duplicates. Raises `InvalidRequest`."""
    coerce.check_choice("metric", metric, ("cosine", "l2"))
    grouping = scored_by(by)
    return build(
        pb.FindDuplicatesRequest,
        # The groups are of the set whose accuracies may rest on duplicates.
        source=feature_source(features, split, None, grouping="" if against is not None else grouping),
        against=_other(against, "against", grouping),
        metric=coerce.choice("metric", metric, pb.NeighbourMetric),
        threshold=None if threshold is None else coerce.number("threshold", threshold, 0),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
        seed=coerce.seed(seed),
    )


def label_noise(
    features: SourceLike, *, k: int, folds: int, temperature: float, split: str | None, by: ByLike, seed: int
) -> pb.FindLabelNoiseRequest:
    """A question for wrong labels. Raises `InvalidRequest`."""
    return build(
        pb.FindLabelNoiseRequest,
        source=feature_source(features, split, None, grouping=scored_by(by)),
        k=coerce.whole("k", k),
        temperature=_positive("temperature", temperature),
        folds=coerce.whole("folds", folds, 0),
        seed=coerce.seed(seed),
    )


def rates(
    features: SourceLike,
    among: FeatureSetLike | None,
    *,
    k: int,
    metric: NeighbourMetric,
    split: str | None,
    by: ByLike,
    across_checkpoints: bool,
) -> pb.ComputeNeighbourRatesRequest:
    """A question for rates. Raises `InvalidRequest`."""
    return build(
        pb.ComputeNeighbourRatesRequest,
        source=feature_source(features, split, None, grouping=scored_by(by)),
        among=_other(among, "among"),
        k=coerce.whole("k", k),
        metric=coerce.choice("metric", metric, pb.NeighbourMetric),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
    )


def pairs_of_splits(splits: Mapping[str, FeatureSetLike]) -> list[tuple[str, str]]:
    """The names of every two splits, in their order. Raises `InvalidRequest` for fewer than two."""
    names = [coerce.text("splits", name) for name, _ in coerce.items("splits", splits, EXAMPLE)]
    if len(names) < 2:
        raise invalid(f"splits takes two splits or more, such as {EXAMPLE}; got {shown(splits)}")
    return [(first, second) for place, first in enumerate(names) for second in names[place + 1 :]]


def groupings_of_splits(
    by: Mapping[str, GroupingLike] | None, splits: Mapping[str, FeatureSetLike]
) -> dict[str, GroupingLike]:
    """The groupings by the names of their splits. Raises `InvalidRequest` for one of a split that is not there."""
    given = dict(coerce.items("by", by, '{"test": grouping}'))
    for name in given:
        coerce.check_choice("by", name, splits)
    return given


def _other(features: FeatureSetLike | None, argument: str, grouping: str = "") -> spectra_pb2.FeatureSource | None:
    if features is None:
        return None
    return build(spectra_pb2.FeatureSource, feature_set=feature_set_name(features, argument), grouping=grouping)


def _numbers(k: Any) -> list[int]:
    """One number or several."""
    given: list[Any] = [k] if isinstance(coerce.scalar(k), int | float) else coerce.listed("k", k, "[10, 20]")
    return [coerce.whole("k", one) for one in given]


def _balancing(balanced: object, among: object) -> str:
    """The digest or name of the grouping by whose groups the votes are balanced; empty for none, and stored groups."""
    if not isinstance(balanced, Grouping | str):
        return ""
    if among is None:
        raise invalid(
            "balanced= takes a grouping of the rows of among=; where a set votes on itself, by= says which groups "
            "there are, and balanced=True balances them",
            argument="balanced",
        )
    return grouping_name(balanced, "balanced")


def _positive(argument: str, value: float) -> float:
    number = coerce.number(argument, value)
    if number <= 0:
        raise invalid(f"{argument} must be above 0, such as 0.07; got {shown(value)}", argument=argument)
    return number
