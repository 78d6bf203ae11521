"""Decoding of images that other people made."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from penult_proto.limits import MOST_IMAGE_PIXELS

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read: plain rasters, none whose decoder runs another program."""

DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow's decoders raise on damaged files; they have no common base."""


_ORIENTATION = 0x0112
T = TypeVar("T")


class ImageError(ValueError):
    """The bytes are not an image that can be read whole; the message says why."""


def decode_image(content: bytes) -> NDArray[np.uint8]:
    """Decode to (height, width, 3) uint8 RGB, upright.

    The EXIF orientation is applied. Gray is repeated, palettes are looked up, transparency is dropped,
    16-bit gray keeps its upper byte; of several frames the first is taken.

    Raises ImageError when any part of the image cannot be decoded, or for floating-point and 32-bit
    pixels, which have no agreed range.
    """
    return _with_image(content, lambda image: _to_rgb(ImageOps.exif_transpose(image)))


def check_image(content: bytes) -> None:
    """Raise ImageError if `decode_image` would.

    Of a plain image no array is made: threads decode beside each other, but make arrays one after the other.
    """
    _with_image(content, lambda image: None if _is_plain(image) else _to_rgb(ImageOps.exif_transpose(image)))


def _with_image(content: bytes, use: Callable[[Image.Image], T]) -> T:
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            _check_pixels(image)
            image.load()
            return use(image)
    except UnidentifiedImageError as error:
        raise ImageError(f"it begins like none of {', '.join(FORMATS)}") from error
    except DECODER_ERRORS as error:
        raise ImageError(str(error) or type(error).__name__) from error


def _check_pixels(image: Image.Image) -> None:
    """Raise ImageError for an image that would take too much memory, by what its header says."""
    if image.width * image.height > MOST_IMAGE_PIXELS:
        raise ImageError(
            f"it has {image.width} x {image.height} pixels, an image at most {MOST_IMAGE_PIXELS}; make it smaller"
        )


def _is_plain(image: Image.Image) -> bool:
    """Whether nothing is left to be done that could fail: RGB without transparency, upright."""
    return image.mode == "RGB" and "transparency" not in image.info and image.getexif().get(_ORIENTATION, 1) == 1


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        upper = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(upper[:, :, np.newaxis], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ImageError(f"pixels of mode {image.mode!r} have no agreed range; save as 8 or 16 bits")
    if "transparency" in image.info:
        # A palette whose transparency is a table of bytes converts to RGB only by way of RGBA.
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))
