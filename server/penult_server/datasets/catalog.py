"""Every dataset by name: the packaged ones and, by their digest, the registered ones."""

import re
from collections.abc import Callable
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.datasets.footwear.dataset import NAME as FOOTWEAR
from penult_server.datasets.footwear.dataset import FootwearDataset, footwear_info
from penult_server.datasets.model import Dataset, DatasetInfo
from penult_server.datasets.stored import RegisteredDataset
from penult_server.errors import ServiceError
from penult_server.stores.places.opening import store_of

DATASETS_DIRECTORY = "datasets"
"""Directory below the root of a server: one directory per registered dataset, named by its digest."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def packaged() -> dict[str, Callable[[], Dataset]]:
    """The function that opens each packaged dataset, by name."""
    return {FOOTWEAR: FootwearDataset}


def describe_packaged() -> dict[str, DatasetInfo]:
    """Each packaged dataset by name, without composing an image."""
    return {FOOTWEAR: footwear_info()}


def open_dataset(name: str, digest: str, root: Path) -> Dataset:
    """Open a packaged dataset, or a registered one below `root`.

    Raises ServiceError: DATASET_CHANGED when this version packages other content under `name` than
    `digest` says, UNKNOWN_DATASET when nothing with that digest is registered, STORE_CORRUPT.
    """
    if name in packaged():
        return _open_packaged(name, digest)
    directory = root / DATASETS_DIRECTORY / digest
    if not _DIGEST.fullmatch(digest) or not store_of(root).has(DATASETS_DIRECTORY, digest):
        raise ServiceError(
            ErrorKind.UNKNOWN_DATASET,
            f"there is no dataset {name!r} with the digest {digest!r} in {root}; register it, or name a "
            f"packaged one: {', '.join(packaged())}",
            name=name,
            digest=digest,
        )
    return RegisteredDataset(directory, name)


def _open_packaged(name: str, digest: str) -> Dataset:
    dataset = packaged()[name]()
    if dataset.info.digest != digest:
        raise ServiceError(
            ErrorKind.DATASET_CHANGED,
            f"{name!r} was asked for with the digest {digest}, this version of penult packages "
            f"{dataset.info.digest}; use the version it was made with, or start anew",
            name=name,
            digest=digest,
        )
    return dataset
