"""Weights of the packaged EfficientNet-Lite0 under timm's names.

The package holds a plain state dict with the names of another implementation. The architecture that computes
the same is timm's ``tf_efficientnet_lite0`` (TensorFlow padding, BatchNorm epsilon 1e-3); plain
``efficientnet_lite0`` accepts the tensors too and computes something else.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_REPEATS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage (EfficientNet, table 1); the package numbers blocks through, timm by stage."""
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def read_lite0(path: Path) -> dict[str, Tensor]:
    """All 296 tensors of the packaged file by their timm names, the ImageNet head (1000 classes) included.

    Raises KeyError when the file names a tensor that the architecture does not have.
    """
    packaged: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_name(name): tensor for name, tensor in packaged.items()}


def _timm_name(name: str) -> str:
    block = _BLOCK.fullmatch(name)
    if block is None:
        layer, _, rest = name.partition(".")
        return f"{_OUTER[layer]}.{rest}"
    stage, position = _stage(int(block[1]))
    layers = _SEPARABLE if stage == 0 else _INVERTED
    return f"blocks.{stage}.{position}.{layers[block[2]]}.{block[3]}"


def _stage(index: int) -> tuple[int, int]:
    """Stage, and position inside it, of the block that is `index`-th over all stages."""
    for stage, n_blocks in enumerate(_REPEATS):
        if index < n_blocks:
            return stage, index
        index -= n_blocks
    raise KeyError(f"block beyond the last stage, by {index}")
