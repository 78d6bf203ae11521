"""Pixels of the footwear images, from the extract and a plan.

Integer arithmetic throughout. The one step that is not ours is Pillow's bicubic resampling, which may
differ by a gray level between versions of Pillow.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penult_server.datasets.footwear.recipe import IMAGE_SIZE, OBJECT_SIZE, ImagePlan

Pixels = NDArray[np.uint8]

BACKGROUND = 8
"""Intensities up to this are background: the objects stand on 0 with faint noise."""
ALPHA_PER_LEVEL = 8
"""Opacity, of 255, gained per level of intensity above the background."""


def compose(plan: ImagePlan, items: Pixels, photographs: tuple[Pixels, Pixels]) -> Pixels:
    """Images of one split, gray, shape (N, IMAGE_SIZE, IMAGE_SIZE).

    Parameters
    ----------
    items : all objects of the extract, shape (number of objects, 28, 28).
    photographs : grass and gravel, each (512, 512).
    """
    chosen = items[plan.item]
    opacity = silhouettes(chosen)
    images = np.empty((len(chosen), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for i, (a, top, left) in enumerate(zip(plan.a, plan.crop_top, plan.crop_left, strict=True)):
        images[i] = photographs[a][top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
        window = images[
            i,
            plan.paste_top[i] : plan.paste_top[i] + OBJECT_SIZE,
            plan.paste_left[i] : plan.paste_left[i] + OBJECT_SIZE,
        ]
        window[:] = blend(window, enlarge(chosen[i]), enlarge(opacity[i]))
    return images


def silhouettes(items: Pixels) -> Pixels:
    """Opacity of each object, shape (n, 28, 28): 0 around it, 255 on it and in its dark parts.

    Intensity alone would make dark leather transparent. A pixel counts by the smallest of the largest
    intensities that lie to its left, right, above and below: bright all around means inside.
    """
    enclosed = np.minimum.reduce(
        [
            np.maximum.accumulate(items, axis=1),
            np.maximum.accumulate(items[:, ::-1], axis=1)[:, ::-1],
            np.maximum.accumulate(items, axis=2),
            np.maximum.accumulate(items[:, :, ::-1], axis=2)[:, :, ::-1],
        ]
    )
    levels = enclosed.astype(np.int64) - BACKGROUND
    return np.clip(levels * ALPHA_PER_LEVEL, 0, 255).astype(np.uint8)


def enlarge(item: Pixels) -> Pixels:
    """Scale one (28, 28) object to (OBJECT_SIZE, OBJECT_SIZE)."""
    size = (OBJECT_SIZE, OBJECT_SIZE)
    return np.asarray(Image.fromarray(item).resize(size, Image.Resampling.BICUBIC))


def blend(ground: Pixels, item: Pixels, opacity: Pixels) -> Pixels:
    """The object over the ground, rounded to the nearest level."""
    alpha = opacity.astype(np.uint32)
    mixed = item * alpha + ground * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)
