"""Build the packaged extract from the public sources. The result is committed, so that this need not be run again.

Sources:

* Fashion-MNIST (MIT, copyright 2017 Zalando SE): the four IDX files, gzipped. The Debian package
  `dataset-fashion-mnist` holds them under usr/share/datasets/fashion-mnist; unpack it with `dpkg-deb -x`.
* Photographs of grass and gravel (CC0): data/grass.png and data/gravel.png in the scikit-image wheel.

Usage::

    python -m penult_server.datasets.footwear.make_extract FASHION_MNIST_DIR PHOTOGRAPHS_DIR OUT_DIR
"""

import argparse
import gzip
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from penult_server.datasets.footwear.files import ITEM_SIZE, OBJECTS_FILE, PHOTOGRAPH_FILES, lay_sheet
from penult_server.datasets.footwear.recipe import N_FIT, N_HELD_OUT

LABELS = (7, 9)
"""Fashion-MNIST's labels of sneakers and ankle boots."""
IMAGES_HEADER, LABELS_HEADER = 16, 8
"""Bytes before the data in an IDX file of images and of labels."""


def main() -> None:
    """Write the sheet of objects and copy the photographs."""
    parser = argparse.ArgumentParser(description="Build the packaged extract of the footwear dataset.")
    parser.add_argument("fashion_mnist", type=Path, help="directory of the four gzipped IDX files")
    parser.add_argument("photographs", type=Path, help="directory of grass.png and gravel.png")
    parser.add_argument("out", type=Path, help="directory to write to")
    arguments = parser.parse_args()
    make_extract(arguments.fashion_mnist, arguments.photographs, arguments.out)


def make_extract(fashion_mnist: Path, photographs: Path, out: Path) -> None:
    """Write `objects.png` and the two photographs, unchanged, to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    fit = read_idx(fashion_mnist, "train")
    held_out = read_idx(fashion_mnist, "t10k")
    seen: set[bytes] = set()
    items = [choose(*fit, label, N_FIT, seen) for label in LABELS]
    items += [choose(*held_out, label, N_HELD_OUT, seen) for label in LABELS]
    Image.fromarray(lay_sheet(np.concatenate(items))).save(out / OBJECTS_FILE, optimize=True)
    for name in PHOTOGRAPH_FILES:
        shutil.copyfile(photographs / name, out / name)


def read_idx(directory: Path, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (n, 28, 28) and labels (n,) of one of the two parts, "train" or "t10k"."""
    images = _read_bytes(directory / f"{prefix}-images-idx3-ubyte.gz", IMAGES_HEADER)
    labels = _read_bytes(directory / f"{prefix}-labels-idx1-ubyte.gz", LABELS_HEADER)
    return images.reshape(-1, ITEM_SIZE, ITEM_SIZE), labels


def choose(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], label: int, n: int, seen: set[bytes]
) -> NDArray[np.uint8]:
    """The first n objects with a label, leaving out any whose pixels were chosen before."""
    chosen: list[NDArray[np.uint8]] = []
    for image in images[labels == label]:
        if len(chosen) == n:
            break
        if image.tobytes() not in seen:
            seen.add(image.tobytes())
            chosen.append(image)
    return np.stack(chosen)


def _read_bytes(path: Path, header: int) -> NDArray[np.uint8]:
    with gzip.open(path, "rb") as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


if __name__ == "__main__":
    main()
