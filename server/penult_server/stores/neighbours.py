"""Neighbours on disk, beside the features that they are of: `features/<digest>/neighbours-<among>-<key>/`.

They can be computed again, so that what is damaged counts as not there. They go with their set, and with the set among
which they were looked for.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penult_server.stores.disk.durable import staged_directory
from penult_server.stores.disk.sealed import read_sealed, sealed_text

PREFIX = "neighbours-"
STORED_NEIGHBOURS = 64
"""Neighbours of each row that are stored; who asks for fewer is given the first of them."""
VERSION = 1
"""Part of every key; raised when the same question would get another answer than before."""
log = logging.getLogger("penult.store")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphKey:
    """What stored neighbours depend on."""

    feature_set: str
    among: str
    """The set itself, or another one."""
    metric: str
    within: str
    method: str = "exact"
    recall: float = 1.0
    """What was asked for; 1 for exact search."""
    seed: int = 0
    """Seed of the index and its certificate; 0 for exact search."""

    def directory(self, root: Path) -> Path:
        """Where they lie."""
        content = json.dumps([VERSION, asdict(self)], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()
        return root / "features" / self.feature_set / f"{PREFIX}{self.among}-{digest[:24]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGraph:
    """Neighbours as they are stored."""

    method: str
    """By which they were found: "exact" where an index did not reach what was asked for."""
    position: NDArray[np.int32]
    """(N, K) numbers of the neighbours in the set among which they were looked for, the nearest first; -1 for none."""
    distance: NDArray[np.float64]
    """(N, K); NaN for none."""
    sample: NDArray[np.int64]
    """(m,) rows of which the exact neighbours are known; none for exact search."""
    exact: NDArray[np.float64]
    """(m, K) their distances to these."""
    parameters: Mapping[str, float] = field(default_factory=dict[str, float])
    """Parameters of the index."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.position.nbytes + self.distance.nbytes + self.sample.nbytes + self.exact.nbytes


_ARRAYS = ("position", "distance", "sample", "exact")


def is_stored(root: Path, key: GraphKey) -> bool:
    """Whether there are such neighbours; whether they are whole is known once they are read."""
    return (key.directory(root) / "manifest.json").is_file()


def write_graph(root: Path, key: GraphKey, graph: StoredGraph) -> bool:
    """Store neighbours. Returns false where that fails, which costs whoever asks next the time to compute them."""
    target = key.directory(root)
    try:
        with staged_directory(target, makes_parent=False) as directory:
            digests: dict[str, str] = {}
            for name in _ARRAYS:
                np.save(directory / f"{name}.npy", getattr(graph, name))
                digests[name] = _digest_of(directory / f"{name}.npy")
            values = {
                "key": asdict(key),
                "method": graph.method,
                "parameters": dict(graph.parameters),
                "arrays": digests,
            }
            (directory / "manifest.json").write_text(sealed_text(values), encoding="utf-8")
    except FileNotFoundError:  # the set was deleted meanwhile
        return False
    except OSError as error:
        log.warning("the neighbours of feature set %s were not stored: %s", key.feature_set[:12], error)
        return False
    return True


def read_graph(root: Path, key: GraphKey) -> StoredGraph | None:
    """Stored neighbours, compared with their digests; None where there are none. Damaged ones are removed."""
    directory = key.directory(root)
    if not (directory / "manifest.json").is_file():
        return None
    try:
        values = read_sealed(directory / "manifest.json")
        if values["key"] != json.loads(json.dumps(asdict(key))):
            raise ValueError("they answer another question")
        arrays = {name: _read(directory / f"{name}.npy", values["arrays"][name]) for name in _ARRAYS}
        return StoredGraph(**arrays, method=values["method"], parameters=values["parameters"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the stored neighbours in %s are damaged and are computed again: %s", directory, error)
        shutil.rmtree(directory, ignore_errors=True)
        return None


def damaged_graphs(root: Path, feature_set: str) -> Iterator[str]:
    """Names of stored neighbours of a set, within its directory, that are not what was stored."""
    for directory in sorted((root / "features" / feature_set).glob(f"{PREFIX}*")):
        try:
            digests = read_sealed(directory / "manifest.json")["arrays"]
            if any(_digest_of(directory / f"{name}.npy") != digests[name] for name in _ARRAYS):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError):
            if directory.exists():
                yield directory.name


def forget_graphs(root: Path, among: str) -> None:
    """Remove the neighbours that were looked for in a set that was deleted."""
    for directory in (root / "features").glob(f"*/{PREFIX}{among}-*"):
        with suppress(OSError):
            shutil.rmtree(directory)


def _read(path: Path, digest: str) -> NDArray[Any]:
    if _digest_of(path) != digest:
        raise ValueError(f"{path.name} was altered")
    return np.load(path, allow_pickle=False)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
