"""What must hold in a store that has been opened again, whatever came before."""

import json
from collections.abc import Iterable
from pathlib import Path

from operations import places
from raw_sql import rows_of

from penult_proto.v1 import jobs_pb2
from penult_server.datasets.stored import RegisteredDataset
from penult_server.registry.database import Database
from penult_server.stores.checkpoints import read_manifest as read_checkpoint
from penult_server.stores.checkpoints import read_state
from penult_server.stores.disk.durable import STAGING_PREFIX
from penult_server.stores.groupings import StoredGrouping
from penult_server.stores.manifest import damaged_files
from penult_server.stores.reading import StoredFeatures
from penult_server.stores.removal import ASIDE_PREFIX
from penult_server.stores.runs import read_run_manifest

TABLES = {
    "run": "id",
    "checkpoint": "digest",
    "feature_set": "digest",
    "dataset": "name",
    "job": "id",
    "result": "digest",
    "grouping": "digest",
}


def problems(root: Path, told: Iterable[str], *, may_fail: bool = False) -> list[str]:
    """Everything that is wrong; the server may be running, its jobs may not. `may_fail` allows for jobs that failed."""
    database = Database(root / "penult.db")
    try:
        found = _broken_words(database, told)
        found += _unreadable(root, database)
        found += _half_visible(root)
        found += _bad_jobs(database)
        failed = [] if may_fail else rows_of(database, "SELECT id, message FROM job WHERE state = 'JOB_STATE_FAILED'")
        found += [f"job {id} failed: {json.loads(message).get('error')}" for id, message in failed]
        found += _leftovers(root)
        check = rows_of(database, "PRAGMA integrity_check")
        return found + ([] if check == [("ok",)] else [f"the registry: {check[:3]}"])
    finally:
        database.close()


def known(database: Database) -> set[str]:
    """Kinds and ids in the registry."""
    return {
        f"{table} {row[0]}" for table, key in TABLES.items() for row in rows_of(database, f"SELECT {key} FROM {table}")
    }


def _broken_words(database: Database, told: Iterable[str]) -> list[str]:
    """What a client was told and is not true: by the last word about each thing."""
    last: dict[str, str] = {}
    names: dict[str, str] = {}
    for one in told:
        word, _, rest = one.partition(" ")
        if word == "name":
            key, _, digest = rest.rpartition(" ")
            names[key] = digest
        else:
            last[f"job {rest}" if word == "job" else rest] = word
    there = known(database)
    found = [f"lost: {thing}" for thing, word in last.items() if word in ("has", "job") and thing not in there]
    found += [f"not gone: {thing}" for thing, word in last.items() if word == "gone" and thing in there]
    for key, digest in names.items():
        kind, name = key.split(" ")
        if last.get(f"{kind} {digest}") != "has":
            continue
        rows = rows_of(database, "SELECT id FROM name WHERE kind = ? AND name = ?", kind, name)
        if rows != [(digest,)]:
            found.append(f"the name {name} of {digest[:8]} is that of {rows}")
    return found


def _unreadable(root: Path, database: Database) -> list[str]:
    """What the registry has and nobody can read."""
    found: list[str] = []
    for thing in sorted(known(database)):
        kind, _, id = thing.partition(" ")
        try:
            match kind:
                case "feature_set":
                    _read_features(root, id)
                case "grouping":
                    _ = StoredGrouping(root, id).arrays
                case "checkpoint":
                    read_state(root, read_checkpoint(root, id))
                case "run":
                    read_run_manifest(root, id)
                case "dataset":
                    rows = rows_of(database, "SELECT digest FROM dataset WHERE name = ?", id)
                    RegisteredDataset(root / "datasets" / rows[0][0])
                case _:
                    pass
        except Exception as error:  # whatever it is, it is a finding
            found.append(f"unreadable: {thing}: {type(error).__name__}: {error}")
    return found


def _read_features(root: Path, digest: str) -> None:
    stored = StoredFeatures(root, digest)
    for name in stored.array_names:
        stored.read(name)
    if damaged := damaged_files(stored.directory, stored.manifest):
        raise ValueError(f"damaged files: {damaged}")


def _half_visible(root: Path) -> list[str]:
    """Directories with the name of a thing that are not whole, registered or not."""
    found: list[str] = []
    for folder, paths in places(root).items():
        for path in paths:
            try:
                match folder:
                    case "checkpoints":
                        read_state(root, read_checkpoint(root, path.name))
                    case "features":
                        _read_features(root, path.name)
                    case "groupings":
                        _ = StoredGrouping(root, path.name).arrays
                    case "datasets":
                        RegisteredDataset(path)
                    case "runs":
                        if (path / "manifest.json").exists():
                            read_run_manifest(root, path.name)
                    case _:
                        pass
            except Exception as error:  # whatever it is, it is a finding
                found.append(f"half visible: {folder}/{path.name[:8]}: {type(error).__name__}: {error}")
    return found


def _bad_jobs(database: Database) -> list[str]:
    """Jobs whose column, message and events disagree, or that stand still."""
    found: list[str] = []
    for id, state, message in rows_of(database, "SELECT id, state, message FROM job"):
        content = json.loads(message)
        if content.get("state") != state:
            found.append(f"job {id}: {state} and {content.get('state')}")
        if jobs_pb2.JobState.Value(state) in (jobs_pb2.JOB_STATE_RUNNING, jobs_pb2.JOB_STATE_CANCELLING):
            found.append(f"job {id} is {state} and nobody does it")
        numbers = [int(row[0]) for row in rows_of(database, "SELECT seq FROM job_event WHERE job = ? ORDER BY seq", id)]
        if len(set(numbers)) < len(numbers) or (numbers and numbers[-1] != int(content.get("lastSeq", 0))):
            found.append(f"job {id}: events {numbers}, the last of which is {content.get('lastSeq')}")
        ends = rows_of(database, "SELECT message FROM job_event WHERE job = ? AND kind = 'state' ORDER BY seq DESC", id)
        if ends and json.loads(ends[0][0])["state"] != state:
            found.append(f"job {id} is {state}, its last event says {ends[0][0]}")
    return found


def _leftovers(root: Path) -> list[str]:
    """What a writer or a deletion that was stopped has left."""
    hidden = [*root.glob(f"**/{STAGING_PREFIX}*"), *root.glob(f"**/{ASIDE_PREFIX}*"), *root.glob("**/*.partial")]
    return [f"left: {path.relative_to(root)}" for path in hidden]
