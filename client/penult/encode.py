"""From the arguments of the client's methods to messages of the wire; what is plainly wrong is refused here."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

from penult.choices import (
    BALANCE_BY,
    BALANCE_METHODS,
    FEATURE_KINDS,
    STORAGE_TYPES,
    BalanceMethod,
    By,
    FeatureKind,
    StorageType,
    check_choice,
)
from penult.errors import invalid
from penult.records import Checkpoint, FeatureSet
from penult_proto.v1 import groups_pb2, jobs_pb2

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

FeatureSetLike: TypeAlias = FeatureSet | str
"""A record, a digest, the start of one (at least 8 characters), or a name."""


def feature_set_name(value: FeatureSetLike) -> str:
    """The digest or name that stands for a feature set."""
    if isinstance(value, FeatureSet):
        return value.digest
    if not isinstance(value, str) or not value:  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        raise invalid(f"a feature set is a FeatureSet, a digest or a name; got {value!r}")
    return value


def is_number(value: object) -> bool:
    """Whether it can be taken for one; digits in a string cannot."""
    return hasattr(value, "__float__") and not isinstance(value, str)


def check_number(argument: str, value: float, least: float, most: float = math.inf) -> None:
    """Raise `InvalidRequest` unless `value` is a finite number in [least, most]."""
    if not is_number(value):
        raise invalid(f"{argument} must be a number; got {value!r}", argument=argument)
    if not (math.isfinite(value) and least <= value <= most):
        bound = f"at least {least:g}" if math.isinf(most) else f"in [{least:g}, {most:g}]"
        raise invalid(f"{argument} must be {bound} and finite; got {value!r}", argument=argument)


def check_count(argument: str, value: int, least: int = 1) -> None:
    """Raise `InvalidRequest` unless `value` is a whole number of at least `least`."""
    if not hasattr(value, "__index__"):
        raise invalid(f"{argument} must be a whole number; got {value!r}", argument=argument)
    check_number(argument, value, least)


def check_seed(seed: int) -> None:
    """Raise `InvalidRequest` unless `seed` fits 64 bits without a sign."""
    if not hasattr(seed, "__index__") or not 0 <= seed < 2**64:
        raise invalid(f"seed must be a whole number in 0 .. 2**64 - 1; got {seed!r}", argument="seed")


def check_flag(argument: str, value: bool) -> bool:
    """The value. Raises `InvalidRequest` unless it is True or False."""
    if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        raise invalid(f"{argument} must be True or False; got {value!r}", argument=argument)
    return value


def items(argument: str, value: Mapping[_Key, _Value], example: str) -> list[tuple[_Key, _Value]]:
    """Those of a mapping; anything else is refused, with an `example` of what is meant."""
    if not isinstance(value, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        raise invalid(f"{argument} takes a dict, such as {example}; got {value!r}", argument=argument)
    return list(value.items())


def balance_message(
    balance: BalanceMethod,
    by: By | None,
    ratio: float | None,
    missing_groups: "groups_pb2.MissingGroups.ValueType | None" = None,
) -> groups_pb2.Balance:
    """How examples are balanced. `ratio` is needed by "mixture" and means nothing to the others."""
    check_choice("balance", balance, BALANCE_METHODS)
    if by is not None:
        check_choice("by", by, BALANCE_BY)
    if balance == "mixture":
        if ratio is None:
            raise invalid("balance='mixture' needs ratio=: the cap, as a multiple of the smallest (1 or more)")
        check_number("ratio", ratio, 1)
    elif ratio is not None:
        raise invalid(f"ratio= belongs to balance='mixture' only; balance is {balance!r}", argument="ratio")
    return groups_pb2.Balance(
        method=BALANCE_METHODS[balance],
        by=groups_pb2.BALANCE_BY_UNSPECIFIED if by is None else BALANCE_BY[by],
        ratio=ratio,
        missing_groups=missing_groups or groups_pb2.MISSING_GROUPS_UNSPECIFIED,
    )


def names(argument: str, value: Sequence[str] | None) -> list[str]:
    """A list of names; a single string, which is a sequence of letters, is refused."""
    if isinstance(value, str):
        raise invalid(f"{argument} takes a list of names, such as [{value!r}]; got the string {value!r}")
    return list(value or ())


def check_class_map(class_map: Mapping[str, str] | None) -> dict[str, str]:
    """Names to names, each once. Raises `InvalidRequest`."""
    pairs = items("class_map", class_map or {}, "{'cat': 'wolf'}, from the head's name to the dataset's")
    if not all(isinstance(one, str) for pair in pairs for one in pair):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise invalid(f"class_map takes names of classes, from and to; got {class_map!r}", argument="class_map")
    return dict(pairs)


def extract_spec(
    checkpoint: Checkpoint | str,
    *,
    dataset: str | None,
    attribute: str | None,
    splits: Sequence[str] | None,
    kind: FeatureKind,
    dtype: StorageType,
    batch_size: int,
    class_map: Mapping[str, str] | None = None,
) -> jobs_pb2.ExtractSpec:
    """What is extracted from a checkpoint. Raises `InvalidRequest`."""
    check_choice("kind", kind, FEATURE_KINDS)
    check_choice("dtype", dtype, STORAGE_TYPES)
    check_number("batch_size", batch_size, 1)
    return jobs_pb2.ExtractSpec(
        checkpoint=checkpoint.digest if isinstance(checkpoint, Checkpoint) else checkpoint,
        dataset=dataset or "",
        attribute=attribute or "",
        splits=names("splits", splits),
        feature_kind=kind,
        dtype=dtype,
        batch_size=batch_size,
        class_map=check_class_map(class_map),
    )
