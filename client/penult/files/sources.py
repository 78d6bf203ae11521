"""A file or directory of arrays, opened by its content; the formats are in `formats`."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from penult.arguments import coerce
from penult.errors import PenultError, invalid, shown
from penult.files.source import Source, refused

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "npz"),
    (b"PK\x05\x06", "npz"),
    (b"PAR1", "parquet"),
    (b"\x89HDF\r\n\x1a\n", "h5"),
)
EXPECTED = (
    "an .npz, .npy, .parquet, .safetensors, .pt or .h5 file, a directory of .npy files, or one of clip-retrieval "
    "(img_emb and metadata)"
)
_TORCH = (".pt", ".pth")
_TABLES = (".csv", ".tsv")


@contextmanager
def open_source(path: str | Path) -> Generator[Source]:
    """The arrays of a file or directory, by name, none of them read yet; closed when the block is left.

    Nothing is unpickled. Raises `InvalidRequest` for what is not there, of no known format, or broken.
    """
    place = existing(path)
    module = import_module(f"penult.files.formats.{_format(place)}")
    try:
        with module.opened(place) as source:
            yield source
    except (PenultError, ImportError):
        raise
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, NotImplementedError) as error:
        # Libraries refuse a broken file with errors of many kinds.
        raise broken(place, error) from error


def broken(place: Path, error: Exception) -> PenultError:
    """The error for a file that a reader of its format cannot read."""
    said = " ".join(str(error).split())[:300]
    return invalid(f"{place} cannot be read ({said}); write the file again, or give another", argument="path")


def existing(path: str | Path, argument: str = "path") -> Path:
    """A place on this machine where there is something. Raises `InvalidRequest`."""
    try:
        place = Path(coerce.path(argument, path)).expanduser().absolute()
        is_there = place.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise invalid(
            f"{argument} must name a file or directory; got {shown(path)} ({error})", argument=argument
        ) from None
    if not is_there:
        raise invalid(f"there is no {place} on this machine", argument=argument)
    return place


def _format(place: Path) -> str:
    """The module in `formats` that reads it, by its content. Raises `InvalidRequest`."""
    if place.is_dir():
        is_plain = any(place.glob("*.npy"))
        if not is_plain and not (any(place.glob("*_emb/*.npy"))):
            raise refused(place, "the directory holds no arrays", f"expected {EXPECTED}")
        return "npy" if is_plain else "clip_retrieval"
    try:
        with place.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise broken(place, error) from error
    found = next((name for magic, name in _MAGIC if start.startswith(magic)), "")
    if place.suffix in _TORCH and found in ("", "npz"):
        return "torch_file"
    if found:
        return found
    if place.suffix in _TABLES:
        return "csv_table"
    if start[8:9] == b"{":
        return "safetensors"
    if start[:1] == b"\x80":
        raise refused(
            place,
            "this is a pickle, which could run any code when it is read",
            "read it yourself where you trust it and save its arrays with np.savez(path, features=..., y=...)",
        )
    raise refused(place, "its content is of no format that is read here", f"expected {EXPECTED}")
