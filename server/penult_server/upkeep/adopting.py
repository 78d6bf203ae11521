"""A bucket whose root is lost, and with it the registry that lay there, becomes the store of a new root."""

from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.access import LOCK
from penult_server.stores.places.opening import read_place
from penult_server.stores.places.serving import take_over_bucket
from penult_server.upkeep.repair import repair_store
from penult_server.upkeep.verify import REGISTRY


def check_adoptable(root: Path, url: str) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for a directory that holds something, but of an adoption that failed."""
    if root.is_dir() and {path.name for path in root.iterdir()} - {LOCK} and not _is_begun(root, url):
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"{root} is not empty: name a directory that does not exist, or an empty one"
        )


def adopt_bucket(root: Path, url: str, endpoint: str, lost_root: str) -> list[str]:
    """Make a directory the root of a bucket, with a registry made of what lies there; again after a failure.

    To be called with the root's lock. `lost_root` is the root whose the bucket was, as the bucket calls it: who names
    it knows that no server of it runs. Returns what was done, and what is lost, for people.

    Raises ServiceError: INVALID_ARGUMENT where the bucket is not that root's; DISK_FAILED where it does not answer.
    """
    said = [] if _is_begun(root, url) else [take_over_bucket(root, url, endpoint, lost_root)]
    return [*said, *repair_store(root)]


def _is_begun(root: Path, url: str) -> bool:
    """Whether a bucket has been taken over, and no registry made yet."""
    place = read_place(root)
    return place is not None and place.url == url.rstrip("/") and not (root / REGISTRY).exists()
