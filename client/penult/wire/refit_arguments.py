"""The arguments of refits as dictionaries. Made by ``python -m penult_proto.generate``."""

from collections.abc import Mapping, Sequence
from typing import Required, TypedDict

from numpy.typing import ArrayLike

from penult.types import (
    BalanceMethod,
    GridName,
    GroupSource,
    Intercept,
    Link,
    MissingGroups,
    OffsetChoice,
    PathKeep,
    PathOptimizer,
    PathSchedule,
    PenaltyScale,
    Preset,
    Risk,
    RowsChoice,
    SelectFinal,
    SelectMetric,
    Ties,
    WeightsChoice,
)
from penult.wire.references import ByLike, FeatureSetLike, GroupingLike, HeadLike, ScalingLike


class PathArguments(TypedDict, total=False):
    """An early-stopped method; what is left out is the preset's."""

    optimizer: PathOptimizer
    learning_rate: float
    schedule: PathSchedule
    steps: int
    epochs: int
    momentum: float
    weight_decay: float
    clip_norm: float
    batch_size: int
    keep: PathKeep
    start: HeadLike
    normalize: bool


class SelectArguments(TypedDict, total=False):
    """How one candidate of a grid is chosen; what is left out is the preset's."""

    on: FeatureSetLike
    metric: SelectMetric
    ties: Ties
    final: SelectFinal
    repeats: int
    standardize: ScalingLike
    groups: GroupingLike


class RefitArguments(TypedDict, total=False):
    """The arguments of `Client.refit`, as one request of `Client.refits`."""

    features: Required[FeatureSetLike]
    preset: Preset | None
    balance: BalanceMethod | None
    by: ByLike | None
    ratio: float | None
    group_ratio: float | None
    missing_groups: MissingGroups | None
    l1: float | None
    l2: float | None
    penalty: PenaltyScale | None
    center: HeadLike | None
    intercept: Intercept | None
    link: Link | None
    standardize: ScalingLike | None
    repeats: int | None
    weights: WeightsChoice | ArrayLike | None
    gamma: float | None
    up: float | None
    class_ratio: float | None
    detector: PathArguments | None
    detector_l1: float | None
    rows: RowsChoice | ArrayLike | None
    top_k: int | None
    other: FeatureSetLike | None
    offset: OffsetChoice | None
    tau: float | None
    groups: GroupSource | None
    risk: Risk | None
    alpha: float | None
    subspace: int | None
    path: PathArguments | None
    grid: Mapping[GridName, Sequence[float]] | None
    select: SelectArguments | None
    evaluate: Mapping[str, FeatureSetLike] | None
    train: FeatureSetLike | None
    seed: int
    plan: bool
    tolerance: float | None
    max_iterations: int | None
    across_checkpoints: bool
    name: str | None
    tags: Sequence[str] | None
    note: str | None
