"""Backbones of timm."""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# timm's factory functions are untyped.

from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import find_packaged, unknown_backbone
from penult_server.backbones.hub import hub_access, weights_unavailable
from penult_server.backbones.lite0 import read_lite0
from penult_server.backbones.preprocessing import ImagePreprocessing
from penult_server.errors import ServiceError


def check_name(name: str) -> None:
    """Raise ServiceError (UNKNOWN_BACKBONE), naming the nearest, unless timm has that architecture and tag."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture) or (tag and not timm.is_model_pretrained(name)):
        known = timm.list_pretrained(f"{architecture}*") if tag else []
        raise unknown_backbone(name, known or timm.list_models())


def build_module(name: str, n_classes: int, *, pretrained: bool, image_size: int) -> nn.Module:
    """An architecture with pretrained or random weights and a head of `n_classes` outputs.

    Random numbers come from torch's global generator. Raises ServiceError: UNKNOWN_BACKBONE,
    INVALID_ARGUMENT (an image size that the architecture cannot have), WEIGHTS_UNAVAILABLE.
    """
    check_name(name)
    options = _size_option(name, image_size)
    packaged = find_packaged(name) if pretrained else None
    try:
        if not pretrained or packaged is not None:
            module = timm.create_model(name, pretrained=False, num_classes=n_classes, **options)
        elif not timm.is_model_pretrained(name):
            raise weights_unavailable(name, offline=False)
        else:
            with hub_access(name):
                module = timm.create_model(name, pretrained=True, num_classes=n_classes, **options)
    except (AssertionError, ValueError) as error:
        raise wrong_size(name, image_size, error) from error
    if packaged is not None:
        _load_but_head(module, read_lite0(packaged.path))
    return module


def preprocessing_of(module: nn.Module, image_size: int) -> ImagePreprocessing:
    """What the architecture's weights were trained with, at `image_size` pixels (0 for its own size)."""
    config: dict[str, Any] = resolve_data_config({}, model=module)
    interpolation = str(config["interpolation"])
    return ImagePreprocessing(
        size=image_size or int(config["input_size"][-1]),
        mean=tuple(float(value) for value in config["mean"]),
        std=tuple(float(value) for value in config["std"]),
        # "random" is a way of training, whose own evaluation uses bilinear.
        interpolation="bilinear" if interpolation == "random" else interpolation,
    )


def wrong_size(name: str, image_size: int, error: Exception) -> ServiceError:
    """The error for a size that an architecture refuses."""
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"the backbone {name!r} cannot be built for images of {image_size} x {image_size} pixels "
        f"({error}); choose another image_size, often a multiple of 32",
        backbone=name,
        image_size=image_size,
    )


def _size_option(name: str, image_size: int) -> dict[str, Any]:
    """Architectures with position embeddings are built for one size; the others take any."""
    config = timm.get_pretrained_cfg(name)
    fixed = config is not None and config.fixed_input_size
    return {"img_size": image_size} if fixed and image_size else {}


def _load_but_head(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load every tensor but the head's, whose number of classes is another; any other difference is an error."""
    own = module.state_dict()
    head = {f"classifier.{part}" for part in ("weight", "bias")}
    with torch.no_grad():
        module.load_state_dict({name: own[name] if name in head else tensor for name, tensor in state.items()})
