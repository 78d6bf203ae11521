"""The footwear dataset: labels at once, images when a split is first asked for."""

import hashlib
import json
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from penult_server.datasets.examples import LazyExamples
from penult_server.datasets.footwear.compose import compose
from penult_server.datasets.footwear.files import file_digests, read_items, read_photographs
from penult_server.datasets.footwear.recipe import CLASSES, GROUNDS, RECIPE_VERSION, plans
from penult_server.datasets.model import DatasetInfo, Example, SplitLabels
from penult_server.records import Attribute

NAME = "footwear"
DESCRIPTION = (
    "Footwear on ground: 3,400 sneakers and ankle boots from Fashion-MNIST (MIT licence, copyright 2017 "
    "Zalando SE), pasted on crops of photographs of grass (by linolafett) and gravel (by CC0Textures), "
    "both CC0 by way of scikit-image. 96 x 96 pixels, gray. In the training split 95 % of the sneakers lie "
    "on grass and 95 % of the boots on gravel. A demonstration, not a benchmark."
)


@cache
def footwear_info() -> DatasetInfo:
    """Labels and names of the dataset; composes no image."""
    splits = _splits()
    return DatasetInfo(
        name=NAME,
        digest=_digest(splits),
        modality="image",
        classes=CLASSES,
        attributes=(Attribute(name="ground", values=GROUNDS),),
        splits=splits,
        description=DESCRIPTION,
    )


class FootwearDataset:
    """The packaged demonstration dataset. Its images are composed once per process and split."""

    @property
    def info(self) -> DatasetInfo:
        return footwear_info()

    def examples(self, split: str) -> LazyExamples:
        """Images of a split, (96, 96, 3) uint8. Raises ServiceError (UNKNOWN_SPLIT)."""
        return LazyExamples(partial(_image, split), range(len(self.info.split(split))))


def _image(split: str, row: int) -> Example:
    return np.repeat(_gray_images(split)[row][:, :, np.newaxis], 3, axis=2)


@cache
def _gray_images(split: str) -> NDArray[np.uint8]:
    """Kept gray: a third of the memory, 31 MB for all three splits."""
    return compose(plans()[split], read_items(), read_photographs())


def _splits() -> dict[str, SplitLabels]:
    """Row ids count through the splits: 0 .. 1999 train, then validation, then test."""
    splits: dict[str, SplitLabels] = {}
    start = 0
    for name, plan in plans().items():
        row_id = np.arange(start, start + len(plan.y), dtype=np.uint64)
        splits[name] = SplitLabels(row_id=row_id, y=plan.y, a=plan.a[:, np.newaxis])
        start += len(plan.y)
    return splits


def _digest(splits: dict[str, SplitLabels]) -> str:
    """sha256 over the extract's files, the version of the recipe and the labels.

    It covers what the images are made from and not their pixels: versions of Pillow may resample a
    little differently.
    """
    description = {
        "name": NAME,
        "recipe": RECIPE_VERSION,
        "files": file_digests(),
        "classes": CLASSES,
        "attributes": {"ground": GROUNDS},
        "splits": {
            name: {"row_id": labels.row_id.tolist(), "y": labels.y.tolist(), "a": labels.a.tolist()}
            for name, labels in splits.items()
        },
    }
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
