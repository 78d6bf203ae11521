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
        rows = kept_rows(labels, len(names), method=config.method, ratio=config.ratio, seed=config.seed)
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


def epoch_batches(
    training: TrainingSet,
    inputs: SplitInputs,
    config: FinetuneConfig,
    order_rng: np.random.Generator,
    flip_rng: np.random.Generator,
) -> Generator[TrainingBatch]:
    """The batches of one epoch, prepared one ahead. Both generators move on."""
    order = draw_epoch(training.labels, training.n_labels, training.rows, method=config.method, rng=order_rng)
    positions = split_batches(order, config.batch_size)
    flips = config.flip and inputs.modality == "image"
    return one_ahead(
        partial(_prepare, training, inputs, rows, flip_rng.random(len(rows)) < 0.5 if flips else None)
        for rows in positions
    )


def _prepare(
    training: TrainingSet, inputs: SplitInputs, rows: NDArray[np.int64], flip: NDArray[np.bool_] | None
) -> TrainingBatch:
    items = inputs.take(rows)
    if flip is not None:
        items = [item[:, ::-1] if flipped else item for item, flipped in zip(items, flip, strict=True)]
    return TrainingBatch(items=items, y=training.y[rows], weights=training.weights[rows])
