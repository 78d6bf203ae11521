"""Backbones of timm."""

# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# timm's factory functions are untyped.

import json
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.data.config import resolve_data_config
from torch import nn

from penult_proto.errors import ErrorKind
from penult_server.backbones.catalog import (
    find_packaged,
    is_model_directory,
    no_model,
    read_config,
    timm_name,
    unknown_backbone,
    unreadable_weights,
)
from penult_server.backbones.heads import with_linear_head
from penult_server.backbones.hub import hub_access, weights_unavailable
from penult_server.backbones.images.preprocessing import ImagePreprocessing
from penult_server.backbones.lite0 import read_lite0
from penult_server.backbones.weights_file import load_but_head
from penult_server.errors import ServiceError

_DESCRIPTIVE = ("first_conv", "classifier", "fixed_input_size", "global_pool")
"""What of a configuration of pretrained weights is about the architecture."""


def check_name(name: str) -> None:
    """Raise ServiceError (UNKNOWN_BACKBONE), naming the nearest, unless timm has that architecture and tag."""
    architecture, _, tag = timm_name(name).partition(".")
    if not timm.is_model(architecture) or (tag and not timm.is_model_pretrained(timm_name(name))):
        known = timm.list_pretrained(f"{architecture}*") if tag else []
        raise unknown_backbone(name, known or timm.list_models())


def build_module(name: str, n_classes: int, *, pretrained: bool, image_size: int) -> nn.Module:
    """An architecture with pretrained or random weights and a head of `n_classes` outputs.

    Parameters
    ----------
    name : of an architecture, with or without a tag of weights, or a directory of timm's layout.
    pretrained : weights from the package or the hub. Those of a directory are fitted in afterwards.

    Random numbers come from torch's global generator. Raises ServiceError: UNKNOWN_BACKBONE,
    INVALID_ARGUMENT (an image size that the architecture cannot have), WEIGHTS_UNAVAILABLE.
    """
    if is_model_directory(name):
        check_name(str(read_config(name)["architecture"]))
    else:
        check_name(name)
    packaged = find_packaged(name)
    if not pretrained or is_model_directory(name):
        module = _create(name, n_classes, image_size)
    elif packaged is not None:
        module = _create(name, n_classes, image_size)
        load_but_head(module, read_lite0(packaged.path), name=name, source=str(packaged.path))
    elif not timm.is_model_pretrained(timm_name(name)):
        raise weights_unavailable(name, offline=False)
    else:
        with hub_access(name):
            module = _create(name, n_classes, image_size, from_hub=True)
    return with_linear_head(module)


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


def described(module: nn.Module, files: Mapping[str, bytes], image_size: int) -> dict[str, Any]:
    """What timm's layout on disk says of a model besides its preprocessing and classes; JSON.

    Parameters
    ----------
    files : of the directory that the model came from, if it came from one.
    image_size : side of its input in pixels.
    """
    config: Any = module.pretrained_cfg
    known = {name: config[name] for name in _DESCRIPTIVE if config.get(name) is not None}
    own = json.loads(files["config.json"]) if "config.json" in files else {}
    arguments = {name: value for name, value in own.get("model_args", {}).items() if name != "num_classes"}
    if known.get("fixed_input_size"):
        arguments["img_size"] = image_size
    said = {"architecture": config["architecture"], "model_args": arguments, "pretrained_cfg": known}
    return json.loads(json.dumps(said))


def wrong_size(name: str, image_size: int, error: Exception) -> ServiceError:
    """The error for a size that an architecture refuses."""
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"the backbone {name!r} cannot be built for images of {image_size} x {image_size} pixels "
        f"({error}); choose another size (inputs=Images(size=...)), often a multiple of 32",
        backbone=name,
        image_size=image_size,
    )


def _create(name: str, n_classes: int, image_size: int, *, from_hub: bool = False) -> nn.Module:
    source = f"local-dir:{name}" if is_model_directory(name) else timm_name(name)
    try:
        return timm.create_model(source, pretrained=from_hub, num_classes=n_classes, **_size_option(name, image_size))
    except (AssertionError, ValueError) as error:
        raise wrong_size(name, image_size, error) from error
    except (TypeError, LookupError, AttributeError, RuntimeError, ArithmeticError) as error:
        if not is_model_directory(name) or isinstance(error, torch.OutOfMemoryError):
            raise
        # Its configuration says what the architecture does not take.
        raise unreadable_weights(name, name, no_model(error)) from error


def _size_option(name: str, image_size: int) -> dict[str, Any]:
    """Architectures with position embeddings are built for one size; the others take any."""
    architecture = str(read_config(name)["architecture"]) if is_model_directory(name) else timm_name(name)
    config = timm.get_pretrained_cfg(architecture)
    fixed = config is not None and config.fixed_input_size
    return {"img_size": image_size} if fixed and image_size else {}
