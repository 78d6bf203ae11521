"""Preprocessing of an image classifier of transformers, read from its configuration."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' processors are untyped.

from pathlib import Path
from typing import Any

from transformers.models.auto.image_processing_auto import AutoImageProcessor

from penult_proto.errors import ErrorKind
from penult_server.backbones.images.preprocessing import ImagePreprocessing
from penult_server.errors import ServiceError

_HALF = (0.5, 0.5, 0.5)
_BY_NUMBER = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Names of Pillow's interpolations, in the order of their numbers."""


def image_preprocessing(source: str, name: str, config: Any, image_size: int) -> ImagePreprocessing:
    """Preprocessing by ``preprocessor_config.json``; mean and deviation 0.5, bilinear, where a directory has none.

    Raises ServiceError (INVALID_ARGUMENT) for a model whose channels are blue, green, red: this server's are not.
    """
    own_size = getattr(config, "image_size", None) or 224
    size = image_size or (own_size if isinstance(own_size, int) else int(max(own_size)))
    if Path(source).is_dir() and not (Path(source) / "preprocessor_config.json").is_file():
        return ImagePreprocessing(size=size, mean=_HALF, std=_HALF, interpolation="bilinear")
    processor = AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
    if getattr(processor, "do_flip_channel_order", False):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the model {name!r} reads the channels of an image as blue, green, red; images are given as red, green, "
            f"blue here: choose another backbone, such as the same one of timm",
            backbone=name,
        )
    # Without normalisation the model reads pixel / 255 as it is.
    normalised = getattr(processor, "do_normalize", True) is not False
    return ImagePreprocessing(
        size=size,
        mean=tuple(processor.image_mean or _HALF) if normalised else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std or _HALF) if normalised else (1.0, 1.0, 1.0),
        interpolation=_BY_NUMBER[int(processor.resample)],
    )
