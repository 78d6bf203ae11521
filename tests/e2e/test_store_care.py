"""A store with everything in it: damaged in every way and never silently, backed up, restored, rebuilt, freed."""

import contextlib
import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from raw_sql import rows_of

import penult
from penult_proto.errors import ErrorKind
from penult_proto.roles import Role
from penult_proto.v1 import catalog_pb2, features_pb2, jobs_pb2
from penult_server.errors import ServiceError
from penult_server.front.access import RootLock
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.integrity.seals import TABLES
from penult_server.registry.jobs import JobTable
from penult_server.stores.disk.sealed import SEAL
from penult_server.stores.disk.verified import last_look
from penult_server.upkeep.backup import back_up, restore
from penult_server.upkeep.command import main
from penult_server.upkeep.repair import repair_store
from penult_server.upkeep.verify import verify_store
from penult_server.users.tokens import TokenTable

VERIFIED = ("checkpoints", "datasets", "features", "groupings", "runs")


@pytest.fixture(scope="module")
def made(tmp_path_factory, table, tiny) -> tuple[Path, dict[str, object]]:
    """A store that a server made and has left, and what it said of it."""
    root = tmp_path_factory.mktemp("care") / "store"
    with penult.local(root) as client:
        client.datasets.register("shapes", table)
        run = client.finetune(dataset="shapes", epochs=1, evaluate=["val"], name="first", tags=["a"], **tiny).wait()
        sets = client.extract(run.checkpoints[-1], splits=["train", "val"]).wait()
        rng = np.random.default_rng(0)
        arrays = {"features": rng.standard_normal((60, 6)).astype(np.float32), "y": np.repeat([0, 1], 30)}
        mine = client.features.upload(**arrays, a=np.tile([0, 1], 30), name="mine")
        client.refit(mine, l2=0.1, name="head")
        client.refit(sets["train"], preset="dfr_l2", evaluate={"val": sets["val"]})
        client.spectra(mine, top_k=2, replicates=5)
        true = client.groupings.from_attribute(run.checkpoints[-1], "ground", split="train", name="true")
        of_val = true.on(sets["val"])
        assert np.array_equal(of_val.values, client.features.read(sets["val"]).a)
        assert client.groupings.list(dataset="shapes") == [of_val, true]
        client.groupings.upload(mine, {3: "x", 5: "y"})
        said = answers_of(client)
    until_it_has_left(root)
    database = Database(root / "penult.db")
    TokenTable(database).create("laptop", user="ann", role=Role.READER, expires=None)
    database.close()
    return root, said


@pytest.fixture(scope="module")
def store(made) -> Path:
    """The store. Not to be changed."""
    return made[0]


@pytest.fixture(scope="module")
def before(made) -> dict[str, object]:
    return made[1]


def until_it_has_left(root: Path) -> None:
    """An embedded server leaves a second after its last client, and then closes its registry."""
    RootLock(root, patience=30.0).release()


@pytest.fixture
def copy(store, tmp_path) -> Path:
    shutil.copytree(store, tmp_path / "store")
    return tmp_path / "store"


def answers(root: Path) -> dict[str, object]:
    """What a server says of everything that it has."""
    with penult.local(root) as client:
        said = answers_of(client)
    until_it_has_left(root)
    return said


def answers_of(client: penult.Client) -> dict[str, object]:
    sets = {one.digest: (one.names, str(one.groups)) for one in client.features.list()}
    arrays = {digest: client.features.read(digest).features.tobytes() for digest in sets}
    runs = {one.id: (one.name, one.tags, str(one.history)) for one in client.runs.list()}
    results = {one.digest: (one.title, one.name) for one in client.results.list()}
    heads = {}
    for digest in results:
        answer = client.results.get(digest)
        heads[digest] = answer.head.weight.tobytes() if isinstance(answer, penult.Refit) else str(answer)
    checkpoints = {one.digest: (one.classes, one.epoch) for one in client.checkpoints.list()}
    groupings = {one.digest: (one.name, one.groups, one.values.tobytes()) for one in client.groupings.list()}
    jobs = {(one.id, one.kind, one.state) for one in client.jobs.list()}
    return {
        "sets": sets,
        "arrays": arrays,
        "runs": runs,
        "results": results,
        "heads": heads,
        "checkpoints": checkpoints,
        "groupings": groupings,
        "jobs": jobs,
    }


def stored_files(root: Path) -> list[Path]:
    return [path for folder in VERIFIED for path in sorted((root / folder).rglob("*")) if path.is_file()]


def flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if not content:
        content = bytearray(b"x")
    else:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, dice: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: dice.randrange(len(content))] if content else b"x")


def delete(path: Path, dice: random.Random) -> None:
    path.unlink()


