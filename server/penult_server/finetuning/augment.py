"""Training examples: prepared as for evaluation, or cropped at random; flipped; kept in memory while they fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penult_server.backbones.images.preprocessing import RESAMPLING, ImagePreprocessing, Prepared, Preprocessing
from penult_server.backbones.inputs import CACHE_BYTES, SplitInputs
from penult_server.datasets.model import Example
from penult_server.finetuning.config import FinetuneConfig
from penult_server.finetuning.prefetch import loading_threads

RATIOS = (3 / 4, 4 / 3)
"""Least and greatest width / height of a random crop, as in torchvision's RandomResizedCrop and papers that use it."""
TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Augmentation:
    """What is drawn for some examples; it does not depend on their sizes."""

    flips: NDArray[np.bool_]
    """(n,)"""
    areas: NDArray[np.float64]
    """(n, TRIES) fraction of the area that a crop keeps."""
    ratios: NDArray[np.float64]
    """(n, TRIES) width over height of a crop."""
    places: NDArray[np.float64]
    """(n, 2) in [0, 1): where the crop lies among its possible positions, from the left and from the top."""

    def at(self, positions: NDArray[np.int64]) -> "Augmentation":
        """What was drawn for the examples at these positions."""
        return Augmentation(
            flips=self.flips[positions],
            areas=self.areas[positions],
            ratios=self.ratios[positions],
            places=self.places[positions],
        )


class TrainingInputs:
    """The examples of the training split, ready for a model."""

    def __init__(
        self, examples: Sequence[Example], prepared: SplitInputs, preprocessing: Preprocessing, config: FinetuneConfig
    ) -> None:
        is_image = isinstance(preprocessing, ImagePreprocessing)
        self._flip = config.flip and is_image
        self._crop = preprocessing if isinstance(preprocessing, ImagePreprocessing) and config.crop_scale else None
        self._crop_scale = config.crop_scale
        self._prepared = prepared
        self._originals = Originals(examples)

    @property
    def threads(self) -> int:
        """Threads that prepare: several where examples are decoded or cropped again and again."""
        return loading_threads(decodes=self._crop is not None or not self._prepared.is_kept)

    def draw(self, n: int, rng: np.random.Generator) -> Augmentation:
        """The random numbers of `n` examples."""
        low, high = (math.log(ratio) for ratio in RATIOS)
        return Augmentation(
            flips=(rng.random(n) < 0.5) & self._flip,
            areas=rng.uniform(self._crop_scale, 1.0, (n, TRIES)),
            ratios=np.exp(rng.uniform(low, high, (n, TRIES))),
            places=rng.random((n, 2)),
        )

    def take(self, rows: NDArray[np.int64], drawn: Augmentation) -> list[Prepared]:
        """The examples at these positions, augmented. Raises what opening an example raises."""
        if self._crop is None:
            items = self._prepared.take(rows)
        else:
            items = [self._cropped(self._crop, int(row), drawn, index) for index, row in enumerate(rows)]
        return [item[:, ::-1] if flip else item for item, flip in zip(items, drawn.flips, strict=True)]

    def _cropped(
        self, preprocessing: ImagePreprocessing, row: int, drawn: Augmentation, index: int
    ) -> NDArray[np.uint8]:
        pixels = self._originals.at(row)
        box = crop_box(pixels.shape[1], pixels.shape[0], drawn.areas[index], drawn.ratios[index], drawn.places[index])
        side = (preprocessing.size, preprocessing.size)
        left, top, width, height = box
        cropped = Image.fromarray(pixels[top : top + height, left : left + width])
        return np.asarray(cropped.resize(side, RESAMPLING[preprocessing.interpolation]))


class Originals:
    """Images as they are, kept once decoded for as long as they fit into memory."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._left = CACHE_BYTES

    def at(self, row: int) -> NDArray[np.uint8]:
        """(height, width, 3)"""
        kept = self._kept.get(row)
        if kept is not None:
            return kept
        pixels = np.asarray(self._examples[row], dtype=np.uint8)
        # Threads may both take from what is left: the bound is soft by a few images.
        if pixels.nbytes <= self._left:
            self._left -= pixels.nbytes
            self._kept[row] = pixels
        return pixels


def crop_box(
    width: int, height: int, areas: NDArray[np.float64], ratios: NDArray[np.float64], places: NDArray[np.float64]
) -> tuple[int, int, int, int]:
    """Left, top, width and height of the crop: the first drawn shape that fits into the image.

    Where none does, the largest centered one of a legal ratio ("Inception-style" cropping, Szegedy et al. 2015).
    """
    for area, ratio in zip(areas, ratios, strict=True):
        w, h = round(math.sqrt(width * height * area * ratio)), round(math.sqrt(width * height * area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(places[0] * (width - w + 1)), int(places[1] * (height - h + 1)), w, h
    w, h = min(width, round(height * RATIOS[1])), min(height, round(width / RATIOS[0]))
    return (width - w) // 2, (height - h) // 2, w, h
