"""What the linear layers of a network read: the products between the features of their inputs."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates its hooks and iterators over modules in part.

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penult_server.backbones.classifier import Classifier, memory_errors
from penult_server.backbones.inputs import SplitInputs
from penult_server.merging.row_gradients import columns

BATCH = 32
MOST_INPUTS = 2304
"""Widest layer whose products are taken, 42 MB each; wider ones are averaged."""


@torch.inference_mode()
def input_grams(
    classifier: Classifier,
    inputs: SplitInputs,
    rows: NDArray[np.int64],
    names: Collection[str],
    *,
    device: torch.device,
    beat: Callable[[int], None],
) -> dict[str, NDArray[np.float64]]:
    """X^T X (D, D) of the inputs X of every linear layer and convolution whose weight has one of these names.

    A convolution in one group is a linear layer of the patches that it reads, D = channels x kernel; those in several
    groups are left out, as are layers of more than 2,304 inputs. `beat` is called with the examples done before each
    batch, and may raise. Raises ServiceError (OUT_OF_MEMORY).
    """
    found: dict[str, Tensor] = {}
    handles: list[Any] = []
    # A weight of several layers counts what each of them reads.
    parameters = classifier.module.named_parameters(remove_duplicate=False)
    wanted = {id(one): name for name, one in parameters if name in names}
    for layer in classifier.module.modules():
        name = wanted.get(id(getattr(layer, "weight", None)), "")
        if name and _width(layer) <= MOST_INPUTS:
            handles.append(layer.register_forward_pre_hook(partial(_read, found, name)))
    classifier.module.eval()
    try:
        with memory_errors(BATCH):
            for start in range(0, len(rows), BATCH):
                beat(start)
                taken = inputs.take(rows[start : start + BATCH])
                classifier.logits(classifier.preprocessing.to_batch(taken, device))
    finally:
        for one in handles:
            one.remove()
    return {name: one.cpu().numpy() for name, one in found.items()}


def _width(layer: nn.Module) -> float:
    """Inputs of a linear layer; infinite for what is none."""
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros":
        return layer.weight[0].numel() if not isinstance(layer.padding, str) else np.inf
    return np.inf


def _read(found: dict[str, Tensor], name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
    is_patches = isinstance(layer, nn.Conv2d)
    read = columns(layer, inputs[0])[:, 0].transpose(1, 2) if is_patches else inputs[0]
    read = read.reshape(-1, read.shape[-1]).float()
    found[name] = found.get(name, 0) + (read.T @ read).double()
