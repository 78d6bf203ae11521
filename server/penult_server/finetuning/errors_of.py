"""The second stage of "just train twice": training examples that another model gets wrong are repeated.

Liu et al. 2021 (arXiv 2107.09044), algorithm 1: the error set of the first model stands `times` times in the data.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from penult_server.backbones.inputs import open_inputs
from penult_server.backbones.saving import load_checkpoint
from penult_server.class_names import Classes, match_classes
from penult_server.datasets.model import Dataset
from penult_server.finetuning.evaluate import split_logits
from penult_server.finetuning.examples import TrainingSet
from penult_server.finetuning.groups import TRAIN
from penult_server.notes import Note
from penult_server.stores.checkpoints import read_manifest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Errors:
    """What a model gets wrong."""

    rows: NDArray[np.int64]
    """Positions of the examples, ascending."""
    notes: tuple[Note, ...]
    """How the classes of the model were matched, where that is not obvious."""


def errors_of(
    checkpoint: str, dataset: Dataset, *, root: Path, device: torch.device, check_cancelled: Callable[[], None]
) -> Errors:
    """The training examples that a stored checkpoint classifies wrongly.

    Raises ServiceError: UNKNOWN_CHECKPOINT; OTHER_CLASSES when it knows classes of other names; what opening an
    example raises.
    """
    info = dataset.info
    known = Classes(names=read_manifest(root, checkpoint).classes, whose=f"checkpoint {checkpoint[:12]}")
    match = match_classes(known, Classes(names=info.classes, whose=f"dataset {info.name!r}"))
    classifier = load_checkpoint(root, checkpoint, device)
    inputs = open_inputs(dataset, TRAIN, classifier.preprocessing)
    logits = match.columns(split_logits(classifier, inputs, device=device, check_cancelled=check_cancelled))
    return Errors(rows=np.flatnonzero(logits.argmax(axis=1) != info.split(TRAIN).y), notes=match.notes)


def repeated(training: TrainingSet, errors: Errors, times: int) -> TrainingSet:
    """The training set with each of the errors standing `times` times."""
    wrong = errors.rows[training.g[errors.rows] >= 0]
    rows = np.concatenate([training.rows, np.repeat(wrong, times - 1)])
    return replace(training, rows=rows, notes=(*training.notes, *errors.notes))
