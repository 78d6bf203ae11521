"""Which object goes on which piece of ground, in which split: fixed by one seed.

Class y: 0 sneaker, 1 ankle boot. Attribute a: 0 grass, 1 gravel. In the training split 95 % of the
sneakers lie on grass and 95 % of the boots on gravel; the other splits have equal groups.

Every object is used once. Training and validation take objects from Fashion-MNIST's training files and
the left half of each photograph; the test split takes objects from its test files and the right half.

Everything is derived from raw output of PCG64, which NumPy promises never to change, and not from
`Generator` methods, which it may change between versions.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

SEED = 28096
RECIPE_VERSION = 1
"""Raised whenever this file or `compose.py` changes what the images look like."""

CLASSES = ("sneaker", "ankle boot")
GROUNDS = ("grass", "gravel")
GROUP_COUNTS = {"train": (950, 50, 50, 950), "val": (100, 100, 100, 100), "test": (250, 250, 250, 250)}
"""Examples by group g = 2 y + a."""

N_FIT = 1200
"""Objects per class from the training files: training and validation."""
N_HELD_OUT = 500
"""Objects per class from the test files: test."""

IMAGE_SIZE = 96
OBJECT_SIZE = 80
PHOTO_SIZE = 512
HALF_WIDTH = PHOTO_SIZE // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """How the N images of one split are put together; every array has shape (N,)."""

    y: NDArray[np.int64]
    a: NDArray[np.int64]
    item: NDArray[np.int64]
    """Index into the objects of the extract."""
    crop_top: NDArray[np.int64]
    crop_left: NDArray[np.int64]
    """Left edge of the piece of ground in the photograph, in pixels; `crop_top` is its upper one."""
    paste_top: NDArray[np.int64]
    paste_left: NDArray[np.int64]
    """Left edge of the object in the image, in pixels; `paste_top` is its upper one."""


@cache
def plans() -> dict[str, ImagePlan]:
    """The plan of each split. Drawn in one fixed order, so no split depends on which are asked for."""
    bits = np.random.PCG64(SEED)
    fit = [y * N_FIT + _order(bits, N_FIT) for y in range(2)]
    held_out = [2 * N_FIT + y * N_HELD_OUT + _order(bits, N_HELD_OUT) for y in range(2)]
    n_train = sum(GROUP_COUNTS["train"]) // 2
    items = {
        "train": np.concatenate([pool[:n_train] for pool in fit]),
        "val": np.concatenate([pool[n_train:] for pool in fit]),
        "test": np.concatenate(held_out),
    }
    return {split: _plan(bits, split, items[split]) for split in GROUP_COUNTS}


def first_column(split: str) -> int:
    """First column of the half of the photographs that a split takes its ground from."""
    return HALF_WIDTH if split == "test" else 0


def _plan(bits: np.random.PCG64, split: str, items: NDArray[np.int64]) -> ImagePlan:
    """Lay `items`, all of class 0 before all of class 1, on their grounds, then shuffle."""
    g = np.repeat(np.arange(4), GROUP_COUNTS[split])
    n = len(g)
    shuffled = _order(bits, n)
    n_offsets = IMAGE_SIZE - OBJECT_SIZE + 1
    return ImagePlan(
        y=g[shuffled] // 2,
        a=g[shuffled] % 2,
        item=items[shuffled],
        crop_top=_integers(bits, n, PHOTO_SIZE - IMAGE_SIZE + 1),
        crop_left=first_column(split) + _integers(bits, n, HALF_WIDTH - IMAGE_SIZE + 1),
        paste_top=_integers(bits, n, n_offsets),
        paste_left=_integers(bits, n, n_offsets),
    )


def _order(bits: np.random.PCG64, n: int) -> NDArray[np.int64]:
    """A random permutation of 0 .. n-1."""
    return np.argsort(bits.random_raw(n), kind="stable").astype(np.int64)


def _integers(bits: np.random.PCG64, n: int, below: int) -> NDArray[np.int64]:
    """n random integers in 0 .. below-1 (the bias of the remainder is under 1e-16)."""
    return (bits.random_raw(n) % np.uint64(below)).astype(np.int64)
