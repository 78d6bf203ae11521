"""Weights of timm's architectures in packages and directories on this machine."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from penult_server.backbones.catalog import unreadable_weights
from penult_server.backbones.files.fitting import differing, other_weights

DIRECTORY_FILES = ("model.safetensors", "pytorch_model.bin", "model.pth")
"""Files in which the weights of a directory are looked for, in this order."""


def in_directory(name: str) -> Path:
    """The file of weights in a model directory. Raises ServiceError (WEIGHTS_UNAVAILABLE)."""
    for file in DIRECTORY_FILES:
        if (Path(name) / file).is_file():
            return Path(name) / file
    raise unreadable_weights(name, name, f"it holds none of {', '.join(DIRECTORY_FILES)}")


def load_but_head(module: nn.Module, state: dict[str, Tensor], *, name: str, source: str) -> None:
    """Load every tensor but the head's, which is drawn afresh and may have another number of classes or none.

    Raises ServiceError (WEIGHTS_UNAVAILABLE), naming the first tensors missing, unexpected or of another shape.
    """
    own = module.state_dict()
    body, given = (
        {key: tensor for key, tensor in one.items() if not key.startswith(_head_prefixes(module))}
        for one in (own, state)
    )
    differences = differing(body, given, lambda _: False)
    if differences:
        raise other_weights(name, source, differences)
    module.load_state_dict(own | given)


def _head_prefixes(module: nn.Module) -> tuple[str, ...]:
    """How the names of the head's tensors begin, by what timm says of its own weights."""
    config: Any = module.pretrained_cfg
    named = config.get("classifier") or ()
    return tuple(f"{one}." for one in ([named] if isinstance(named, str) else named))
