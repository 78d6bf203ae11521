"""Logits and group metrics of a model on one split."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penult_kernels.metrics.accuracy import GroupMetrics, group_metrics
from penult_server.backbones.classifier import Classifier
from penult_server.backbones.inputs import SplitInputs, batches_in_order
from penult_server.datasets.model import Dataset
from penult_server.finetuning.prefetch import loading_threads, prefetched
from penult_server.finetuning.world import ALONE, World

EVALUATION_BATCH = 64


@torch.inference_mode()
def split_logits(
    classifier: Classifier,
    inputs: SplitInputs,
    *,
    device: torch.device,
    check_cancelled: Callable[[], None],
    world: World = ALONE,
) -> NDArray[np.float32]:
    """Logits (N, C) of the model's own head, in eval mode and float32; every example passes through one process."""
    classifier.module.eval()
    mine = np.array_split(np.arange(len(inputs)), world.size)[world.rank]
    logits: list[Tensor] = [torch.empty((0, classifier.n_classes), device=device)]
    positions = (mine[rows] for rows in batches_in_order(len(mine), EVALUATION_BATCH))
    threads = loading_threads(decodes=not inputs.is_kept)
    for items in prefetched((partial(inputs.take, rows) for rows in positions), threads=threads):
        check_cancelled()
        # Left on the device: fetching each batch would wait for it.
        logits.append(classifier.logits(classifier.preprocessing.to_batch(items, device)))
    return world.gathered(torch.cat(logits))[0].cpu().numpy()


def split_metrics(
    logits: NDArray[np.float32], dataset: Dataset, split: str, *, attribute: str, train_shares: NDArray[np.float64]
) -> GroupMetrics:
    """Metrics of a split from its logits, as its stored features would give them."""
    return group_metrics(
        logits,
        dataset.info.split(split).y,
        dataset.info.group_index(split, attribute),
        len(train_shares),
        average_weights=train_shares,
        masks=dataset.info.split(split).masks.T,
    )
