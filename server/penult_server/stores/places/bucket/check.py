"""Whether a bucket does what is relied on: conditions, and reading what was just written. Tried at every start."""

import json
import secrets
import time
from collections.abc import Callable

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.places.bucket.client import Bucket, TakenError

OWNER_KEY = "owner.json"


def check_bucket(bucket: Bucket) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for one that could lose or mix what two workers write."""
    key = f"check/{secrets.token_hex(8)}/object"
    try:
        first = bucket.create(key, b"first")
        if _is_done(lambda: bucket.create(key, b"second")):
            raise _refused(
                bucket, "ignores conditional writes (If-None-Match): it let the same object be created twice"
            )
        second = bucket.replace(key, b"second", first)
        if _is_done(lambda: bucket.replace(key, b"third", first)):
            raise _refused(bucket, "ignores conditional writes (If-Match): it replaced an object by a stale ETag")
        content, e_tag = bucket.get(key)
        sizes = [one.size for one in bucket.listed(key.removesuffix("object"))]
        if bytes(content) != b"second" or e_tag != second or sizes != [6]:
            raise _refused(bucket, "does not show what was just written")
    except TakenError as error:
        raise _refused(bucket, "refuses a conditional write that should succeed") from error
    finally:
        bucket.delete([key])


def claim_bucket(bucket: Bucket, owner: str, root: str) -> None:
    """Note whose prefix it is. Raises ServiceError (INVALID_ARGUMENT) for that of another root."""
    try:
        bucket.create(OWNER_KEY, _owner(owner, root))
    except TakenError:
        there = json.loads(bytes(bucket.get(OWNER_KEY)[0]))
        if there.get("owner") != owner:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{bucket.url} holds the things of another root, {there.get('root')}, whose deletions would be felt "
                "here; give --store another prefix, or serve that root (its store.json belongs to it); where that root "
                "is lost, `penult store adopt-bucket` makes another one of what lies in the bucket",
            ) from None


def take_over(bucket: Bucket, owner: str, root: str, lost_root: str) -> None:
    """Note that a prefix is another root's from now on.

    Raises ServiceError (INVALID_ARGUMENT) where nobody's things lie there, or those of another root than `lost_root`.
    """
    try:
        content, e_tag = bucket.get(OWNER_KEY)
    except FileNotFoundError:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{bucket.url} holds no store: look at the address, or begin one there by `penult serve --store`",
        ) from None
    known = json.loads(bytes(content)).get("root")
    if known != lost_root:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{bucket.url} holds the things of {known}, got {lost_root or 'nothing'} as the lost root: where that one "
            f"is lost for good, and no server of it runs, say so by --lost-root {known}; it is refused from then on",
        )
    try:
        bucket.replace(OWNER_KEY, _owner(owner, root), e_tag)
    except TakenError:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"{bucket.url} was taken over by somebody else just now: look whose it is"
        ) from None


def _owner(owner: str, root: str) -> bytes:
    return json.dumps({"owner": owner, "root": root, "created": time.time()}).encode()


def _is_done(write: Callable[[], object]) -> bool:
    try:
        write()
    except TakenError:
        return False
    return True


def _refused(bucket: Bucket, what: str) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"{bucket.url} {what}; two workers could both believe that they have stored a thing, and one would be lost "
        "to the other, or mixed with it: use a service with conditional writes, such as Amazon S3, "
        "Cloudflare R2 or a MinIO of today",
    )
