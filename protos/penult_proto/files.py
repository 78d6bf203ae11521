"""Files of a model on their way to a server: which of a directory's there are, and the digest that names them."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from penult_proto.limits import CHUNK_BYTES, MOST_FILES

MOST_NAME = 255
"""Most bytes of a file's name."""
CONFIG = "config.json"
"""The file that says what model a directory is."""
ABOUT = "penult.json"
"""The file in which an export of a checkpoint says what it is."""
_DESCRIBING = (".json", ".jinja", ".model", ".txt")
_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt")
"""Suffixes of files of weights; where there are safetensors, the others are their copies."""
_OF_TRAINING = ("optimizer", "rng_state", "scaler", "scheduler", "trainer_state", "training_args")
"""How the names of files begin that only a resumed training would read."""


def model_files(source: Path) -> list[Path]:
    """The file itself, or the files of a directory that decide what its model computes, in the order of their names.

    Raises ValueError, saying why, for a directory that is no model's; OSError.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ValueError("there is no such file or directory")
    if not (source / CONFIG).is_file() and not (source / ABOUT).is_file():
        raise ValueError(f"the directory has no {CONFIG}, which says what model it holds; name the file of weights")
    found = [
        path for path in sorted(source.iterdir()) if path.is_file() and not path.name.startswith((".", *_OF_TRAINING))
    ]
    weights = [path for path in found if path.suffix in _WEIGHTS]
    safe = [path for path in weights if path.suffix == _WEIGHTS[0]]
    chosen = [path for path in found if path.suffix in _DESCRIBING] + (safe or weights)
    if not weights:
        raise ValueError(f"the directory holds no weights, in files {', '.join(_WEIGHTS)}")
    if len(chosen) > MOST_FILES:
        raise ValueError(f"the directory has {len(chosen)} files of a model, more than {MOST_FILES}")
    return sorted(chosen)


def is_plain(name: str) -> bool:
    """Whether a name is that of a file alone: no directory, nothing hidden, nothing that cannot be printed."""
    return (
        0 < len(name.encode(errors="replace")) <= MOST_NAME
        and not name.startswith(".")
        and not set(name) & set("/\\")
        and name.isprintable()
    )


def digest_of_files(files: Iterable[tuple[str, str]]) -> str:
    """sha256 (hex) of one file; of several, over "NAME\\nSHA256\\n" of each in the order of the names."""
    listed = sorted(files)
    if len(listed) == 1:
        return listed[0][1]
    return hashlib.sha256("".join(f"{name}\n{digest}\n" for name, digest in listed).encode()).hexdigest()


def digest_of_file(path: Path, tell: Callable[[int], object] = lambda _: None) -> str:
    """sha256 (hex) of a file, read in pieces; `tell` is told the bytes of each. Raises OSError."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            total.update(piece)
            tell(len(piece))
    return total.hexdigest()
