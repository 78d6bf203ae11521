"""The files that the footwear images are made from, as they are packaged."""

import hashlib
from importlib import resources
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penult_server.datasets.footwear.recipe import N_FIT, N_HELD_OUT

OBJECTS_FILE = "objects.png"
PHOTOGRAPH_FILES = ("grass.png", "gravel.png")
ITEM_SIZE = 28
ITEMS_PER_ROW = 100
N_ITEMS = 2 * (N_FIT + N_HELD_OUT)

_DIRECTORY = resources.files("penult_server.datasets.footwear") / "extract"


def file_digests() -> dict[str, str]:
    """sha256 (hex) of each file of the extract."""
    return {name: hashlib.sha256(_read(name)).hexdigest() for name in (OBJECTS_FILE, *PHOTOGRAPH_FILES)}


def read_items() -> NDArray[np.uint8]:
    """The objects, shape (N_ITEMS, 28, 28): bright on 0, as Fashion-MNIST has them.

    In order: sneakers then boots from its training files (N_FIT each), sneakers then boots from its
    test files (N_HELD_OUT each).
    """
    return cut_sheet(_pixels(OBJECTS_FILE))


def read_photographs() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grass and gravel, each (512, 512), gray."""
    grass, gravel = PHOTOGRAPH_FILES
    return _pixels(grass), _pixels(gravel)


def lay_sheet(items: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay objects (n, 28, 28) side by side, ITEMS_PER_ROW in a row; n is a multiple of that."""
    rows = items.reshape(-1, ITEMS_PER_ROW, ITEM_SIZE, ITEM_SIZE)
    return rows.transpose(0, 2, 1, 3).reshape(-1, ITEMS_PER_ROW * ITEM_SIZE)


def cut_sheet(sheet: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo `lay_sheet`."""
    rows = sheet.reshape(-1, ITEM_SIZE, ITEMS_PER_ROW, ITEM_SIZE)
    return rows.transpose(0, 2, 1, 3).reshape(-1, ITEM_SIZE, ITEM_SIZE)


def _pixels(name: str) -> NDArray[np.uint8]:
    with Image.open(BytesIO(_read(name)), formats=("PNG",)) as image:
        return np.asarray(image)


def _read(name: str) -> bytes:
    return (_DIRECTORY / name).read_bytes()
