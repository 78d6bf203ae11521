"""Squares of every example's own gradient, from one backward pass of a batch: layer by layer, by what it read."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch annotates its function transforms and modules in part.

from collections.abc import Callable
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional
from torch.nn.grad import conv2d_weight


class UnknownSortError(Exception):
    """No rule here gives a layer's gradients of single examples."""


Squares = Callable[[nn.Module, Tensor, Tensor], dict[str, Tensor]]
"""From a layer, what it read (N, ...) and the gradient of what it made (N, ...) to sum_n g_n^2 of its parameters."""


def squares_of(layer: nn.Module, read: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """sum_n g_n^2 of each of a layer's own parameters, g_n the gradient of example n; by their names in the layer."""
    rule = next((found for kind, found in _RULES.items() if isinstance(layer, kind)), _any_layer)
    return rule(layer, read, gradient)


def columns(layer: nn.Conv2d, read: Tensor) -> Tensor:
    """(N, groups, D, L) what each of L places of a convolution multiplies, D = channels of a group x kernel."""
    read, padding = _padded(layer, read)
    n = len(read)
    if layer.kernel_size == (1, 1) and padding == (0, 0):
        found = read[:, :, :: layer.stride[0], :: layer.stride[1]].flatten(2)
    else:
        found = functional.unfold(read, layer.kernel_size, layer.dilation, padding, layer.stride)
    return found.reshape(n, layer.groups, -1, found.shape[-1])


def _padded(layer: nn.Conv2d, read: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """What a convolution reads, with the padding that it adds to it yet."""
    padding = layer.padding
    if isinstance(layer, Conv2dSame):
        read, padding = pad_same(read, list(layer.kernel_size), list(layer.stride), list(layer.dilation)), (0, 0)
    if layer.padding_mode != "zeros" or isinstance(padding, str):
        raise UnknownSortError(f"a convolution padded by {layer.padding_mode!r}, {padding!r}")
    return read, padding


def _convolution(layer: nn.Module, read: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    assert isinstance(layer, nn.Conv2d)
    if layer.groups > 1:
        weight = _in_groups(layer, read, gradient)
    else:
        found = columns(layer, read)
        made = gradient.reshape(len(gradient), 1, -1, found.shape[-1])
        weight = torch.matmul(made, found.transpose(2, 3)).square().sum(0)
    bias = {} if layer.bias is None else {"bias": gradient.flatten(2).sum(2).square().sum(0)}
    return {"weight": weight.reshape(layer.weight.shape)} | bias


def _in_groups(layer: nn.Conv2d, read: Tensor, gradient: Tensor) -> Tensor:
    """Examples side by side, as further groups of one convolution: what it multiplies is not copied for every place
    of the kernel, which takes most of the time where groups are single channels."""
    read, padding = _padded(layer, read)
    n, places = len(read), gradient.shape[2:]
    weight_of: Any = conv2d_weight  # annotated for kernels of one size alone
    found: Tensor = weight_of(
        read.reshape(1, -1, *read.shape[2:]),
        [n * layer.weight.shape[0], *layer.weight.shape[1:]],
        gradient.reshape(1, -1, *places),
        layer.stride,
        padding,
        layer.dilation,
        n * layer.groups,
    )
    return found.reshape(n, *layer.weight.shape).square().sum(0)


def _linear(layer: nn.Module, read: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    assert isinstance(layer, nn.Linear)
    n = len(read)
    read, gradient = read.reshape(n, -1, read.shape[-1]), gradient.reshape(n, -1, gradient.shape[-1])
    if read.shape[1] == 1:
        weight = gradient[:, 0].square().T @ read[:, 0].square()
    else:
        weight = torch.bmm(gradient.transpose(1, 2), read).square().sum(0)
    bias = {"bias": gradient.sum(1).square().sum(0)}
    return {"weight": weight} | (bias if "bias" in dict(layer.named_parameters(recurse=False)) else {})


def _embedding(layer: nn.Module, read: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    assert isinstance(layer, nn.Embedding)
    if read.is_floating_point():
        raise UnknownSortError("an embedding of something else than ids")
    total = torch.zeros_like(layer.weight, requires_grad=False)
    for ids, rows in zip(read, gradient, strict=True):
        seen, place = ids.flatten().unique(return_inverse=True)
        own = rows.new_zeros(len(seen), rows.shape[-1]).index_add_(0, place, rows.reshape(-1, rows.shape[-1]))
        if layer.padding_idx is not None:
            own[seen == layer.padding_idx] = 0
        total[seen] += own.square()
    return {"weight": total}


def _batch_norm(layer: nn.Module, read: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """In eval mode, where it scales and shifts by fixed statistics; timm's holds the activation that follows, too."""
    assert isinstance(layer, nn.BatchNorm2d)
    if layer.running_mean is None or layer.running_var is None:
        raise UnknownSortError("BatchNorm without statistics")
    normal = functional.batch_norm(read, layer.running_mean, layer.running_var, eps=layer.eps)
    if isinstance(layer, BatchNormAct2d):
        before = torch.addcmul(layer.bias[:, None, None], normal, layer.weight[:, None, None]).detach()
        gradient = _before_activation(layer, before, gradient)
    return {
        "weight": (gradient * normal).flatten(2).sum(2).square().sum(0),
        "bias": gradient.flatten(2).sum(2).square().sum(0),
    }


def _before_activation(layer: BatchNormAct2d, before: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of what a layer's activation reads, from that of what it makes."""
    drop: Any = layer.drop
    act: Any = layer.act
    if isinstance(drop, nn.Identity) and isinstance(act, nn.Identity):
        return gradient
    if isinstance(drop, nn.Identity) and type(act) is nn.ReLU6:  # one pass over them instead of five
        return torch.where((before > 0) & (before < act.max_val), gradient, 0)
    with torch.enable_grad():
        before = before.requires_grad_()
        return torch.autograd.grad(act(drop(before * 1)), before, gradient)[0]


def _any_layer(layer: nn.Module, read: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Example by example as torch's transforms do it: for layers of few parameters."""
    own = {name: one.detach() for name, one in layer.named_parameters(recurse=False)}

    def of_one(one: Tensor, made: Tensor) -> dict[str, Tensor]:
        def run(given: dict[str, Tensor]) -> Any:
            return functional_call(layer, given, (one.unsqueeze(0),))

        made_and_pull: Any = vjp(run, own)
        return made_and_pull[1](made.unsqueeze(0))[0]

    return {name: rows.square().sum(0) for name, rows in vmap(of_one)(read, gradient).items()}


_RULES: dict[type[nn.Module], Squares] = {
    nn.Conv2d: _convolution,
    nn.Linear: _linear,
    nn.Embedding: _embedding,
    nn.BatchNorm2d: _batch_norm,
}
