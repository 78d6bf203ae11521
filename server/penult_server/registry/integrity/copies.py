"""Copies of a registry while it is used: SQLite's own, of one moment."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from penult_server.registry.integrity import seals
from penult_server.registry.integrity.files import told
from penult_server.stores.disk.durable import staged_file
from penult_server.stores.disk.reserve import free_bytes

COPY = "penult.db.copy"
"""The copy that a server keeps beside its registry, for `penult store repair`."""
COPY_SECONDS = 86400.0
"""Age at which it is replaced."""


def copy_registry(source: Path, target: Path) -> None:
    """Copy what is committed, also of a registry that a server writes. Raises RegistryUnavailable."""
    with (
        told(),
        staged_file(target) as staging,
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as reader,
        closing(sqlite3.connect(staging)) as writer,
    ):
        reader.backup(writer)
        # One file, without a log beside it.
        writer.execute("PRAGMA journal_mode=DELETE")


def renew_copy(root: Path) -> bool:
    """Replace the copy when it is a day old, by one that is whole; whether it was replaced."""
    source, target = root / "penult.db", root / COPY
    if target.exists() and time.time() - target.stat().st_mtime < COPY_SECONDS:
        return False
    size = sum(path.stat().st_size for path in root.glob("penult.db*") if path.name in ("penult.db", "penult.db-wal"))
    if free_bytes(root) < 4 * size or not _is_whole(source):
        return False
    copy_registry(source, target)
    return True


def _is_whole(path: Path) -> bool:
    """Whether there is anything in it, and every row what was written: a damaged one must not replace a whole copy."""
    with told(), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        seals.install(connection)
        if not connection.execute("SELECT n FROM commit_count").fetchone()[0]:
            return False
        return next(seals.damaged_rows(connection), None) is None
