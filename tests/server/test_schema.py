"""A registry of an earlier version is opened, and nothing in it is lost: written by a server of version 1."""

import json
import sqlite3
from pathlib import Path

import pytest

from penult_proto.v1 import catalog_pb2, checkpoints_pb2, features_pb2, groupings_pb2, jobs_pb2, refits_pb2, runs_pb2
from penult_server.errors import ServiceError
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import SCHEMA_VERSION, Database
from penult_server.registry.integrity.seals import TABLES, damaged_rows
from penult_server.registry.jobs import JobTable
from penult_server.registry.schema import MIGRATIONS, THINGS
from penult_server.stores.disk.sealed import read_sealed
from penult_server.upkeep.repair import repair_store
from penult_server.upkeep.verify import opened, tables_of

VERSION_1 = Path(__file__).with_name("stores") / "version_1.sql"
"""What ``sqlite3 penult.db .dump`` prints: a run, its checkpoints and features, uploads (one with two names), answers
of every kind, a job that failed."""


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(path) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "penult.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1.read_text())
    return path


def test_every_row_of_version_1_is_there_afterwards(old: Path):
    before = contents(old)
    Database(old).close()
    after = contents(old)
    for table in ("job", "job_event", "dataset", "checkpoint", "run", "feature_set", "result"):
        assert before[table], table
        assert [row[: len(before[table][0])] for row in after[table]] == before[table], table
    assert {(name, digest) for name, digest in before["feature_name"]} == {
        (name, id) for kind, name, id, _ in after["name"] if kind == "feature_set"
    }
    assert "feature_name" not in after
    with sqlite3.connect(old) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_what_version_1_stored_is_found_by_what_there_is_now(old: Path):
    before = contents(old)
    database = Database(old)
    catalog, jobs = Catalog(database, old.parent), JobTable(database)
    ((run_id, created, _),) = before["run"]
    run = catalog.run(run_id[:4])
    assert (run.card.user, run.card.name, run.card.created.ToMicroseconds()) == ("", "", int(created * 1e6))
    assert catalog.run_page(runs_pb2.ListRunsRequest(dataset="shapes", backbone="test_resnet"), 10)[0] == [run]
    assert catalog.run_page(runs_pb2.ListRunsRequest(dataset="other"), 10)[0] == []
    checkpoints, _ = catalog.checkpoint_page(checkpoints_pb2.ListCheckpointsRequest(run=run_id), 10)
    assert [one.epoch for one in checkpoints] == [1, 0]
    assert all(abs(one.card.created.seconds - one.created.seconds) <= 1 for one in checkpoints)
    (mine,) = {digest for name, digest in before["feature_name"] if "mine" in name}
    assert sorted(catalog.feature_set("mine").names) == sorted(catalog.feature_set(mine).names) == ["also-mine", "mine"]
    assert catalog.feature_set("shapes/val").split == "val"
    of_run, _ = catalog.feature_set_page(features_pb2.ListFeatureSetsRequest(checkpoint=checkpoints[0].digest), 10)
    assert {one.split for one in of_run} == {"train", "val", "test"}
    listed, _ = jobs.page(jobs_pb2.ListJobsRequest(kind="finetune", dataset="shapes"), 10)
    assert [one.state for one in listed] == [jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_SUCCEEDED]
    assert jobs.find(run_id[:6]) == run_id
    database.close()


def test_answers_of_version_1_are_summarised(old: Path):
    stored = {digest: (kind, message) for digest, kind, _, message in contents(old)["result"]}
    database = Database(old)
    catalog = Catalog(database, old.parent)
    found, _ = catalog.result_page(catalog_pb2.ListResultsRequest(), 10)
    assert {one.digest for one in found} == set(stored)
    for one in found:
        kind = catalog_pb2.ResultKind.Name(one.kind).removeprefix("RESULT_KIND_").lower()
        assert catalog.find_result(one.digest[:8]) == (one.digest, *stored[one.digest])
        assert kind == stored[one.digest][0]
        assert one.title
    (dfr,) = (one for one in found if one.preset == "dfr_l2")
    refit = refits_pb2.Refit.FromString(stored[dfr.digest][1])
    assert list(dfr.feature_sets) == [refit.request.feature_set]
    assert dfr.scores[0].worst_group_accuracy == refit.metrics["test"].worst_group_accuracy
    others = [one for one in found if one.kind == catalog_pb2.RESULT_KIND_PRINCIPAL_ANGLES]
    assert [len(one.feature_sets) for one in others] == [2]
    asked = catalog_pb2.ListResultsRequest(feature_set="other")
    assert [one.digest for one in catalog.result_page(asked, 10)[0]] == [others[0].digest]
    database.close()


def test_an_old_registry_and_a_new_one_have_one_schema(old: Path, tmp_path: Path):
    def schema(path: Path) -> list[tuple[str, str]]:
        Database(path).close()
        with sqlite3.connect(path) as connection:
            return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()

    assert schema(old) == schema(tmp_path / "new.db")


def test_a_migration_that_fails_leaves_the_registry_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(connection: sqlite3.Connection) -> None:
        MIGRATIONS[1](connection)
        raise sqlite3.DatabaseError("disk I/O error")

    before = contents(old)
    monkeypatch.setattr("penult_server.registry.database.MIGRATIONS", (MIGRATIONS[0], fails))
    with pytest.raises(ServiceError, match="disk I/O error"):
        Database(old)
    assert contents(old) == before


