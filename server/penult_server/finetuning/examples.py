"""Which training examples a run uses, how often, in what order, and how they count in the loss."""

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from penult_kernels.selection import BalanceBy, EmptyLabelError, draw_epoch, kept_rows, loss_weights
from penult_proto.errors import ErrorKind
from penult_server.backbones.inputs import SplitInputs, one_ahead
from penult_server.backbones.preprocessing import Prepared
from penult_server.datasets.model import Dataset
from penult_server.errors import ServiceError
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.randomness import Stream, generator

TRAIN = "train"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSet:
    """The training split as a balancing sees it."""

    y: NDArray[np.int64]
    """(N,)"""
    labels: NDArray[np.int64]
    """(N,) class or group: what is balanced."""
    n_labels: int
    rows: NDArray[np.int64]
    """Positions of the examples that the balancing kept."""
    weights: NDArray[np.float32]
    """(N,) of the examples in the loss."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingBatch:
    """Examples of one step, prepared and flipped."""

    items: list[Prepared]
    y: NDArray[np.int64]
    weights: NDArray[np.float32]


def balance(config: FinetuneConfig, dataset: Dataset) -> TrainingSet:
    """Choose the training examples.

    Raises ServiceError: UNKNOWN_SPLIT without a training split; INVALID_ARGUMENT when it is empty;
    EMPTY_GROUP naming a class or group that is balanced and has no example.
    """
    info = dataset.info
    y = info.split(TRAIN).y
    if not len(y):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"the training split of dataset {info.name!r} has no examples; add some"
        )
    groups = info.groups(config.attribute)
    by_class = config.by is BalanceBy.CLASS
    labels = y if by_class else info.group_index(TRAIN, config.attribute)
    names = info.classes if by_class else tuple(group.name for group in groups)
    try:
        ratio = config.ratio or _imbalance(labels, len(names))
        rows = kept_rows(labels, len(names), method=config.method, ratio=ratio, seed=config.seed)
        weights = loss_weights(labels, len(names), method=config.method)
    except EmptyLabelError as error:
        raise ServiceError(
            ErrorKind.EMPTY_GROUP,
            f"the {config.by} {names[error.label]!r} has no training example, so {config.method} cannot balance it; "
            f"use balance none, or data that hold it",
            label=names[error.label],
        ) from error
    return TrainingSet(y=y, labels=labels, n_labels=len(names), rows=rows, weights=weights.astype(np.float32))


def split_batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cut an order into batches of `batch_size`; the last takes what remains.

    A single example that remains joins the batch before it: batch normalisation cannot train on one.
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
    return draw_epoch(training.labels, training.n_labels, training.rows, method=config.method, rng=rng)


def training_batches(
    training: TrainingSet, inputs: SplitInputs, config: FinetuneConfig, *, first: int, last: int
) -> Generator[TrainingBatch]:
    """The batches of steps `first` .. `last` - 1 of a run, prepared one ahead, over the ends of epochs too."""
    return one_ahead(
        partial(_prepare, training, inputs, config, rows, step) for step, rows in _steps(training, config, first, last)
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
    training: TrainingSet, inputs: SplitInputs, config: FinetuneConfig, rows: NDArray[np.int64], step: int
) -> TrainingBatch:
    items = inputs.take(rows)
    if config.flip and inputs.modality == "image":
        flips = generator(config.seed, Stream.AUGMENTATION, step).random(len(rows)) < 0.5
        items = [item[:, ::-1] if flip else item for item, flip in zip(items, flips, strict=True)]
    return TrainingBatch(items=items, y=training.y[rows], weights=training.weights[rows])
