"""Weights of timm's architectures from files on this machine."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# timm's loader and filters are untyped.

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import Tensor, nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import unreadable_weights
from penult_server.errors import ServiceError

DIRECTORY_FILES = ("model.safetensors", "pytorch_model.bin", "model.pth")
"""Files in which the weights of a directory are looked for, in this order."""
NAMED = 3
"""Most tensors that an error names for each kind of difference."""


def in_directory(name: str) -> Path:
    """The file of weights in a model directory. Raises ServiceError (WEIGHTS_UNAVAILABLE)."""
    for file in DIRECTORY_FILES:
        if (Path(name) / file).is_file():
            return Path(name) / file
    raise unreadable_weights(name, name, f"it holds none of {', '.join(DIRECTORY_FILES)}")


def load_file(module: nn.Module, path: Path, name: str) -> None:
    """Load a safetensors file or a file of ``torch.save`` that holds tensors alone: nothing in it is run.

    Files of training programs that hold more are looked into for their averaged weights, then their weights; the names
    of other releases of an architecture, and position embeddings of other image sizes, are changed as timm does for the
    weights that it offers.
    Raises ServiceError (WEIGHTS_UNAVAILABLE): those of `load_but_head`, and when the file cannot be read.
    """
    try:
        state: dict[str, Any] = load_state_dict(str(path), use_ema=True, device="cpu", weights_only=True)
    # What torch and timm raise for a file that is another, or that would run code.
    except (OSError, RuntimeError, SafetensorError, ValueError, LookupError, EOFError, AttributeError) as error:
        raise unreadable_weights(name, path, f"{error}") from error
    if not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise unreadable_weights(name, path, "it holds other things than tensors by their names")
    load_but_head(module, _renamed(module, state, path, name), name=name, source=str(path))


def load_but_head(module: nn.Module, state: dict[str, Tensor], *, name: str, source: str) -> None:
    """Load every tensor but the head's, which is drawn afresh and may have another number of classes or none.

    Counters of batch normalisation may be missing: files of old releases of PyTorch have none.
    Raises ServiceError (WEIGHTS_UNAVAILABLE), naming the first tensors missing, unexpected or of another shape.
    """
    own = module.state_dict()
    body = {key: tensor for key, tensor in own.items() if not key.startswith(_head_prefixes(module))}
    given = {key: tensor for key, tensor in state.items() if not key.startswith(_head_prefixes(module))}
    missing = [key for key in body if key not in given and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in given if key not in body]
    shapes = [
        f"{key} {tuple(given[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in body.items()
        if key in given and given[key].shape != tensor.shape
    ]
    differences = [
        f"{len(keys)} tensors {what} ({', '.join(keys[:NAMED])}{', ...' if len(keys) > NAMED else ''})"
        for what, keys in (("are missing", missing), ("are unexpected", unexpected), ("have another shape", shapes))
        if keys
    ]
    if differences:
        raise ServiceError(
            ErrorKind.WEIGHTS_UNAVAILABLE,
            f"the weights in {source!r} are not those of {name!r} below the head: {'; '.join(differences)}; "
            f"give the weights of this architecture, or the architecture of these weights",
            backbone=name,
            file=source,
        )
    module.load_state_dict(own | given)


def _head_prefixes(module: nn.Module) -> tuple[str, ...]:
    """How the names of the head's tensors begin, by what timm says of its own weights."""
    config: Any = module.pretrained_cfg
    named = config.get("classifier") or ()
    return tuple(f"{one}." for one in ([named] if isinstance(named, str) else named))


def _renamed(module: nn.Module, state: dict[str, Tensor], path: Path, name: str) -> dict[str, Tensor]:
    """The tensors converted by timm's own function for weights of the architecture."""
    change: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = getattr(
        sys.modules[type(module).__module__], "checkpoint_filter_fn", None
    )
    if change is None:
        return state
    try:
        with torch.no_grad():
            return dict(change(state, module))
    # The functions expect the names of their own architecture and fail on others in as many ways.
    except (RuntimeError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise unreadable_weights(name, path, f"they are not of this architecture ({error})") from error
