"""What a server does about its store before it answers: which one it is, whether it can be relied on, whose it is."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.places.opening import CACHE_BYTES, STORE_FILE, Place, read_place, write_place


def prepare_store(
    root: Path,
    url: str = "",
    endpoint: str = "",
    cache_bytes: int = 0,
    owner_of: Callable[[str], str] = lambda proposed: proposed,
) -> None:
    """Try the store of a root and note it in `store.json`; without one, here or there, there is nothing to do.

    `owner_of` says whose it is, given what the root says or would say: a registry that several machines know remembers
    what it was told first, so that each of them may use the bucket.

    Raises ServiceError: INVALID_ARGUMENT for another store than the root has, one of another root, or one that does
    not do what is relied on; DISK_FAILED where it does not answer.
    """
    known = read_place(root)
    if known is None and not url:
        return
    if known is not None and url and url.rstrip("/") != known.url:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"checkpoints, features and groupings of {root} lie in {known.url}, and --store names {url} (by "
            f"{STORE_FILE} there): leave it out, or serve another root",
        )
    place = known or Place(url=url.rstrip("/"), owner=secrets.token_hex(16))
    place = replace(
        place,
        owner=owner_of(place.owner),
        endpoint=endpoint or place.endpoint,
        cache_bytes=cache_bytes or place.cache_bytes or CACHE_BYTES,
    )
    from penult_server.stores.places.bucket.check import check_bucket, claim_bucket
    from penult_server.stores.places.bucket.client import START_TIMEOUT, Bucket

    bucket = Bucket(place.url, place.endpoint, START_TIMEOUT)
    check_bucket(bucket)
    claim_bucket(bucket, place.owner, str(root))
    if place != known:
        write_place(root, place)


def take_over_bucket(root: Path, url: str, endpoint: str, lost_root: str) -> str:
    """Make a bucket the store of a root, which another one had; says so.

    Raises ServiceError: INVALID_ARGUMENT where it is not `lost_root`'s, or does not do what is relied on; DISK_FAILED
    where it does not answer.
    """
    from penult_server.stores.places.bucket.check import check_bucket, take_over
    from penult_server.stores.places.bucket.client import START_TIMEOUT, Bucket

    place = Place(url=url.rstrip("/"), endpoint=endpoint, owner=secrets.token_hex(16))
    bucket = Bucket(place.url, endpoint, START_TIMEOUT)
    check_bucket(bucket)
    take_over(bucket, place.owner, str(root), lost_root)
    write_place(root, place)
    return f"{place.url} is the store of {root} from now on, and {lost_root} is refused there"
