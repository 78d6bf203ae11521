"""A root's directories fetched from its bucket: those that a disk has lost, or that another machine has made."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from penult_server.stores.places.opening import copies_of, store_of
from penult_server.stores.places.store import KINDS, Shared

AT_ONCE = 8
RUNS = "runs"
ON_DISK = ("manifest.json", "record.json")
"""Files of a run that are shared and are read on the disk."""


def recover_lost(root: Path, known: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Give what is known, by folders and digests, its directories, and runs their files; how many of each were missing.

    What is not in the bucket either stays missing. Nothing is done without one.

    Raises ServiceError: DISK_FAILED where the bucket does not answer, STORE_CORRUPT for a damaged copy.
    """
    copies = copies_of(root)
    if copies is None:
        return {}
    store, found = store_of(root), dict[str, int]()
    with ThreadPoolExecutor(AT_ONCE, "recover") as threads:
        for folder, names in known.items():
            lost = [one for one in names if not (root / folder / one).is_dir()]
            look = store.find if folder in KINDS else store.has
            found[folder] = sum(threads.map(look, [folder] * len(lost), lost))

        def fetch(one: Shared) -> None:
            if one.file in ON_DISK:
                copies.read_shared(one, RUNS, root / RUNS / one.name / one.file)
            else:
                copies.mark(RUNS, one.name)

        lost = [one for one in copies.shared(RUNS) if _is_lost(root, one)]
        list(threads.map(fetch, lost))
        found[RUNS] = len({one.name for one in lost})
    return {folder: number for folder, number in found.items() if number}


def _is_lost(root: Path, one: Shared) -> bool:
    directory = root / RUNS / one.name
    return not (directory / one.file).exists() if one.file in ON_DISK else not directory.is_dir()
