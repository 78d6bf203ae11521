"""Where the registry of a store is, when it is no file of the store's."""

import json
import time
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.durable import sync_path, write_file

MARK = "registry.json"
"""The file of a root that names the place, without a password."""


def note_place(root: Path, place: str) -> None:
    """Write down that the registry is elsewhere. Raises ServiceError (INVALID_ARGUMENT) where it is a file."""
    if (root / "penult.db").exists():
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"the registry of {root} is its file penult.db, and stays there: leave --registry out, or name another "
            "--root",
        )
    write_file(root / MARK, json.dumps({"place": place}).encode())


def move_place(root: Path, place: str) -> Path:
    """Write down that the registry is elsewhere from now on; the file is kept, by the name that is returned."""
    file = root / "penult.db"
    kept = root / f"{file.name}.moved-{time.strftime('%Y%m%d-%H%M%S')}"
    write_file(root / MARK, json.dumps({"place": place}).encode())
    for path in sorted(root.glob(f"{file.name}*")):
        suffix = path.name.removeprefix(file.name)
        if suffix in ("", "-wal", "-shm", ".commits"):
            path.rename(kept.with_name(f"{kept.name}{suffix}"))
    sync_path(root)
    return kept


def place_of(root: Path) -> str:
    """Where it is; empty where it is the store's own file."""
    try:
        return str(json.loads((root / MARK).read_text(encoding="utf-8"))["place"])
    except FileNotFoundError:
        return ""


def check_is_file(root: Path, what: str) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for what is about files alone, where the registry is none."""
    if place := place_of(root):
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"the registry of {root} is {place}: {what}")
