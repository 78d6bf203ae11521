"""A registry that is missing, or empty, where there are things that it ought to know."""

from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.stores.disk.sealed import SEALED_FILES, things


def check_not_lost(path: Path, *, is_empty: bool = False) -> None:
    """Raise ServiceError (STORE_CORRUPT) where the registry is missing, or `is_empty`, beside stored things."""
    if not is_empty and path.is_file() and path.stat().st_size:
        return
    counts = {folder: sum(1 for _ in things(path.parent, folder)) for folder in SEALED_FILES}
    there = [f"{count} in {folder}" for folder, count in counts.items() if count]
    if there:
        raise ServiceError(
            ErrorKind.STORE_CORRUPT,
            f"the registry {path} is missing or empty, but the store has things ({', '.join(there)}): restore a backup "
            f"(`penult store restore`), or rebuild it by `penult store repair --root {path.parent}`",
        )
