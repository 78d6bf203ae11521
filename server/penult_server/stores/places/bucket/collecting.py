"""What writers that died left in a bucket: attempts that no entry names, untouched for a day by the bucket's clock."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.places.bucket.client import Bucket
from penult_server.stores.places.bucket.entries import data_prefix, decoded

CLOCK_KEY = "check/clock"
ENTRIES = "manifests/"


@dataclass(frozen=True, slots=True)
class Named:
    """What is remembered of an entry."""

    kind: str
    digest: str
    attempt: str
    removed: bool


class Collector:
    """Remembers entries by their ETags, so that only new ones are read."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: dict[tuple[str, str], Named] = {}

    def named(self, kind: str = "") -> list[Named]:
        """All that entries name, of one kind or of all. Raises ServiceError (STORE_CORRUPT) for a damaged one."""
        found: dict[tuple[str, str], Named] = {}
        for one in self._bucket.listed(f"{ENTRIES}{kind}/" if kind else ENTRIES):
            named = self._known.get((one.key, one.e_tag)) or self._read(one.key)
            if named is not None:
                found[one.key, one.e_tag] = named
        self._known.update(found)
        return list(found.values())

    def collect(self, older_than: float) -> list[str]:
        """Remove attempts whose newest object is older than so many seconds. Returns their prefixes."""
        before = self._now() - timedelta(seconds=older_than)
        # First the data: what is committed meanwhile is named then.
        newest: dict[str, datetime] = {}
        keys: dict[str, list[str]] = defaultdict(list)
        for one in self._bucket.listed("data/"):
            prefix = data_prefix(*one.key.split("/")[1:3])
            newest[prefix] = max(newest.get(prefix, one.modified), one.modified)
            keys[prefix].append(one.key)
        old = {prefix for prefix, when in newest.items() if when < before}
        kept = {data_prefix(one.kind, one.attempt) for one in self.named() if not one.removed} if old else set[str]()
        for prefix in sorted(old - kept):
            self._bucket.delete(keys[prefix])
        return sorted(old - kept)

    def ages(self, kind: str) -> dict[str, float]:
        """Names of the entries of a kind, and for how many seconds each has been there."""
        there = list(self._bucket.listed(f"{ENTRIES}{kind}/"))
        now = self._now() if there else None
        return {_name(one.key): (now - one.modified).total_seconds() for one in there if now is not None}

    def _read(self, key: str) -> Named | None:
        try:
            entry = decoded(self._bucket.get(key)[0])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ServiceError(
                ErrorKind.STORE_CORRUPT,
                f"the object {key} in {self._bucket.url} is damaged ({error}): as long as it may name any files, none "
                "are collected; extract or upload the set again, or delete the object",
            ) from error
        return Named(entry.kind, entry.digest, entry.attempt, entry.removed)

    def _now(self) -> datetime:
        """What the bucket's clock says."""
        self._bucket.put(CLOCK_KEY, b"now")
        return self._bucket.head(CLOCK_KEY).modified


def _name(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")
