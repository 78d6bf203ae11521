"""JSON files that say when they are no longer what was written: the last field is a digest of all others.

Manifests decide numbers (means of images, shares of groups, names of classes) as much as arrays do. The digest is
over the content as JSON has it, sorted and without spaces, so that another indentation of the same content is no
damage. A file without a digest is damaged, too: `add_seals` gives one to what earlier versions wrote, once.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from penult_server.stores.disk.durable import write_file

SEAL = "content_sha256"
"""The field with the digest."""
SEALED_FILES = {
    "checkpoints": ("manifest.json",),
    "datasets": ("manifest.json", "registration.json"),
    "features": ("manifest.json",),
    "groupings": ("manifest.json",),
    "runs": ("manifest.json", "record.json"),
}
"""Files that have a digest, in each thing of a folder of the store."""
log = logging.getLogger("penult.store")


def digest_of(values: Mapping[str, Any]) -> str:
    """sha256 (hex) over the content of a JSON object, but for its digest."""
    content = {name: value for name, value in values.items() if name != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed_text(values: Mapping[str, Any], *, indent: int | None = 1) -> str:
    """A JSON object with its digest, as it is stored."""
    plain = cast("dict[str, Any]", json.loads(json.dumps(values)))
    return json.dumps(plain | {SEAL: digest_of(plain)}, indent=indent)


def read_sealed(path: Path) -> dict[str, Any]:
    """The content of a file, without its digest.

    Raises OSError; ValueError for what is no JSON object, has no digest, or is not what was written.
    """
    return unsealed(json.loads(path.read_text(encoding="utf-8")))


def unsealed(values: object) -> dict[str, Any]:
    """The content of a JSON object, without its digest. Raises ValueError as `read_sealed` does."""
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    content = cast("dict[str, Any]", values)
    said = content.pop(SEAL, None)
    if said is None:
        raise ValueError(f"it has no {SEAL}")
    if said != (found := digest_of(content)):
        raise ValueError(f"its content has the digest {found}, not {said}: it was altered")
    return content


def things(root: Path, folder: str) -> Iterator[Path]:
    """The directories of the things in a folder of the store, in order; what is hidden is none."""
    directory = root / folder
    if directory.is_dir():
        yield from (path for path in sorted(directory.iterdir()) if path.is_dir() and not path.name.startswith("."))


def sealed_files(root: Path) -> Iterator[Path]:
    """Every file of the store that has, or ought to have, a digest."""
    for folder, names in SEALED_FILES.items():
        for thing in things(root, folder):
            yield from (path for name in names if (path := thing / name).is_file())


def add_seals(root: Path) -> int:
    """Give a digest to every file of an earlier version that has none; returns to how many.

    What cannot be read is left as it is: reading it says so.
    """
    n_added = 0
    for path in sealed_files(root):
        try:
            values: object = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(values, dict) and SEAL not in values:
            write_file(path, sealed_text(cast("dict[str, Any]", values) | _of_arrays(path)).encode())
            n_added += 1
    if n_added:
        log.info("a digest was added to %d files of an earlier version; from now on it is checked on reading", n_added)
    return n_added


def _of_arrays(manifest: Path) -> dict[str, str]:
    """The digest of the arrays of a dataset, which its manifest had not before."""
    labels = manifest.with_name("labels.npz")
    if manifest.name != "manifest.json" or not labels.is_file():
        return {}
    return {"labels_sha256": hashlib.sha256(labels.read_bytes()).hexdigest()}
