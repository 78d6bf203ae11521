"""Requests for influence as messages, and their answers as records."""

from penult.arguments import coerce
from penult.arguments.coerce import build
from penult.results.diagnosis.influence import Counterfactual, Influence
from penult.wire.arrays import decode as array
from penult.wire.decode import decode_notes, groups, record, used_grouping
from penult.wire.encode_spectra import RowsLike, SourceLike, feature_source
from penult.wire.references import ByLike, ResultLike, grouped_by, result_digest
from penult_proto.enums import name_or
from penult_proto.v1 import influence_pb2 as pb
from penult_proto.v1 import spectra_pb2


def influence_request(
    refit: ResultLike,
    on: SourceLike,
    *,
    split: str | None,
    rows: RowsLike | None,
    by: ByLike,
    target: str | None,
    top_k: int,
    verify: int,
    across_checkpoints: bool,
    seed: int,
) -> pb.InfluenceRequest:
    """A request. Raises `InvalidRequest`."""
    over, grouping = grouped_by(by, spectra_pb2.SpectraBy)
    return build(
        pb.InfluenceRequest,
        refit=result_digest(refit, "refit"),
        source=feature_source(on, split, rows, "on", grouping=grouping),
        by=over,
        target=coerce.optional_text("target", target),
        top_k=coerce.whole("top_k", top_k, 0),
        verify=coerce.whole("verify", verify, 0),
        across_checkpoints=coerce.flag("across_checkpoints", across_checkpoints),
        seed=coerce.seed(seed),
    )


def decoded_influence(message: pb.Influence) -> Influence:
    """Influences with the names of their groups."""
    parts, grouping = groups(message.groups), used_grouping(message)
    arrays = ("row_ids", "fitted_group", "n_draws", "change", "own_change", "memorised", "leverage", "loss", "accuracy")
    has_singles = message.HasField("verified_row_ids")
    return record(
        Influence,
        message,
        by=grouping.attribute if grouping else name_or(spectra_pb2.SpectraBy, message.by, "group"),
        groups=parts,
        fitted_groups=groups(message.fitted_groups),
        counterfactual=_counterfactual(message) if message.HasField("counterfactual") else None,
        is_exact=array(message.is_exact) if message.HasField("is_exact") else None,
        verified_row_ids=array(message.verified_row_ids) if has_singles else None,
        verified_change=array(message.verified_change) if has_singles else None,
        grouping=grouping,
        notes=decode_notes(message.notes),
        **{name: array(getattr(message, name)) for name in arrays},
    )


def _counterfactual(message: pb.Influence) -> Counterfactual:
    one = message.counterfactual
    names = ("row_ids", "predicted", "change", "accuracy_before", "accuracy_after")
    return Counterfactual(
        target=message.groups[one.target].name,
        groups=groups(message.groups),
        converged=one.converged,
        **{name: array(getattr(one, name)) for name in names},
    )
