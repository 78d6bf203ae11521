"""Questions for neighbours and their answers on the wire."""

from collections.abc import Iterable
from typing import Any

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.errors import invalid, shown
from penult.results.neighbourhood.neighbours import Neighbours, Recall
from penult.types import NeighbourMethod, NeighbourMetric, NeighbourWithin
from penult.wire.decode import decode_notes
from penult.wire.encode_spectra import RowsLike, SourceLike, feature_source
from penult.wire.references import ByLike, FeatureSetLike, scored_by
from penult.wire.transfer import receive_arrays
from penult_proto.enums import name_or
from penult_proto.v1 import neighbours_pb2 as pb


def neighbour_query(
    features: SourceLike,
    among: FeatureSetLike | None,
    *,
    k: int,
    metric: NeighbourMetric,
    within: NeighbourWithin | None,
    by: ByLike,
    recall: float,
    method: NeighbourMethod | None,
    split: str | None,
    rows: RowsLike | None,
    across_checkpoints: bool,
    seed: int,
) -> pb.NeighbourQuery:
    """A question for neighbours. Raises `InvalidRequest`."""
    share = coerce.number("recall", recall)
    if not 0 < share <= 1:
        raise invalid(f"recall must lie in (0, 1], 1 for all neighbours; got {shown(recall)}", argument="recall")
    grouping = scored_by(by)
    return build(
        pb.NeighbourQuery,
        source=feature_source(features, split, rows, grouping=grouping),
        among=None if among is None else feature_source(among, None, None, "among", grouping=grouping),
        k=coerce.whole("k", k),
        metric=coerce.choice("metric", metric, pb.NeighbourMetric),
        within=coerce.choice("within", "all" if within is None else within, pb.NeighbourWithin),
        recall=share,
        method=pb.NEIGHBOUR_METHOD_UNSPECIFIED
        if method is None
        else coerce.choice("method", method, pb.NeighbourMethod),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
        seed=coerce.seed(seed),
    )


def neighbours(messages: Iterable[pb.ReadNeighboursResponse]) -> Neighbours:
    """The answer, from the messages of one read. Raises `ServerBug` when any is incomplete."""
    first, arrays = receive_arrays(messages)
    header: pb.NeighboursHeader = first.header
    query = header.query
    read: dict[str, Any] = {name: arrays[name] for name in ("row_id", "distance", "query_id")}
    return Neighbours(
        digest=header.digest,
        feature_set=header.feature_set,
        among=header.among,
        k=query.k,
        metric=name_or(pb.NeighbourMetric, query.metric, "cosine"),
        within=name_or(pb.NeighbourWithin, query.within, "all"),
        method=name_or(pb.NeighbourMethod, header.method, "exact"),
        recall=Recall(value=header.recall, low=header.recall_low, high=header.recall_high, n_rows=header.recall_rows),
        parameters=dict(header.parameters),
        n_short=header.n_short,
        reused=header.reused,
        notes=decode_notes(header.notes),
        **read,
    )