DAMAGES: tuple[Callable[[Path, random.Random], None], ...] = (flip, truncate, delete)


def kind_of(path: Path, root: Path) -> tuple[str, ...]:
    """Files of one kind: those of every thing, and every chunk of one array."""
    folder, _, *rest = path.relative_to(root).parts
    return (folder, *(part for part in rest if not part.isdigit()))


def silent(root: Path, files: list[Path], dice: random.Random) -> list[str]:
    """Damages that nobody notices."""
    found: list[str] = []
    assert verify_store(root).damages == []
    for path in files:
        content = path.read_bytes()
        for damage in DAMAGES:
            damage(path, dice)
            told = verify_store(root).damages
            name = path.relative_to(root)
            # A record that is gone is known to the registry all the same.
            is_spare = damage is delete and path.name == "record.json"
            if not is_spare and not any(one.id == name.parts[1] for one in told):
                found.append(f"{damage.__name__} {name}")
            path.write_bytes(content)
    assert verify_store(root).damages == []
    return found


def test_no_damage_of_any_kind_of_file_is_silent(copy):
    one_of_each = {kind_of(path, copy): path for path in stored_files(copy)}
    assert len(one_of_each) > 15
    assert silent(copy, list(one_of_each.values()), random.Random(1)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_no_damage_of_any_file_is_silent(copy, seed):
    assert silent(copy, stored_files(copy), random.Random(seed)) == []


@pytest.mark.parametrize("folder", ["checkpoints", "features", "groupings"])
def test_files_of_two_things_that_are_swapped_are_told(copy, folder):
    first, second = sorted(path for path in (copy / folder).iterdir() if path.is_dir())[:2]
    first.rename(copy / "aside")
    second.rename(first)
    (copy / "aside").rename(second)
    assert {one.id for one in verify_store(copy).damages} >= {first.name, second.name}


@pytest.mark.parametrize(
    ("folder", "change"),
    [
        ("checkpoints", {"image_mean": [0.1, 0.2, 0.3]}),
        ("checkpoints", {"train_shares": [0.25, 0.25, 0.25, 0.25]}),
        ("checkpoints", {"classes": ["x", "y"]}),
        ("features", {"train_shares": [0.25, 0.25, 0.25, 0.25]}),
        ("features", {"group_counts": [1, 2, 3, 4]}),
        ("datasets", {"classes": ["x", "y"]}),
        ("groupings", {"values": ["x", "y"]}),
        ("runs", {"kept_row_ids": [0]}),
    ],
)
def test_an_edit_of_a_manifest_is_told(copy, folder, change):
    (path, *_) = sorted((copy / folder).glob("*/manifest.json"))
    stored = json.loads(path.read_text())
    assert set(change) <= set(stored)
    path.write_text(json.dumps(stored | change))
    (told,) = [one for one in verify_store(copy).damages if one.id == path.parent.name]
    assert "digest" in told.what
    # Without its digest it is damaged, too; as another program would write it, it is not.
    path.write_text(json.dumps({name: value for name, value in stored.items() if name != SEAL}))
    assert [one.id for one in verify_store(copy).damages] == [path.parent.name]
    path.write_text(json.dumps(stored, indent=7))
    assert verify_store(copy).damages == []


def test_an_edit_of_any_column_of_the_registry_is_told(copy):
    path = copy / "penult.db"
    whole = path.read_bytes()
    for table in TABLES.values():
        for column in table.columns:
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                keys = ", ".join(table.key)
                value, *row = connection.execute(f"SELECT {column}, {keys} FROM {table.table} LIMIT 1").fetchone()
                where = " AND ".join(f"{key} = ?" for key in table.key)
                connection.execute("PRAGMA foreign_keys=OFF")
                connection.execute(f"UPDATE {table.table} SET {column} = ? WHERE {where}", (edited(value), *row))
            connection.close()
            told = [one for one in verify_store(copy).damages if one.kind == "registry"]
            assert any(one.id.startswith(f"{table.table} ") for one in told), (table.table, column)
            path.write_bytes(whole)
    assert verify_store(copy).damages == []


def edited(value: object) -> object:
    """Another value of the same type; JSON stays JSON."""
    match value:
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1])
        case str():
            return f"{value} "
        case None:
            return "0"
        case _:
            return value + 1000


