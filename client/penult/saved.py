"""Records from the files that their ``save`` wrote: ``penult.load``."""

from dataclasses import is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from penult import options, results
from penult.files.saved import read_record
from penult.results.notes import Note


def load(path: str | Path) -> Any:
    """The record that ``.save(path)`` wrote: a `Refit`, `Spectra`, `Metrics`, `Run` and so on, equal in every field.

    No server is needed, and nothing is unpickled: the file is an .npz of plain arrays with a header in JSON. Features
    are read by ``client.features.load``.

    Raises
    ------
    InvalidRequest : there is no such file, it is broken, or it holds no record of penult.
    VersionMismatch : a newer penult wrote it.
    """
    return read_record(path, _known())


@cache
def _known() -> dict[str, type[Any]]:
    """Every record by its name, with notes and the options of recipes."""
    found: dict[str, type[Any]] = {"Note": Note}
    modules = [import_module(one.name) for one in walk_packages(results.__path__, f"{results.__name__}.")]
    for module in (options, *modules):
        found |= {
            key: value
            for key, value in vars(module).items()
            if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__
        }
    return found