def of_version(path: Path, version: int) -> None:
    """Take a registry of version 1 as far as a server of that version did."""
    import penult_server.registry.database as module

    with pytest.MonkeyPatch.context() as patch:
        tables = {name: one for name, one in TABLES.items() if name != "grouping"}
        patch.setattr("penult_server.registry.integrity.seals.TABLES", tables)
        patch.setattr(module, "MIGRATIONS", MIGRATIONS[:version])
        patch.setattr(module, "SCHEMA_VERSION", version)
        Database(path).close()


def test_a_registry_without_groupings_gets_them(old: Path):
    of_version(old, 4)
    assert "grouping" not in contents(old)
    # Before a server has opened it, it is verified, copied and rebuilt all the same.
    with opened(old) as connection:
        assert list(damaged_rows(connection)) == []
        assert set(tables_of(connection)) == {"checkpoints", "datasets", "features"}
    before = contents(old)
    database = Database(old)
    assert database.damaged_rows(tuple(TABLES)) == []
    catalog = Catalog(database, old.parent)
    assert catalog.grouping_page(groupings_pb2.ListGroupingsRequest(), 9) == ([], "")
    assert catalog.counts()["grouping"] == 0
    database.close()
    after = contents(old)
    assert after.pop("grouping") == []
    assert {name: rows for name, rows in after.items() if name not in ("seal", "commit_count")} == {
        name: rows for name, rows in before.items() if name not in ("seal", "commit_count")
    }


def test_a_damaged_row_of_an_earlier_version_is_not_hidden_by_the_step_to_the_next(old: Path):
    of_version(old, 4)
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE run SET created = created + 1")
    with pytest.raises(ServiceError, match="is altered"):
        Database(old)
    said = repair_store(old.parent)
    assert any("forgotten: run" in one for one in said)
    Database(old).close()


@pytest.mark.parametrize("table", THINGS)
def test_a_thing_that_goes_takes_its_card_and_names_with_it(old: Path, table: str):
    database = Database(old)
    with database.transaction() as connection:
        connection.execute("INSERT INTO grouping VALUES ('0af1', 0, '{}')")
    (id, *_), *_ = database.rows(f"SELECT {THINGS[table]} FROM {table}")
    with database.transaction() as connection:
        connection.execute("INSERT OR REPLACE INTO name VALUES (?, 'it', ?, 0)", (table, id))
        connection.execute("INSERT OR REPLACE INTO name VALUES (?, 'else', 'else', 0)", (table,))
        connection.execute("DELETE FROM job_event")
        connection.execute(f"DELETE FROM {table} WHERE {THINGS[table]} = ?", (id,))
    assert database.rows("SELECT * FROM card WHERE kind = ? AND id = ?", table, id) == []
    assert database.rows("SELECT name FROM name WHERE kind = ? AND (id = ? OR id = 'else')", table, id) == [("else",)]
    counts = database.rows(f"SELECT (SELECT count(*) FROM {table}), (SELECT count(*) FROM card WHERE kind = ?)", table)
    assert counts[0][0] == counts[0][1]
    database.close()


def test_a_row_that_is_replaced_keeps_its_card(old: Path):
    database = Database(old)
    catalog = Catalog(database, old.parent)
    run = catalog.run(database.rows("SELECT id FROM run")[0][0])
    catalog.cards.replace("run", run.id, name="kept", tags=["a"], note="why")
    catalog.add_run(run)
    assert catalog.run("kept").card.note == "why"
    assert json.loads(database.rows("SELECT tags FROM card WHERE kind = 'run'")[0][0]) == ["a"]
    database.close()


def test_manifests_of_an_earlier_version_are_given_digests_once(old: Path, caplog: pytest.LogCaptureFixture):
    places = [old.parent / folder / "a" / "manifest.json" for folder in ("checkpoints", "features", "runs", "datasets")]
    for path in places:
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"image_mean": [0.1, 0.25], "name": "ä"}))
    with caplog.at_level("INFO"):
        Database(old).close()
        written = [path.read_bytes() for path in places]
        Database(old).close()
    assert [path.read_bytes() for path in places] == written
    assert [read_sealed(path) for path in places] == [{"image_mean": [0.1, 0.25], "name": "ä"}] * 4
    assert caplog.text.count("a digest was added to 4 files of an earlier version") == 1
    # From now on one without is damaged, and stays so.
    places[0].write_text(json.dumps({"image_mean": [0.1, 0.5]}))
    Database(old).close()
    with pytest.raises(ValueError, match="it has no content_sha256"):
        read_sealed(places[0])


def test_a_row_that_was_altered_is_not_given_a_new_digest_by_an_upgrade(old: Path, monkeypatch: pytest.MonkeyPatch):
    Database(old).close()
    with sqlite3.connect(old) as connection:
        connection.execute("UPDATE run SET message = message || ' '")
    connection.close()
    monkeypatch.setattr("penult_server.registry.database.MIGRATIONS", (*MIGRATIONS, lambda connection: None))
    monkeypatch.setattr("penult_server.registry.database.SCHEMA_VERSION", len(MIGRATIONS) + 1)
    with pytest.raises(ServiceError, match=r"run .* in the registry is altered"):
        Database(old)
