"""The registry made anew: what of it is whole, else its last copy, and what the manifests know besides."""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from google.protobuf.json_format import ParseDict, ParseError

from penult_proto.v1 import groupings_pb2, runs_pb2
from penult_server.datasets.catalog import DATASETS_DIRECTORY
from penult_server.datasets.stored import RegisteredDataset
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.messages import checkpoint_to_proto, dataset_to_proto, feature_set_to_proto
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.integrity.copies import COPY, copy_registry
from penult_server.registry.integrity.files import TABLES_OF, drop_damaged, opened
from penult_server.registry.tables import TABLES
from penult_server.stores import checkpoints
from penult_server.stores.disk.durable import STAGING_PREFIX, sync_path, sync_tree
from penult_server.stores.disk.sealed import SEAL, add_seals, sealed_files, things
from penult_server.stores.groupings import StoredGrouping
from penult_server.stores.manifest import read_manifest
from penult_server.stores.places.opening import read_place, store_of
from penult_server.stores.places.recovering import recover_lost
from penult_server.stores.places.store import KINDS
from penult_server.stores.runs import read_run_record
from penult_server.upkeep.verify import REGISTRY


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
            forgotten = drop_damaged(target)
            with opened(target) as file:
                wrong = file.structure()
        except RegistryUnavailable as error:
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


def _find_elsewhere(root: Path, said: list[str]) -> None:
    """Give things their directories again that lie in the root's bucket and have none."""
    place = read_place(root)
    if place is None:
        return
    store = store_of(root)
    wanted = {kind: store.digests(kind) for kind in (*KINDS, DATASETS_DIRECTORY)}
    for kind, found in recover_lost(root, wanted).items():
        said.append(f"found in {place.url}: {found} {kind} without a directory in the root")


def _seal_old_manifests(root: Path, said: list[str]) -> None:
    """Where no manifest has a digest, the store is of an earlier version: they are taken as they are."""
    has_any = any(SEAL in path.read_text(encoding="utf-8", errors="replace") for path in sealed_files(root))
    if not has_any and (n_added := add_seals(root)):
        said.append(f"{n_added} manifests of an earlier version were given digests, and taken as they are")


def _forget_missing(root: Path, database: Database, said: list[str]) -> None:
    """Things whose directories are gone; asked for again, they are made again."""
    for folder, (table, column) in TABLES_OF.items():
        rows = TABLES[table]
        for (digest,) in database.rows(rows.select().with_only_columns(rows.c[column]).distinct()):
            if not (root / folder / digest).is_dir():
                with database.transaction() as connection:
                    connection.execute(rows.delete().where(rows.c[column] == digest))
                said.append(f"forgotten: {table.replace('_', ' ')} {digest}, whose directory is gone")


def _add_from_manifests(root: Path, catalog: Catalog, database: Database, said: list[str]) -> None:
    """What lies in the store, is whole, and is not registered."""
    for folder, add in _ADDERS.items():
        table, column = TABLES_OF.get(folder, ("run", "id"))
        rows = TABLES[table]
        known = {row[0] for row in database.rows(rows.select().with_only_columns(rows.c[column]))}
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
    if (root / REGISTRY).exists():
        said.append(f"the old registry is kept as {REGISTRY}.{mark}")
    for suffix in ("-wal", "-shm", ".commits", ""):
        old = root / f"{REGISTRY}{suffix}"
        if old.exists():
            old.rename(root / f"{REGISTRY}.{mark}{suffix}")
    for suffix in (".commits", ""):
        (work / f"{REGISTRY}{suffix}").rename(root / f"{REGISTRY}{suffix}")
    sync_path(root)
