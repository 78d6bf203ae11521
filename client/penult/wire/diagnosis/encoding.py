"""Requests for diagnostics as messages of the wire; what is plainly wrong is refused here."""

from collections.abc import Mapping, Sequence

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.results.records import FeatureSet
from penult.wire.encode_spectra import RowsLike, SourceLike, feature_source
from penult.wire.references import ByLike, grouped_by
from penult_proto.v1 import diagnostics_pb2 as pb
from penult_proto.v1 import spectra_pb2

EXAMPLE = '["nc", "rank_me"]'


def diagnosis(
    features: SourceLike,
    ids: Sequence[str] | str,
    *,
    split: str | None,
    other: SourceLike | None,
    by: ByLike,
    rows: RowsLike | None,
    matched: bool,
    replicates: int,
    numbers: Mapping[str, float] | None,
    seed: int,
) -> pb.DiagnoseRequest:
    """A request. Raises `InvalidRequest`."""
    over, grouping = grouped_by(by, spectra_pb2.SpectraBy)
    given = [ids] if isinstance(ids, str) else coerce.listed("ids", ids, EXAMPLE)
    return build(
        pb.DiagnoseRequest,
        source=feature_source(features, split, rows, grouping=grouping),
        other=None if other is None else feature_source(other, _split_of(other, split), None, "other"),
        ids=[coerce.text("ids", one) for one in given],
        by=over,
        numbers={
            coerce.text("numbers", name): coerce.number("numbers", value)
            for name, value in coerce.items("numbers", numbers, '{"mle_k": 10}')
        },
        replicates=coerce.whole("replicates", replicates, 0),
        matched=coerce.flag("matched", matched),
        seed=coerce.seed(seed),
    )


def _split_of(other: SourceLike, split: str | None) -> str | None:
    """A second checkpoint has features of the same split as the first; a set has one of its own."""
    return None if isinstance(other, FeatureSet) else split
