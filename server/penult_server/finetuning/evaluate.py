"""Group metrics of a model on one split."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from penult_kernels.metrics import GroupMetrics, group_metrics
from penult_server.backbones.classifier import Classifier
from penult_server.backbones.inputs import SplitInputs, batches_in_order, one_ahead
from penult_server.datasets.model import Dataset

EVALUATION_BATCH = 64


@torch.inference_mode()
def evaluate_split(
    classifier: Classifier,
    inputs: SplitInputs,
    dataset: Dataset,
    split: str,
    *,
    attribute: str,
    train_shares: NDArray[np.float64],
    device: torch.device,
    check_cancelled: Callable[[], None],
) -> GroupMetrics:
    """Metrics of the model's own head, in eval mode and float32, as its stored features would give them."""
    classifier.module.eval()
    logits: list[NDArray[np.float32]] = []
    positions = batches_in_order(len(inputs), EVALUATION_BATCH)
    for items in one_ahead(partial(inputs.take, rows) for rows in positions):
        check_cancelled()
        batch = classifier.preprocessing.to_batch(items, device)
        logits.append(classifier.logits(batch).cpu().numpy())
    return group_metrics(
        np.concatenate(logits) if logits else np.empty((0, classifier.n_classes), dtype=np.float32),
        dataset.info.split(split).y,
        dataset.info.group_index(split, attribute),
        len(train_shares),
        average_weights=train_shares,
    )