@pytest.mark.parametrize(
    "which", ["job", "job_event", "dataset", "checkpoint", "run", "feature_set", "grouping", "result", "name"]
)
def test_an_edited_row_is_never_used(copy, which):
    column = "given" if which == "name" else "message"
    with contextlib.closing(sqlite3.connect(copy / "penult.db")) as connection, connection:
        for (value,) in connection.execute(f"SELECT DISTINCT {column} FROM {which}").fetchall():
            connection.execute(f"UPDATE {which} SET {column} = ? WHERE {column} = ?", (edited(value), value))
    connection.close()
    database = Database(copy / "penult.db")
    catalog, jobs = Catalog(database, copy), JobTable(database)
    first = {name: rows_of(database, f"SELECT * FROM {name} LIMIT 1")[0] for name in TABLES}
    reads: dict[str, Callable[[], object]] = {
        "job": lambda: jobs.get(first["job"][0]),
        "job_event": lambda: jobs.events(first["job_event"][0], 0),
        "dataset": catalog.datasets,
        "checkpoint": lambda: catalog.checkpoint(first["checkpoint"][0]),
        "run": lambda: catalog.run(first["run"][0]),
        "feature_set": lambda: catalog.feature_set(first["feature_set"][0]),
        "grouping": lambda: catalog.grouping(first["grouping"][0]),
        "result": lambda: catalog.find_result(first["result"][0]),
        "name": lambda: catalog.feature_set("mine"),
    }
    with pytest.raises(ServiceError, match="is altered: it is not what the server wrote") as raised:
        reads[which]()
    assert raised.value.kind is ErrorKind.STORE_CORRUPT
    assert raised.value.metadata["table"] == which
    database.close()


def test_a_token_whose_row_was_edited_opens_nothing(copy):
    with contextlib.closing(sqlite3.connect(copy / "penult.db")) as connection, connection:
        connection.execute("UPDATE token SET role = 'admin'")
    connection.close()
    database = Database(copy / "penult.db")
    assert TokenTable(database).all() == []
    database.close()


@pytest.mark.parametrize("size", [None, 0])
def test_a_registry_that_is_lost_beside_a_store_is_told(copy, size):
    (copy / "penult.db").unlink()
    if size == 0:
        (copy / "penult.db").touch()
    with pytest.raises(ServiceError, match=r"missing or empty, but the store has things .*`penult store repair --root"):
        Database(copy / "penult.db")
    assert [one.kind for one in verify_store(copy).damages] == ["registry"]


@pytest.mark.parametrize("damage", [delete, truncate, flip])
def test_commits_that_a_damaged_log_has_lost_are_told(tmp_path, damage):
    root = tmp_path / "store"
    root.mkdir()
    database = Database(root / "penult.db")
    jobs = JobTable(database)
    for index in range(20):
        jobs.create(jobs_pb2.JobSpec(), "spec", f"{index}", 99)
    # As a kill leaves it: copied while it is open.
    shutil.copytree(root, tmp_path / "killed")
    database.close()
    Database(tmp_path / "killed" / "penult.db").close()
    shutil.rmtree(tmp_path / "killed")
    database = Database(root / "penult.db")
    jobs = JobTable(database)
    for index in range(20, 40):
        jobs.create(jobs_pb2.JobSpec(), "spec", f"{index}", 99)
    shutil.copytree(root, tmp_path / "killed")
    database.close()
    damage(tmp_path / "killed" / "penult.db-wal", random.Random(3))
    with pytest.raises(ServiceError, match=r"is missing the last \d+ of \d+ changes") as raised:
        Database(tmp_path / "killed" / "penult.db")
    assert raised.value.kind is ErrorKind.STORE_CORRUPT


def test_a_restored_store_answers_every_question_as_before(store, before, tmp_path):
    backup = tmp_path / "backup"
    found = back_up(store, backup, links=False)
    assert found.damages == []
    with pytest.raises(ServiceError, match="is not empty"):
        back_up(store, backup, links=False)
    with pytest.raises(ServiceError, match="is not empty"):
        restore(backup, store)
    with pytest.raises(ServiceError, match="is no backup"):
        restore(store, tmp_path / "else")
    assert restore(backup, tmp_path / "new" / "store").damages == []
    assert answers(tmp_path / "new" / "store") == before


def test_a_backup_by_links_is_one_of_the_same_files(store, tmp_path):
    found = back_up(store, store.parent / "linked", links=True)
    assert found.damages == []
    (chunk, *_) = (store / "features").glob("*/features/c/0/0")
    assert (store.parent / "linked" / chunk.relative_to(store)).stat().st_ino == chunk.stat().st_ino
    flip_later = store.parent / "linked" / "backup.json"
    flip(flip_later, random.Random(0))
    with pytest.raises(ServiceError, match="damaged"):
        restore(store.parent / "linked", tmp_path / "new")
    shutil.rmtree(store.parent / "linked")


