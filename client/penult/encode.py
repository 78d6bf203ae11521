"""From the arguments of the client's methods to messages of the wire; what is plainly wrong is refused here."""

from collections.abc import Mapping, Sequence
from typing import get_args

from penult import coerce
from penult.coerce import build, check_choice, items
from penult.errors import invalid
from penult.records import Checkpoint, Dataset
from penult.references import checkpoint_digest, dataset_name
from penult.types import BalanceMethod, By, FeatureKind, StorageType
from penult_proto.v1 import groups_pb2, jobs_pb2


def balance_message(
    balance: BalanceMethod,
    by: By | None,
    ratio: float | None,
    missing_groups: "groups_pb2.MissingGroups.ValueType | None" = None,
) -> groups_pb2.Balance:
    """How examples are balanced. `ratio` is needed by "mixture" and means nothing to the others."""
    method = coerce.choice("balance", balance, groups_pb2.BalanceMethod)
    over = groups_pb2.BALANCE_BY_UNSPECIFIED if by is None else coerce.choice("by", by, groups_pb2.BalanceBy)
    if balance == "mixture":
        if ratio is None:
            raise invalid("balance='mixture' needs ratio=: the cap, as a multiple of the smallest (1 or more)")
        ratio = coerce.number("ratio", ratio, 1)
    elif ratio is not None:
        raise invalid(f"ratio= belongs to balance='mixture' only; balance is {balance!r}", argument="ratio")
    return build(
        groups_pb2.Balance,
        method=method,
        by=over,
        ratio=ratio,
        missing_groups=missing_groups or groups_pb2.MISSING_GROUPS_UNSPECIFIED,
    )


def check_class_map(class_map: Mapping[str, str] | None) -> dict[str, str]:
    """Names to names, each once. Raises `InvalidRequest`."""
    pairs = items("class_map", class_map, "{'cat': 'wolf'}, from the head's name to the dataset's")
    return {coerce.text("class_map", one): coerce.text("class_map", other) for one, other in pairs}


def extract_spec(
    checkpoint: Checkpoint | str,
    *,
    dataset: Dataset | str | None,
    attribute: str | None,
    splits: Sequence[str] | None,
    kind: FeatureKind,
    dtype: StorageType,
    batch_size: int,
    class_map: Mapping[str, str] | None = None,
) -> jobs_pb2.ExtractSpec:
    """What is extracted from a checkpoint. Raises `InvalidRequest`."""
    check_choice("kind", kind, get_args(FeatureKind))
    check_choice("dtype", dtype, get_args(StorageType))
    return build(
        jobs_pb2.ExtractSpec,
        checkpoint=checkpoint_digest(checkpoint),
        dataset="" if dataset is None else dataset_name(dataset),
        attribute=coerce.optional_text("attribute", attribute),
        splits=coerce.names("splits", splits),
        feature_kind=kind,
        dtype=dtype,
        batch_size=coerce.whole("batch_size", batch_size),
        class_map=check_class_map(class_map),
    )
