"""The head of a model: found by running it, wherever it stands, and drawn afresh.

Three forms have one linear layer at their end, and features (N, D) that it multiplies:

* a linear layer over pooled features: almost every model;
* a 1 x 1 convolution over pooled maps (N, D, 1, 1), as in BiT, DPN and DLA: the same function, put into a linear layer
  by `with_linear_head` before anything else;
* a linear layer over every token of a text, whose last value before the padding is the logits: decoders such as GPT-2
  and Llama in transformers. Features are the hidden state of that token.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates its iterators over modules in part.

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.images.preprocessing import Batch
from penult_server.errors import ServiceError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadLayer:
    """The last linear layer of a model."""

    path: str
    """Path of the layer inside the model, such as "classifier" or "head.fc"."""
    layer: nn.Linear
    of_last_token: bool
    """Whether it is applied to every token of a text, and the logits are those of the last one before the padding."""


class PointwiseHead(nn.Linear):
    """A linear layer in the place of a 1 x 1 convolution: pooled maps (N, D, 1, 1) give (N, C, 1, 1).

    Features (N, D) give logits (N, C), as for every linear layer.
    """

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input.flatten(start_dim=1))
        return output[:, :, None, None] if input.ndim == 4 else output


@dataclass(frozen=True, slots=True)
class _Ran:
    """One call of a linear layer."""

    layer: nn.Linear
    features: Tensor
    output: Tensor


@torch.inference_mode()
def find_head(
    module: nn.Module, forward: Callable[[Batch], Tensor], batch: Batch, *, name: str, pad_id: int
) -> HeadLayer:
    """The last linear layer that runs, if its output is the logits, exactly.

    Found by running the model once rather than by a layer's name, so it holds for any architecture.

    Parameters
    ----------
    forward : runs `module` and gives its logits (N, C).
    pad_id : id of the padding token of texts; unused for images.

    Raises ServiceError (INVALID_ARGUMENT) for a model without such a layer, saying what it has instead.
    """
    paths = {layer: path for path, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    ran: list[_Ran] = []

    def remember(layer: nn.Linear, inputs: tuple[Any, ...], output: Tensor) -> None:
        ran.append(_Ran(layer, inputs[0], output))

    hooks = [layer.register_forward_hook(remember) for layer in paths]
    module.eval()
    try:
        logits = forward(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if ran:
        last = ran[-1]
        if _pooled(last) and _same(last.output.flatten(start_dim=1), logits):
            return HeadLayer(path=paths[last.layer], layer=last.layer, of_last_token=False)
        if _by_token(last, batch) and _same(at_last_token(last.output, batch, pad_id), logits):
            return HeadLayer(path=paths[last.layer], layer=last.layer, of_last_token=True)
    raise ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"the model {name!r} does not end in one linear layer over pooled features: expected its logits "
        f"{tuple(logits.shape)} to be the output of its last linear layer, {_instead(ran, paths, logits)}",
        backbone=name,
    )


def at_last_token(values: Tensor, batch: Batch, pad_id: int) -> Tensor:
    """(N, ...) of (N, T, ...): at the last position of each text whose id is not the padding's.

    The rule by which the decoders of transformers choose the logits of a text.
    """
    if not isinstance(batch, dict):
        raise TypeError("only texts have tokens")
    ids = batch["input_ids"]
    places = torch.arange(ids.shape[1], device=ids.device)
    last = (places * (ids != pad_id)).argmax(dim=1)
    return values[torch.arange(len(ids), device=ids.device), last]


def with_linear_head(module: nn.Module) -> nn.Module:
    """The model with a linear layer in place of a classifier that is a 1 x 1 convolution; others as they are.

    Asks timm's models for their classifier. Names of weights stay, the head's loses its two axes of length 1.
    """
    classifier = getattr(module, "get_classifier", lambda: None)()
    if not isinstance(classifier, nn.Conv2d) or classifier.kernel_size != (1, 1) or classifier.groups != 1:
        return module
    (path,) = [path for path, layer in module.named_modules() if layer is classifier]
    head = PointwiseHead(classifier.in_channels, classifier.out_channels, bias=classifier.bias is not None)
    with torch.no_grad():
        head.weight.copy_(classifier.weight.flatten(start_dim=1))
        if classifier.bias is not None:
            head.bias.copy_(classifier.bias)
    module.set_submodule(path, head)
    return module


def reset_head(head: nn.Linear, generator: torch.Generator) -> None:
    """Draw a fresh head: weight and bias uniform in +-1/sqrt(D), the default of torch's linear layers.

    Drawn on the CPU, so that it does not depend on the device.
    """
    bound = head.in_features**-0.5
    for parameter in (head.weight, head.bias):
        # A head without bias has None there, which the types do not say.
        if parameter is not None:  # pyright: ignore[reportUnnecessaryComparison]
            drawn = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
            parameter.data.copy_(drawn)


def _pooled(one: _Ran) -> bool:
    return one.features.ndim == 2 or isinstance(one.layer, PointwiseHead)


def _by_token(one: _Ran, batch: Batch) -> bool:
    return isinstance(batch, dict) and one.features.shape[:-1] == batch["input_ids"].shape


def _same(output: Tensor, logits: Tensor) -> bool:
    return output.shape == logits.shape and torch.equal(output, logits)


def _instead(ran: list[_Ran], paths: dict[nn.Linear, str], logits: Tensor) -> str:
    """What a model without a single linear head ends in, and what to do about it."""
    if not ran:
        return "but no linear layer ran; choose another backbone"
    alike = list(dict.fromkeys(paths[one.layer] for one in ran if one.output.shape == logits.shape))
    if len(alike) > 1:
        listed = ", ".join(repr(path) for path in alike)
        return f"but they are made of the outputs of {listed}; choose the form of this model that has one head"
    last = ran[-1]
    return (
        f"but that is {paths[last.layer]!r}, which makes {tuple(last.output.shape)} of {tuple(last.features.shape)}; "
        f"choose another backbone"
    )
