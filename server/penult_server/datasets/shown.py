"""Examples as a person sees them: images as small PNG files, texts as they are."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2 as pb
from penult_server.datasets.model import Dataset, Example
from penult_server.errors import ServiceError
from penult_server.row_ids import places_of

SIDES = (16, 512)
DEFAULT_SIDE = 96
MOST_SHOWN = 2_000
"""Most examples of one request."""
MOST_PIXELS = MOST_SHOWN * 128 * 128
"""Most pixels of all of its images together."""


def check_shown(n: int, side: int) -> None:
    """Raise ServiceError (INVALID_ARGUMENT, TOO_LARGE) for more than one answer shows."""
    low, high = SIDES
    if not low <= side <= high:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"side must lie in {low} .. {high} pixels, got {side}", field="side"
        )
    if n < 1:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, "there are no row ids to show: give at least one", field="row_ids"
        )
    if n > MOST_SHOWN or n * side * side > MOST_PIXELS:
        raise ServiceError(
            ErrorKind.TOO_LARGE,
            f"{n} images of {side} pixels are more than one answer shows: ask for at most "
            f"{min(MOST_SHOWN, MOST_PIXELS // side**2)} at this size",
            field="row_ids",
        )


def shown_examples(
    dataset: Dataset, split: str, row_ids: NDArray[np.uint64], side: int, check: Callable[[], None] = lambda: None
) -> list[pb.ShownExample]:
    """The examples of some rows of a split, in their order.

    Raises ServiceError: UNKNOWN_SPLIT, INVALID_ARGUMENT for a row that is not in it, and FILES_MISSING,
    DATASET_CHANGED or CORRUPT_IMAGE as opening an example does.
    """
    labels, info = dataset.info.split(split), dataset.info
    places, missing = places_of(labels.row_id, row_ids)
    if missing.size:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"split {split!r} of {info.name!r} has no row with id {missing[0]} ({len(missing)} of {len(row_ids)} ids "
            "are not in it)",
            field="row_ids",
            row_id=missing[0],
        )
    examples = dataset.examples(split)
    found: list[pb.ShownExample] = []
    for row, place in zip(row_ids, places, strict=True):
        check()
        shown = pb.ShownExample(row_id=int(row), class_name=info.classes[int(labels.y[place])])
        if info.attributes:
            shown.attribute_value = info.attributes[0].values[int(labels.a[place, 0])]
        _show(shown, examples[int(place)], side)
        found.append(shown)
    return found


def _show(shown: pb.ShownExample, example: Example, side: int) -> None:
    """Fill in the image or the texts."""
    if isinstance(example, np.ndarray):
        shown.image = _png(example, side)
    else:
        shown.texts.extend([example] if isinstance(example, str) else example)


def _png(pixels: NDArray[np.uint8], side: int) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    file = BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
