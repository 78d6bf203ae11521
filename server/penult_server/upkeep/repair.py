"""The registry made anew: what of it is whole, else its last copy, and what the manifests know besides."""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from google.protobuf.json_format import ParseDict, ParseError

from penult_proto.v1 import groupings_pb2, runs_pb2
from penult_server.datasets.stored import RegisteredDataset
from penult_server.errors import ServiceError
from penult_server.messages import checkpoint_to_proto, dataset_to_proto, feature_set_to_proto
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.integrity import seals
from penult_server.registry.integrity.copies import COPY, copy_registry
from penult_server.registry.schema import COLUMNS, NEWEST_NAME, THINGS
from penult_server.registry.summaries import summary_row
from penult_server.stores import checkpoints
from penult_server.stores.disk.durable import STAGING_PREFIX, sync_path, sync_tree
from penult_server.stores.disk.sealed import SEAL, add_seals, sealed_files, things
from penult_server.stores.groupings import StoredGrouping
from penult_server.stores.manifest import read_manifest
from penult_server.stores.places.opening import read_place, store_of
from penult_server.stores.runs import read_run_record
from penult_server.upkeep.verify import REGISTRY, TABLES_OF, opened, structure_of


def repair_store(root: Path) -> list[str]:
    """Rebuild the registry; to be called with the root's lock. Returns what was done, and what is lost, for people.

    The old file is kept beside it. Damaged files are not touched: `verify_store` names them.
    """
    said: list[str] = []
    _find_elsewhere(root, said)
    _seal_old_manifests(root, said)
    work = Path(tempfile.mkdtemp(prefix=f"{STAGING_PREFIX}repair-", dir=root))
    try:
        said += _begin(root, work / REGISTRY)
        # The catalog is the root's: it looks there for what it registers.
        with closing(Database(work / REGISTRY)) as database:
            _forget_missing(root, database, said)
            _add_from_manifests(root, Catalog(database, root), database, said)
        sync_tree(work)
        _replace(root, work, said)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return said


def _begin(root: Path, target: Path) -> list[str]:
    """The best there is: the registry itself, its last copy, or nothing. Returns what is to be said of it."""
    for name, meaning in (
        (REGISTRY, "the registry itself"),
        (COPY, "the copy of the registry that the server made last; what came later is rebuilt from manifests"),
    ):
        source = root / name
        if not source.is_file() or not source.stat().st_size:
            continue
        try:
            copy_registry(source, target)
            forgotten = _drop_damaged(target)
            with opened(target) as connection:
                wrong = structure_of(connection)
        except sqlite3.Error as error:
            wrong = [str(error)]
        else:
            if not wrong:
                when = time.strftime("%Y-%m-%d %H:%M", time.localtime(source.stat().st_mtime))
                return [f"started from {meaning} ({when})", *forgotten]
        for path in (target, *(target.with_name(f"{target.name}{suffix}") for suffix in ("-wal", "-shm", "-journal"))):
            path.unlink(missing_ok=True)
    return [
        "started anew, from the manifests alone: the history of jobs, stored answers, names, tags and notes are lost; "
        "answers are computed again when they are asked for"
    ]


def _drop_damaged(path: Path) -> list[str]:
    """Forget the rows that are not what was written: a wrong number would be worse than none. Raises sqlite3.Error."""
    said: list[str] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        seals.install(connection)
        if not connection.execute("PRAGMA user_version").fetchone()[0]:
            raise sqlite3.DatabaseError("it is empty")
        if not seals.has_seals(connection):
            return said
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("BEGIN")
        # What is no JSON any more has no place in an index, from which it could not be taken either.
        there = {one.table for one in seals.tables_in(connection)}
        indexes = [f"{table}_by_{name}" for table in there & set(COLUMNS) for name in COLUMNS[table]]
        query = "SELECT sql FROM sqlite_master WHERE name = ?"
        made = [connection.execute(query, (one,)).fetchone()[0] for one in indexes]
        for one in indexes:
            connection.execute(f"DROP INDEX {one}")
        for row in list(seals.damaged_rows(connection)):
            said.append(f"forgotten: {row}")
            if row.table == "job":
                connection.execute("DELETE FROM job_event WHERE job = ?", (row.id,))
            id = seals.TABLES[row.table].id(row.table)
            connection.execute(f"DELETE FROM {row.table} WHERE {id} = ?", (row.id,))
        for sql in made:
            connection.execute(sql)
        _complete(connection)
        seals.seal_all(connection)
        connection.execute("COMMIT")
    return said