def test_a_registry_is_rebuilt_from_manifests_alone(copy, before):
    for path in copy.glob("penult.db*"):
        path.unlink()
    said = "\n".join(repair_store(copy))
    assert "the history of jobs, stored answers, names, tags and notes are lost" in said
    assert "rebuilt from manifests: 1 datasets" in said
    assert "rebuilt from manifests: 3 groupings" in said
    assert verify_store(copy).damages == []
    after = answers(copy)
    for what in ("arrays", "checkpoints"):
        assert after[what] == before[what]
    unnamed = {digest: rest for digest, (_, *rest) in before["groupings"].items()}
    assert {digest: rest for digest, (_, *rest) in after["groupings"].items()} == unnamed
    assert {id: run[2] for id, run in after["runs"].items()} == {id: run[2] for id, run in before["runs"].items()}
    with penult.local(copy) as client:
        assert [one.name for one in client.datasets.list() if one.name != "footwear"] == ["shapes"]
        sets = {one.split: one for one in client.features.list()}
        refit = client.refit(sets["train"], preset="dfr_l2", evaluate={"val": sets["val"]})
        assert before["heads"][refit.digest] == refit.head.weight.tobytes()


def test_a_damaged_row_is_forgotten_and_comes_back_from_its_manifest(copy, before):
    with contextlib.closing(sqlite3.connect(copy / "penult.db")) as connection, connection:
        connection.execute("UPDATE feature_set SET message = replace(message, 'dark', 'DARK')")
        connection.execute("UPDATE card SET note = 'x' WHERE kind = 'run'")
        connection.execute("UPDATE result SET message = CAST('wrong' AS BLOB) WHERE kind = 'spectra'")
    connection.close()
    assert len(verify_store(copy).damages) >= 4
    assert main(["repair", "--root", str(copy)]) == 0
    assert verify_store(copy).damages == []
    database = Database(copy / "penult.db")
    catalog = Catalog(database, copy)
    assert {one.digest for one in catalog.feature_set_page(features_pb2.ListFeatureSetsRequest(), 9)[0]} == set(
        before["arrays"]
    )
    assert [one.id for one in JobTable(database).list([], 9)]
    kept = {one.digest for one in catalog.result_page(catalog_pb2.ListResultsRequest(), 9)[0]}
    assert [before["results"][digest][0][:5] for digest in set(before["results"]) - kept] == ["by gr"]
    database.close()


def test_a_store_that_lost_its_log_is_repaired(copy):
    count = int((copy / "penult.db.commits").read_text())
    (copy / "penult.db.commits").write_text(f"{count + 3:020d}\n")
    with pytest.raises(ServiceError, match=f"is missing the last 3 of {count + 3}"):
        Database(copy / "penult.db")
    assert "the last 3 changes are lost" in verify_store(copy).damages[0].what
    repair_store(copy)
    Database(copy / "penult.db").close()
    assert verify_store(copy).damages == []


def test_commands_end_with_what_they_found(copy, tmp_path, capsys):
    assert main(["verify", "--root", str(copy)]) == 0
    assert "all whole" in capsys.readouterr().out
    things = [f"{folder}/{path.name}" for folder in VERIFIED for path in (copy / folder).iterdir()]
    assert {last_look(copy).of(copy, thing) for thing in things} == {(last_look(copy).started, "")}
    flipped = next((copy / "features").glob("*/y/c/0"))
    flip(flipped, random.Random(0))
    assert main(["verify", "--root", str(copy), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["damages"][0]["kind"] == "features"
    wrong = {thing: last_look(copy).of(copy, thing)[1] for thing in things}
    assert [thing for thing, what in wrong.items() if what] == [f"features/{flipped.parents[2].name}"]
    assert main(["backup", str(tmp_path / "backup"), "--root", str(copy)]) == 1
    assert main(["verify", "--root", str(tmp_path / "nothing")]) == 1
    assert "holds no store" in capsys.readouterr().err


def test_what_nobody_asks_for_goes_after_its_time(copy, capsys):
    (copy / "features" / ("0" * 64)).mkdir()
    (copy / "logs" / "job-gone.log").write_text("x")
    old = time.time() - 40 * 86400
    for path in (copy / "features" / ("0" * 64), copy / "logs" / "job-gone.log"):
        os.utime(path, (old, old))
    assert main(["gc", "--root", str(copy), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "would remove 0 answers" in said
    assert "2 leftovers" in said
    assert main(["gc", "--root", str(copy), "--older-than", "0h"]) == 0
    said = capsys.readouterr().out
    # The one that has a name stays.
    assert "removed 2 answers" in said
    assert not (copy / "features" / ("0" * 64)).exists()
    assert not (copy / "logs" / "job-gone.log").exists()
    assert verify_store(copy).damages == []
    with pytest.raises(SystemExit) as ended:
        main(["gc", "--root", str(copy), "--older-than", "soon"])
    assert ended.value.code == 2
