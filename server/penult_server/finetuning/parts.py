"""How few examples may pass through a model together in training: batch normalisation cannot learn from one value."""

# pyright: reportUnknownMemberType=false
# torch annotates its hooks in part.

from typing import Any

import torch
from torch import Tensor, nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.classifier import Classifier
from penult_server.errors import ServiceError
from penult_server.finetuning.checks import invalid
from penult_server.finetuning.config import FinetuneConfig


@torch.inference_mode()
def least_part(classifier: Classifier, device: torch.device) -> int:
    """2 where a batch normalisation has one value per channel of a single example, such as on 1 x 1 maps; else 1.

    Looked at in a pass of one example; leaves the classifier in eval mode.
    """
    values_per_channel: list[int] = []

    def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen: Tensor = inputs[0]
        values_per_channel.append(seen.numel() // seen.shape[1])

    layers = [one for one in classifier.module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]  # pyright: ignore[reportPrivateUsage]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    classifier.module.eval()
    try:
        classifier.logits(classifier.preprocessing.to_batch(classifier.preprocessing.probe()[:1], device))
    finally:
        for hook in hooks:
            hook.remove()
    return 2 if 1 in values_per_channel else 1


def check_parts(config: FinetuneConfig, n_examples: int, least: int) -> None:
    """Refuse parts that are asked to be smaller than a model needs; what merely remains of an epoch is joined instead.

    `n_examples`: of an epoch. Raises ServiceError (INVALID_ARGUMENT), saying what to ask for.
    """
    if least == 1:
        return
    why = f"{config.backbone!r} normalises over the examples that pass through it together, and cannot train on one"
    if n_examples < least:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"an epoch has {n_examples} example, and {why}; train on more, or use a backbone without batch "
            "normalisation",
            field="backbone",
        )
    parts = config.processes * config.accumulate
    if config.batch_size < least * parts:
        shared = f"processes={config.processes}, accumulate={config.accumulate}"
        shares = f" with compute=Compute({shared})" if parts > 1 else ""
        raise invalid("batch_size", f"at least {least * parts}{shares}: {why}", config.batch_size)