def _complete(connection: sqlite3.Connection) -> None:
    """Give things their cards again, and answers their summaries, where those were damaged."""
    there = {one.table for one in seals.tables_in(connection)}
    for kind, key in THINGS.items():
        if kind not in there:
            continue
        connection.execute(
            f"INSERT INTO card (kind, id, created) SELECT '{kind}', t.{key}, ? FROM {kind} t WHERE NOT EXISTS "
            f"(SELECT 1 FROM card c WHERE c.kind = '{kind}' AND c.id = t.{key})",
            (time.time(),),
        )
    connection.execute(NEWEST_NAME)
    query = "SELECT digest, kind, message FROM result WHERE digest NOT IN (SELECT digest FROM summary)"
    for digest, kind, message in connection.execute(query).fetchall():
        connection.execute("INSERT INTO summary VALUES (?, ?, ?, ?, ?)", summary_row(digest, kind, bytes(message)))


def _find_elsewhere(root: Path, said: list[str]) -> None:
    """Give things their directories again that lie in the root's bucket and have none."""
    place = read_place(root)
    if place is None:
        return
    store = store_of(root)
    for kind in ("checkpoints", "features"):
        lost = [one for one in store.digests(kind) if not (root / kind / one).is_dir()]
        found = sum(store.find(kind, digest) for digest in lost)
        if found:
            said.append(f"found in {place.url}: {found} {kind} without a directory in the root")


def _seal_old_manifests(root: Path, said: list[str]) -> None:
    """Where no manifest has a digest, the store is of an earlier version: they are taken as they are."""
    has_any = any(SEAL in path.read_text(encoding="utf-8", errors="replace") for path in sealed_files(root))
    if not has_any and (n_added := add_seals(root)):
        said.append(f"{n_added} manifests of an earlier version were given digests, and taken as they are")


def _forget_missing(root: Path, database: Database, said: list[str]) -> None:
    """Things whose directories are gone; asked for again, they are made again."""
    for folder, (table, column) in TABLES_OF.items():
        for (digest,) in database.rows(f"SELECT DISTINCT {column} FROM {table}"):
            if not (root / folder / digest).is_dir():
                with database.transaction() as connection:
                    connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (digest,))
                said.append(f"forgotten: {table.replace('_', ' ')} {digest}, whose directory is gone")


def _add_from_manifests(root: Path, catalog: Catalog, database: Database, said: list[str]) -> None:
    """What lies in the store, is whole, and is not registered."""
    for folder, add in _ADDERS.items():
        table, column = TABLES_OF.get(folder, ("run", "id"))
        known = {row[0] for row in database.rows(f"SELECT {column} FROM {table}")}
        added = 0
        for thing in things(root, folder):
            if thing.name in known:
                continue
            try:
                added += add(root, thing.name, catalog)
            except (ServiceError, OSError, ParseError) as error:
                said.append(f"not rebuilt: {folder}/{thing.name}: {error}")
        if added:
            said.append(f"rebuilt from manifests: {added} {folder}")


def _add_checkpoint(root: Path, digest: str, catalog: Catalog) -> int:
    catalog.add_checkpoint(checkpoint_to_proto(checkpoints.read_manifest(root, digest)))
    return 1


def _add_features(root: Path, digest: str, catalog: Catalog) -> int:
    catalog.add_feature_set(feature_set_to_proto(read_manifest(root / "features" / digest)))
    return 1


def _add_dataset(root: Path, digest: str, catalog: Catalog) -> int:
    catalog.add_dataset(dataset_to_proto(RegisteredDataset(root / "datasets" / digest).info))
    return 1


def _add_run(root: Path, run: str, catalog: Catalog) -> int:
    """A run that had succeeded, by its record; of checkpoints those that are there."""
    record = read_run_record(root, run)
    if record is None:
        return 0
    message = ParseDict(record, runs_pb2.Run(), ignore_unknown_fields=True)
    kept = [one for one in message.checkpoints if checkpoints.has_checkpoint(root, one.digest)]
    del message.checkpoints[:]
    message.checkpoints.extend(kept)
    catalog.add_run(message)
    return 1


def _add_grouping(root: Path, digest: str, catalog: Catalog) -> int:
    record = StoredGrouping(root, digest).manifest.record
    catalog.add_grouping(ParseDict(record, groupings_pb2.Grouping(), ignore_unknown_fields=True))
    return 1


_ADDERS: dict[str, Callable[[Path, str, Catalog], int]] = {
    "datasets": _add_dataset,
    "checkpoints": _add_checkpoint,
    "runs": _add_run,
    "features": _add_features,
    "groupings": _add_grouping,
}


def _replace(root: Path, work: Path, said: list[str]) -> None:
    """Put the new registry in its place; the old one, with its log, is kept beside it."""
    mark = f"damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in ("-wal", "-shm", ".commits", ""):
        old = root / f"{REGISTRY}{suffix}"
        if old.exists():
            old.rename(root / f"{REGISTRY}.{mark}{suffix}")
    said.append(f"the old registry is kept as {REGISTRY}.{mark}")
    for suffix in (".commits", ""):
        (work / f"{REGISTRY}{suffix}").rename(root / f"{REGISTRY}{suffix}")
    sync_path(root)
