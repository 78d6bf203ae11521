"""Which training examples a run uses, how often, in what order, and how they count in the loss."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from penult_kernels.sampling.balancing import (
    BalanceBy,
    EmptyLabelError,
    draw_epoch,
    kept_rows,
    loss_weights,
    present_labels,
    present_ratio,
)
from penult_kernels.sampling.group_ratio import GroupRatio, classes_of
from penult_proto.errors import ErrorKind
from penult_proto.notes import NoteId
from penult_server.backbones.images.preprocessing import Prepared
from penult_server.datasets.model import Dataset
from penult_server.errors import ServiceError
from penult_server.finetuning.augment import Augmentation, TrainingInputs
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.groups import TRAIN, training_groups
from penult_server.finetuning.prefetch import prefetched
from penult_server.finetuning.randomness import Stream, generator
from penult_server.finetuning.world import ALONE, World
from penult_server.notes import Note

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSet:
    """The training split as a balancing sees it."""

    y: NDArray[np.int64]
    """(N,)"""
    labels: NDArray[np.int64]
    """(N,) class or group: what is balanced, numbered without those left out; 0 for examples in no group."""
    n_labels: int
    notes: tuple[Note, ...]
    """Which groups were left out."""
    rows: NDArray[np.int64]
    """Positions of the examples of an epoch: those that the balancing kept, and again those that are repeated."""
    g: NDArray[np.int64]
    """(N,) groups; -1 for examples in none."""
    n_groups: int
    weights: NDArray[np.float64]
    """(N,) weights of the examples in the loss."""
    group_ratio: GroupRatio | None = None
    """How frequent minorities are drawn; None for all labels alike."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Examples that pass through the model together: all of a step, or a micro-batch of them."""

    items: list[Prepared]
    """The n examples, prepared and augmented."""
    y: NDArray[np.int64]
    """(n,)"""
    g: NDArray[np.int64]
    """(n,) groups."""
    weights: NDArray[np.float32]
    """(n,) weights in the loss; they sum to 1 over the whole step, all parts of all processes together."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingBatch:
    """This process's share of the examples of one step."""

    parts: list[Part]
    """Never empty; the first holds an example of weight 0 where there are more processes than parts."""
    partners: list[Part]
    """The examples that Mixup mixes those of `parts` with; empty without Mixup."""
    mix: float = 1.0
    """Weight of the example itself in the mixture."""


def balance(config: FinetuneConfig, dataset: Dataset, root: Path | None = None) -> TrainingSet:
    """Choose the training examples; `root` is the store that has the grouping, where the configuration names one.

    Raises ServiceError: UNKNOWN_SPLIT without a training split; INVALID_ARGUMENT when it is empty;
    EMPTY_GROUP naming a class or group that is balanced and has no example; what `training_groups` raises.
    """
    info = dataset.info
    y = info.split(TRAIN).y
    if not len(y):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"the training split of dataset {info.name!r} has no examples; add some"
        )
    groups = training_groups(config, info, root)
    by_class = config.by is BalanceBy.CLASS
    among = np.flatnonzero(groups.g >= 0)
    labels = (y if by_class else groups.g)[among]
    names = info.classes if by_class else groups.names
    try:
        allowed = None if by_class else groups.is_absent | (config.missing_groups == "skip")
        balanced, n_labels = present_labels(labels, len(names), config.method, allowed)
        ratio = config.ratio or _imbalance(balanced, n_labels)
        group_ratio = present_ratio(_group_ratio(config, labels, y[among], len(names)), labels, len(names), n_labels)
        rows = kept_rows(
            balanced, n_labels, method=config.method, ratio=ratio, seed=config.seed, group_ratio=group_ratio
        )
        weights = loss_weights(balanced, n_labels, method=config.method, group_ratio=group_ratio)
    except EmptyLabelError as error:
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"the {config.by} {names[error.label]!r} has no training example, so {config.method} cannot balance it; "
            "use balance none, data that hold it"
            + ("" if by_class else ", or missing_groups='skip' to balance the groups that are there"),
            label=names[error.label],
        ) from error
    return TrainingSet(
        y=y,
        g=groups.g,
        n_groups=len(groups.names),
        labels=_spread(balanced, among, y.size),
        n_labels=n_labels,
        rows=among[rows],
        weights=_spread(weights, among, y.size),
        group_ratio=group_ratio,
        notes=(*groups.notes, *(_left_out(labels, names) if n_labels < len(names) else ())),
    )


def _group_ratio(
    config: FinetuneConfig, labels: NDArray[np.int64], y: NDArray[np.int64], n_labels: int
) -> GroupRatio | None:
    if config.group_ratio is None:
        return None
    return GroupRatio(ratio=config.group_ratio, class_of=classes_of(labels, y, n_labels))


def _spread(values: NDArray[T], among: NDArray[np.int64], n: int) -> NDArray[T]:
    """(n,) values of the examples at `among`; 0 for the others, which nothing draws."""
    whole = np.zeros(n, values.dtype)
    whole[among] = values
    return whole


