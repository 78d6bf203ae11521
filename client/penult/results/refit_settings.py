"""What was fitted, with every preset filled in. Made by ``python -m penult_proto.generate``."""

from collections.abc import Mapping
from dataclasses import dataclass

from penult.display.html import Shown
from penult.types import (
    BalanceMethod,
    GroupSource,
    Intercept,
    Link,
    MissingGroups,
    OffsetChoice,
    PathKeep,
    PathOptimizer,
    PathSchedule,
    PenaltyScale,
    Risk,
    SelectFinal,
    SelectMetric,
    Ties,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSettings(Shown):
    """An early-stopped method: the fields are those of ``path=``."""

    optimizer: PathOptimizer
    learning_rate: float
    schedule: PathSchedule
    steps: int
    """0 when counted by epochs."""
    epochs: int
    """0 when counted by steps."""
    momentum: float
    weight_decay: float
    clip_norm: float | None
    batch_size: int | None
    keep: PathKeep
    start: str
    """"zero", "random", "stored", "explicit", or the digest of a refit."""
    normalize: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectSettings(Shown):
    """How a candidate was chosen: the fields are those of ``select=``."""

    on: str
    """"half", or a feature set."""
    metric: SelectMetric
    ties: Ties
    final: SelectFinal
    repeats: int
    standardize: str
    """"none", "rows", "all", or the digest of a feature set."""
    groups: str = ""
    """The digest of a grouping; empty for the stored groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitSettings(Shown):
    """What was fitted, with every preset expanded; the fields are the arguments of `Client.refit`.

    A number that was on a grid is the one that was chosen; one that goes with another method is None.
    """

    feature_set: str
    preset: str
    """Empty when none was named."""
    balance: BalanceMethod
    by: str
    """"class", "group", or the digest of a grouping."""
    ratio: float | None
    group_ratio: float | None
    missing_groups: MissingGroups
    l1: float
    l2: float
    penalty: PenaltyScale
    center: str
    """"zero", "stored", "explicit", or the digest of a refit."""
    intercept: Intercept
    link: Link
    standardize: str
    """"none", "rows", "all", or the digest of a feature set."""
    repeats: int
    weights: str
    """"uniform", "confidence", "errors", "detected" or "explicit"."""
    gamma: float | None
    up: float | None
    class_ratio: float | None
    detector: PathSettings | None
    detector_l1: float | None
    rows: str
    """"all", "top_loss", "top_disagreement", "loss_ends" or "explicit"."""
    top_k: int | None
    other: str
    offset: OffsetChoice
    tau: float | None
    groups: GroupSource
    risk: Risk
    alpha: float | None
    subspace: int | None
    path: PathSettings | None
    grid: Mapping[str, tuple[float, ...]]
    select: SelectSettings | None
    seed: int
    tolerance: float | None
    max_iterations: int | None
    across_checkpoints: bool
