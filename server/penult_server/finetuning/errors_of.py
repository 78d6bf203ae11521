"""The second stage of "just train twice": training examples that another model gets wrong are repeated.

Liu et al. 2021 (arXiv 2107.09044), algorithm 1: the error set of the first model stands `times` times in the data.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from penult_proto.errors import ErrorKind
from penult_server.backbones.inputs import open_inputs
from penult_server.backbones.saving import load_checkpoint
from penult_server.datasets.model import Dataset
from penult_server.errors import ServiceError
from penult_server.finetuning.evaluate import split_logits
from penult_server.finetuning.examples import TRAIN, TrainingSet


def errors_of(
    checkpoint: str, dataset: Dataset, *, root: Path, device: torch.device, check_cancelled: Callable[[], None]
) -> NDArray[np.int64]:
    """Positions of the training examples that a stored checkpoint classifies wrongly.

    Raises ServiceError: UNKNOWN_CHECKPOINT; WRONG_SHAPE when it knows another number of classes; what opening an
    example raises.
    """
    classifier = load_checkpoint(root, checkpoint, device)
    n_classes = len(dataset.info.classes)
    if classifier.n_classes != n_classes:
        raise ServiceError(
            ErrorKind.WRONG_SHAPE,
            f"checkpoint {checkpoint[:12]} knows {classifier.n_classes} classes, dataset {dataset.info.name!r} has "
            f"{n_classes}; repeat the errors of one that was trained on the same classes",
            checkpoint=checkpoint,
        )
    inputs = open_inputs(dataset, TRAIN, classifier.preprocessing)
    logits = split_logits(classifier, inputs, device=device, check_cancelled=check_cancelled)
    return np.flatnonzero(logits.argmax(axis=1) != dataset.info.split(TRAIN).y)


def repeated(training: TrainingSet, errors: NDArray[np.int64], times: int) -> TrainingSet:
    """The training set with each of the errors standing `times` times."""
    return replace(training, rows=np.concatenate([training.rows, np.repeat(errors, times - 1)]))