def _left_out(labels: NDArray[np.int64], names: Sequence[str]) -> tuple[Note, ...]:
    counts = np.bincount(labels, minlength=len(names))
    absent = [repr(name) for name, count in zip(names, counts, strict=True) if not count]
    text = f"balanced without the groups that have no training example: {'; '.join(absent)}"
    return (Note(NoteId.ABSENT_GROUPS, text),)


def split_batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cut an order into batches of `batch_size`; the last takes what remains.

    A single example that remains joins the batch before it: batch normalisation cannot train on one. (DataLoader of
    torch would give the single one, and the model would fail on it.)
    """
    cuts = list(range(batch_size, len(order), batch_size))
    if cuts and batch_size > 1 and len(order) - cuts[-1] == 1:
        cuts.pop()
    return np.split(order, cuts)


def _imbalance(labels: NDArray[np.int64], n_labels: int) -> float:
    """The largest count over the smallest. Raises EmptyLabelError."""
    counts = np.bincount(labels, minlength=n_labels)
    if not counts.all():
        raise EmptyLabelError(int(np.argmin(counts)), n_labels)
    return float(counts.max() / counts.min())


def epoch_order(training: TrainingSet, config: FinetuneConfig, epoch: int) -> NDArray[np.int64]:
    """Positions of the examples of an epoch (counted from 0), in their order: a function of seed and epoch."""
    rng = generator(config.seed, Stream.ORDER, epoch)
    return draw_epoch(
        training.labels,
        training.n_labels,
        training.rows,
        method=config.method,
        rng=rng,
        group_ratio=training.group_ratio,
    )


def training_batches(
    training: TrainingSet,
    inputs: TrainingInputs,
    config: FinetuneConfig,
    *,
    first: int,
    last: int,
    least: int = 1,
    world: World = ALONE,
) -> Generator[TrainingBatch]:
    """This process's shares of steps `first` .. `last` - 1 of a run, prepared ahead, over the ends of epochs too.

    `least`: examples of a part, of `shares_of`.
    """
    return prefetched(
        (
            partial(_prepare, training, inputs, config, world, least, rows, step)
            for step, rows in _steps(training, config, first, last)
        ),
        threads=inputs.threads,
    )


def _steps(
    training: TrainingSet, config: FinetuneConfig, first: int, last: int
) -> Generator[tuple[int, NDArray[np.int64]]]:
    """Steps and the positions of their examples."""
    per_epoch = len(split_batches(training.rows, config.batch_size))
    for epoch in range(first // per_epoch, -(-last // per_epoch)):
        batches = split_batches(epoch_order(training, config, epoch), config.batch_size)
        for step, rows in enumerate(batches, start=epoch * per_epoch):
            if first <= step < last:
                yield step, rows


def _prepare(
    training: TrainingSet,
    inputs: TrainingInputs,
    config: FinetuneConfig,
    world: World,
    least: int,
    rows: NDArray[np.int64],
    step: int,
) -> TrainingBatch:
    """Whatever the number of processes and parts, an example of a step is augmented and mixed alike."""
    rng = generator(config.seed, Stream.AUGMENTATION, step)
    draws = inputs.draw(len(rows), rng)
    pick = partial(_part, training, inputs, rows, draws, least)
    shares = shares_of(len(rows), config.accumulate, world, least)
    if not config.objective.mixup:
        return TrainingBatch(parts=[pick(share, share) for share in shares], partners=[])
    mix = float(rng.beta(config.objective.mixup, config.objective.mixup))
    partner = rng.permutation(len(rows))
    return TrainingBatch(
        parts=[pick(share, share) for share in shares],
        partners=[pick(partner[share], share) for share in shares],
        mix=mix,
    )


def shares_of(n: int, accumulate: int, world: World, least: int = 1) -> list[NDArray[np.int64]]:
    """Positions, among the `n` of a step, of this process's parts: consecutive, as equal as can be, none empty.

    Parts of fewer than `least` examples are joined: a step that is too short for all parts has fewer of them. A process
    that no part is left for gets one without an example: see `_part`.
    """
    n_parts = world.size * accumulate
    filled = max(1, min(n_parts, n // least))
    shares = np.array_split(np.arange(n), filled) + [np.arange(0)] * (n_parts - filled)
    mine = shares[world.rank * accumulate : (world.rank + 1) * accumulate]
    return [share for share in mine if len(share)] or mine[:1]


def _part(
    training: TrainingSet,
    inputs: TrainingInputs,
    rows: NDArray[np.int64],
    draws: Augmentation,
    least: int,
    picked: NDArray[np.int64],
    share: NDArray[np.int64],
) -> Part:
    """The examples at `picked`. Without any, the step's first with weight 0: every process must take every step."""
    weights = training.weights[rows] / training.weights[rows].sum()
    if not len(share):
        picked, weights = np.zeros(least, dtype=np.int64), np.zeros(len(rows))
    chosen = rows[picked]
    return Part(
        items=inputs.take(chosen, draws.at(picked)),
        y=training.y[chosen],
        g=training.g[chosen],
        weights=weights[picked].astype(np.float32),
    )
