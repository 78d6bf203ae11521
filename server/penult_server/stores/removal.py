"""Taking things out of the store so that a crash at any moment leaves all of them or none.

Everything that is to go is first set aside: renamed within its folder to a name that nobody looks for. Then the
registry forgets it, in one commit; only then are the bytes removed. What a server that was killed had set aside is put
back at the next start where the registry still knows it, and removed where it does not.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from penult_server.stores.disk.durable import STAGING_PREFIX, staged, sync_path
from penult_server.stores.places.opening import removed_elsewhere

ASIDE_PREFIX = ".deleted-"
FOLDERS = ("checkpoints", "datasets", "features", "groupings", "logs", "runs", "tokens")
"""Folders of a store that hold things by their names."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A file or directory that has been renamed."""

    place: Path
    """Where it belongs."""
    path: Path
    """Where it lies meanwhile."""


def set_aside(places: Iterable[Path]) -> list[Aside]:
    """Rename what there is of `places`, all or nothing of it; on disk when this returns."""
    done: list[Aside] = []
    try:
        for place in places:
            aside = Aside(place, place.with_name(f"{ASIDE_PREFIX}{time.time_ns()}-{place.name}"))
            try:
                place.rename(aside.path)
            except FileNotFoundError:
                continue
            done.append(aside)
        _sync_parents(done)
    except BaseException:
        put_back(done)
        raise
    return done


def put_back(asides: Sequence[Aside]) -> None:
    """Undo `set_aside`."""
    for aside in asides:
        aside.path.rename(aside.place)


def condemn(asides: Sequence[Aside]) -> list[Path]:
    """Rename for the last time what the registry has forgotten: as if a writer that died had left it."""
    condemned: list[Path] = []
    for aside in asides:
        path = aside.path.with_name(f"{STAGING_PREFIX}{aside.path.name.removeprefix('.')}")
        aside.path.rename(path)
        condemned.append(path)
    return condemned


def remove(paths: Iterable[Path]) -> None:
    """Remove files and directories, and what lies elsewhere of things; what cannot be is tried at the next start."""
    for path in paths:
        if path.is_dir():
            if removed_elsewhere(path):
                shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_left(parent: Path) -> None:
    """Remove what writers that died left in `parent` and the directories in it. Only when no writer is alive."""
    remove(list(staged(parent)))


def recover(root: Path, is_known: Callable[[str, str], bool]) -> None:
    """Put back, or remove, what a server that was killed had set aside.

    `is_known` says of a folder and a name whether the registry knows the thing. Only when no other process uses the
    store.
    """
    for folder in FOLDERS:
        left = [(_when(path), path) for path in (root / folder).glob(f"{ASIDE_PREFIX}*")]
        # The newest first: of two with one name, the older has been deleted before.
        for _, path in sorted(left, reverse=True):
            name = path.name.removeprefix(ASIDE_PREFIX).partition("-")[2]
            place = path.with_name(name)
            if is_known(folder, name) and not place.exists():
                path.rename(place)
            else:
                remove([path])


def _when(path: Path) -> int:
    digits = path.name.removeprefix(ASIDE_PREFIX).partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


def _sync_parents(asides: Sequence[Aside]) -> None:
    for parent in {aside.place.parent for aside in asides}:
        sync_path(parent)
