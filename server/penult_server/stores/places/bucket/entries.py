"""What a bucket says of a thing: the one object that makes it exist, and the copy of that in the root."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from penult_server.stores.disk.sealed import read_sealed, sealed_text, unsealed
from penult_server.stores.places.store import OBJECTS, Written


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing. `manifests/<kind>/<digest>.json` in the bucket, `objects.json` in its directory."""

    kind: str
    digest: str
    attempt: str
    """Its files are `data/<kind>/<attempt>/<name>`."""
    files: Mapping[str, Written] = field(default_factory=dict[str, Written])
    manifest: str = ""
    """Text of `manifest.json`."""
    removed: bool = False
    """Whether the thing was deleted. The object stays, since no service deletes one on condition: it would take the
    place of one that was just committed."""
    claim: str = ""
    """Drawn anew for every version, so that each has an ETag of its own."""

    @property
    def key(self) -> str:
        """Where it lies."""
        return key_of(self.kind, self.digest)

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(one.size for one in self.files.values())

    def data_key(self, name: str) -> str:
        """Where a file lies."""
        return f"{data_prefix(self.kind, self.attempt)}{name}"

    def renewed(self) -> "Entry":
        """The same thing in a version of its own."""
        return replace(self, claim=secrets.token_hex(8))

    def buried(self) -> "Entry":
        """What is left of it once it is deleted."""
        return replace(self, files={}, manifest="", removed=True).renewed()

    def encoded(self) -> bytes:
        """As it is stored."""
        return sealed_text(asdict(self), indent=None).encode()


def key_of(kind: str, digest: str) -> str:
    """Where the entry of a thing lies."""
    return f"manifests/{kind}/{digest}.json"


def data_prefix(kind: str, attempt: str) -> str:
    """Where the files of an attempt lie."""
    return f"data/{kind}/{attempt}/"


def decoded(content: memoryview | bytes) -> Entry:
    """An entry as it is stored. Raises ValueError, TypeError for a damaged one."""
    return _entry(unsealed(json.loads(bytes(content))))


def read_entry(directory: Path) -> Entry:
    """The entry in the directory of a thing. Raises OSError, ValueError, TypeError."""
    return _entry(read_sealed(directory / OBJECTS))


def remote_bytes(directory: Path) -> int:
    """Bytes of a thing that do not lie in its directory; 0 of one that has all there."""
    try:
        return read_entry(directory).size
    except (OSError, ValueError, TypeError):
        return 0


def _entry(values: dict[str, object]) -> Entry:
    files = values.pop("files")
    if not isinstance(files, dict):
        raise TypeError("its files are no object")
    written = {str(name): Written(**one) for name, one in files.items()}  # pyright: ignore
    return Entry(files=written, **values)  # pyright: ignore[reportArgumentType]
