"""From the arguments of the client's methods to messages of the wire; what is plainly wrong is refused here."""

import math
from collections.abc import Mapping, Sequence
from typing import Required, TypeAlias, TypedDict

from penult import arrays
from penult.choices import (
    BALANCE_BY,
    BALANCE_METHODS,
    FEATURE_KINDS,
    PRESETS,
    STORAGE_TYPES,
    BalanceMethod,
    By,
    FeatureKind,
    Preset,
    StorageType,
    check_choice,
)
from penult.errors import invalid
from penult.records import Checkpoint, FeatureSet
from penult.results import Head, Refit
from penult_proto.errors import ErrorKind
from penult_proto.v1 import groups_pb2, jobs_pb2, refits_pb2

FeatureSetLike: TypeAlias = FeatureSet | str
"""A record, a digest, the start of one (at least 8 characters), or a name."""


class RefitArguments(TypedDict, total=False):
    """The arguments of `Client.refit`, as one request of `Client.refits`."""

    features: Required[FeatureSetLike]
    preset: Preset | None
    balance: BalanceMethod | None
    by: By | None
    ratio: float | None
    l2: float | None
    standardize: bool | None
    repeats: int | None
    evaluate: Mapping[str, FeatureSetLike] | None
    seed: int
    tolerance: float
    max_iterations: int


def feature_set_name(value: FeatureSetLike) -> str:
    """The digest or name that stands for a feature set."""
    if isinstance(value, FeatureSet):
        return value.digest
    if not isinstance(value, str) or not value:  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        raise invalid(f"a feature set is a FeatureSet, a digest or a name; got {value!r}")
    return value


def check_number(argument: str, value: float, least: float, most: float = math.inf) -> None:
    """Raise `InvalidRequest` unless `value` is finite and in [least, most]."""
    if not (math.isfinite(value) and least <= value <= most):
        bound = f"at least {least:g}" if math.isinf(most) else f"in [{least:g}, {most:g}]"
        raise invalid(f"{argument} must be {bound} and finite; got {value!r}", argument=argument)


def check_seed(seed: int) -> None:
    """Raise `InvalidRequest` unless `seed` fits 64 bits without a sign."""
    if not 0 <= seed < 2**64:
        raise invalid(f"seed must be in 0 .. 2**64 - 1; got {seed}", argument="seed")


def balance_message(balance: BalanceMethod, by: By, ratio: float | None) -> groups_pb2.Balance:
    """How examples are balanced. `ratio` is needed by "mixture" and means nothing to the others."""
    check_choice("balance", balance, BALANCE_METHODS)
    check_choice("by", by, BALANCE_BY)
    if balance == "mixture":
        if ratio is None:
            raise invalid("balance='mixture' needs ratio=: the cap, as a multiple of the smallest (1 or more)")
        check_number("ratio", ratio, 1)
    elif ratio is not None:
        raise invalid(f"ratio= belongs to balance='mixture' only; balance is {balance!r}", argument="ratio")
    return groups_pb2.Balance(method=BALANCE_METHODS[balance], by=BALANCE_BY[by], ratio=ratio or 0)


def names(argument: str, value: Sequence[str] | None) -> list[str]:
    """A list of names; a single string, which is a sequence of letters, is refused."""
    if isinstance(value, str):
        raise invalid(f"{argument} takes a list of names, such as [{value!r}]; got the string {value!r}")
    return list(value or ())


def extract_spec(
    checkpoint: Checkpoint | str,
    *,
    dataset: str | None,
    attribute: str | None,
    splits: Sequence[str] | None,
    kind: FeatureKind,
    dtype: StorageType,
    batch_size: int,
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
    )


def refit_request(
    *,
    features: FeatureSetLike,
    preset: Preset | None = None,
    balance: BalanceMethod | None = None,
    by: By | None = None,
    ratio: float | None = None,
    l2: float | None = None,
    standardize: bool | None = None,
    repeats: int | None = None,
    evaluate: Mapping[str, FeatureSetLike] | None = None,
    seed: int = 0,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
) -> refits_pb2.RefitRequest:
    """A question for a refit; what is None is left to the preset. Raises `InvalidRequest`."""
    if preset is not None:
        check_choice("preset", preset, PRESETS)
    if preset is None and l2 is None:
        listed = ", ".join(repr(name) for name in PRESETS)
        raise invalid(f"l2= is needed without a preset; the presets are {listed}", argument="l2")
    if l2 is not None:
        check_number("l2", l2, 0)
    if repeats is not None:
        check_number("repeats", repeats, 1)
    check_number("tolerance", tolerance, 0)
    check_number("max_iterations", max_iterations, 1)
    check_seed(seed)
    return refits_pb2.RefitRequest(
        feature_set=feature_set_name(features),
        preset=preset or "",
        balance=_refit_balance(balance, by, ratio),
        l2=l2,
        standardize=standardize,
        repeats=repeats,
        seed=seed,
        evaluate={name: feature_set_name(value) for name, value in (evaluate or {}).items()},
        tolerance=tolerance,
        max_iterations=max_iterations,
    )


def _refit_balance(balance: BalanceMethod | None, by: By | None, ratio: float | None) -> groups_pb2.Balance | None:
    """None leaves it to the preset as a whole; over what to balance is never guessed."""
    if balance is None:
        if by is not None or ratio is not None:
            raise invalid("by= and ratio= need balance=: a preset's balancing is replaced as a whole")
        return None
    check_choice("balance", balance, BALANCE_METHODS)
    if by is None and balance != "none":
        raise invalid(f"balance={balance!r} needs by=: 'class' or 'group'", argument="by")
    return balance_message(balance, by or "class", ratio)


def refit_request_of(arguments: RefitArguments) -> refits_pb2.RefitRequest:
    """The same from one dictionary of `Client.refits`. Raises `InvalidRequest`, also for unknown keys."""
    known = list(RefitArguments.__annotations__)
    unknown = [key for key in arguments if key not in known]
    if unknown or "features" not in arguments:
        raise invalid(f"a refit request has 'features' and any of {known}; got {list(arguments)}")
    return refit_request(**arguments)


def evaluate_request(head: Head | Refit | Checkpoint, features: FeatureSetLike) -> refits_pb2.EvaluateRequest:
    """Which head is scored on what. Raises `InvalidRequest`."""
    name = feature_set_name(features)
    match head:
        case Refit():
            return refits_pb2.EvaluateRequest(refit=head.digest, feature_set=name)
        case Checkpoint():
            return refits_pb2.EvaluateRequest(checkpoint=head.digest, feature_set=name)
        case Head():
            return refits_pb2.EvaluateRequest(explicit=head_message(head), feature_set=name)
        case _:  # pyright: ignore[reportUnnecessaryComparison]  callers may be untyped
            raise invalid(f"a head is a Head, a Refit or a Checkpoint; got {type(head).__name__}")


def head_message(head: Head) -> refits_pb2.Head:
    """A head in float64. Raises `InvalidRequest` when weight and bias do not fit each other."""
    if head.weight.ndim != 2 or head.bias.shape != head.weight.shape[:1]:
        raise invalid(
            f"a head has weight (C, D) and bias (C,); got {head.weight.shape} and {head.bias.shape}",
            ErrorKind.WRONG_SHAPE,
        )
    return refits_pb2.Head(weight=arrays.encode(head.weight.astype("<f8")), bias=arrays.encode(head.bias.astype("<f8")))
