"""Optimiser, weight decay and learning rate of a run."""

import math

import torch
from torch import nn

from penult_server.finetuning.config import FinetuneConfig, Schedule

_NORMALISATIONS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._NormBase,  # pyright: ignore[reportPrivateUsage]
    nn.RMSNorm,
)


def build_optimizer(module: nn.Module, config: FinetuneConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over all weights of a module."""
    groups = parameter_groups(module, config.weight_decay, decay_all=config.decay_all)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)


def parameter_groups(module: nn.Module, weight_decay: float, *, decay_all: bool = False) -> list[dict[str, object]]:
    """Weights that decay, and those that do not (unless `decay_all`): biases, normalisation layers, every vector.

    A vector is a bias or a scale under whatever name (layer scale, response normalisation).
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    seen: set[nn.Parameter] = set()
    for owner in module.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter in seen:
                continue
            seen.add(parameter)
            scale = isinstance(owner, _NORMALISATIONS) or parameter.ndim <= 1 or name.endswith("bias")
            (kept if scale and not decay_all else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]


def learning_rate_factor(
    step: int, n_steps: int, *, schedule: Schedule, warmup: float, steps_per_change: int = 1
) -> float:
    """Learning rate of a step (0 .. n_steps-1) over its peak.

    Rises in equal increments over the first round(warmup * n_steps) steps, which end at 1; then stays, or falls
    to 0 at the end: along half a cosine, or in a line. With `steps_per_change` it falls at every so many steps
    only, and stays between them at what it was at the first: an epoch's steps give the schedule that counts epochs.
    """
    n_warmup = round(warmup * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    changed = step // steps_per_change * steps_per_change
    gone = max(0, changed - n_warmup) / (n_steps - n_warmup)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - gone
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * gone))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Use this learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
