"""A registry of an earlier version is opened, and nothing in it is lost: written by a server of version 1."""

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from raw_sql import rows_of

from penult_proto.v1 import catalog_pb2, checkpoints_pb2, features_pb2, groupings_pb2, jobs_pb2, refits_pb2, runs_pb2
from penult_server.errors import ServiceError
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.integrity import seals
from penult_server.registry.integrity.files import opened
from penult_server.registry.integrity.seals import TABLES
from penult_server.registry.jobs import JobTable, Superseded
from penult_server.registry.migrations import HEAD, LAST_VERSION, before
from penult_server.registry.tables import THINGS, metadata, of_file
from penult_server.stores.disk.sealed import read_sealed
from penult_server.upkeep.repair import repair_store

VERSION_1 = Path(__file__).with_name("stores") / "version_1.sql"
"""What ``sqlite3 penult.db .dump`` prints: a run, its checkpoints and features, uploads (one with two names), answers
of every kind, a job that failed."""
VERSION_5 = VERSION_1.with_name("version_5.sql")
"""The same after the last version before alembic, with fewer answers, three more jobs, a token and a grouping."""


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=str) for table in tables}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "penult.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(VERSION_1.read_text())
    return path


def test_every_row_of_version_1_is_there_afterwards(old: Path):
    was = contents(old)
    Database(old).close()
    after = contents(old)
    for table in ("job", "job_event", "dataset", "checkpoint", "run", "feature_set", "result"):
        assert was[table], table
        assert [row[: len(was[table][0])] for row in after[table]] == was[table], table
    assert {(name, digest) for name, digest in was["feature_name"]} == {
        (name, id) for kind, name, id, _ in after["name"] if kind == "feature_set"
    }
    assert "feature_name" not in after
    with contextlib.closing(sqlite3.connect(old)) as connection, connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA user_version").fetchone() == (LAST_VERSION,)


def test_what_version_1_stored_is_found_by_what_there_is_now(old: Path):
    was = contents(old)
    database = Database(old)
    catalog, jobs = Catalog(database, old.parent), JobTable(database)
    ((run_id, created, _),) = was["run"]
    run = catalog.run(run_id[:4])
    assert (run.card.user, run.card.name, run.card.created.ToMicroseconds()) == ("", "", int(created * 1e6))
    assert catalog.run_page(runs_pb2.ListRunsRequest(dataset="shapes", backbone="test_resnet"), 10)[0] == [run]
    assert catalog.run_page(runs_pb2.ListRunsRequest(dataset="other"), 10)[0] == []
    checkpoints, _ = catalog.checkpoint_page(checkpoints_pb2.ListCheckpointsRequest(run=run_id), 10)
    assert [one.epoch for one in checkpoints] == [1, 0]
    assert all(abs(one.card.created.seconds - one.created.seconds) <= 1 for one in checkpoints)
    (mine,) = {digest for name, digest in was["feature_name"] if "mine" in name}
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
    """Tables, columns, indexes, triggers; a key is never NULL, though SQLite would allow it in the old ones."""

    def schema(path: Path) -> dict[str, object]:
        Database(path).close()
        found: dict[str, object] = {}
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            found |= connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, strict, wr in connection.execute("SELECT name, strict, wr FROM pragma_table_list").fetchall():
                rows = connection.execute(f"PRAGMA table_xinfo({name})").fetchall()
                columns = {row[1]: (row[2], row[3] or row[5] > 0, row[4], row[5], row[6]) for row in rows}
                keys = connection.execute(f"PRAGMA foreign_key_list({name})").fetchall()
                found[name] = (strict, wr, columns, keys, indexes(connection, name))
            generated = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'table'").fetchall()
            found["generated"] = {
                one
                for (sql,) in generated
                for one in re.findall(r"(\w+) TEXT (?:GENERATED ALWAYS )?AS \((.*?)\) VIRTUAL", sql)
            }
        connection.close()
        return found

    def indexes(connection: sqlite3.Connection, table: str) -> set[object]:
        rows = connection.execute(f"PRAGMA index_list({table})").fetchall()
        return {
            (*row[2:], *(column[2] for column in connection.execute(f"PRAGMA index_info({row[1]})"))) for row in rows
        }

    assert schema(old) == schema(tmp_path / "new.db")


def test_alembic_finds_nothing_to_do(old: Path):
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    database = Database(old)
    context = MigrationContext.configure(database.connection, opts={"compare_type": False})
    found = [one for one in compare_metadata(context, metadata) if getattr(one[1], "name", "") not in of_file.tables]
    # SQLite has an order of rows by itself. Deletions that cascade, where the table says so in the line of its column,
    # SQLAlchemy does not see: the test above does.
    assert {one[0] for one in found if one[-1].name != "rowid"} <= {"remove_fk", "add_fk"}
    assert context.get_current_revision() == HEAD
    config = Config()
    config.set_main_option("script_location", "penult_server.registry:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]
    database.close()


def test_a_migration_that_fails_leaves_the_registry_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch):
    second = before.STEPS[1]

    def fails(connection: sqlite3.Connection) -> None:
        second(connection)
        raise sqlite3.DatabaseError("disk I/O error")

    was = contents(old)
    with monkeypatch.context() as patch:
        patch.setattr(before, "STEPS", (before.STEPS[0], fails))
        with pytest.raises(ServiceError, match="disk I/O error"):
            Database(old)
    assert contents(old) == was
    # The same after alembic has done its part.
    monkeypatch.setattr(seals, "tables_in", lambda connection: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Database(old)
    assert contents(old) == was


def of_version(path: Path, version: int) -> None:
    """Take a registry of version 1 as far as a server of that version did."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        seals.install(connection)
        connection.execute("BEGIN")
        for step in before.STEPS[1:version]:
            step(connection)
        seals.seal_all(connection)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")


def test_a_registry_of_the_time_before_alembic_gets_its_attempts_numbered(old: Path):
    of_version(old, 5)
    was = contents(old)
    # Before a server has opened it, it is verified, copied and rebuilt all the same.
    with opened(old) as file:
        assert (file.schema(), file.damaged_rows()) == ("5", [])
        assert file.tables() == {"checkpoints", "datasets", "features", "groupings"}
    database = Database(old)
    assert database.damaged_rows(tuple(TABLES)) == []
    numbers = rows_of(database, "SELECT token, json_extract(message, '$.attempt') FROM job")
    assert {token for token, _ in numbers} >= {1}
    assert all(token == (attempt or 0) for token, attempt in numbers)
    database.close()
    after = contents(old)
    assert {one for one in after if one not in was} == {"alembic_version"}
    for table in was:
        if table not in ("seal", "commit_count", "job"):
            assert after[table] == was[table], table
    with opened(old) as file:
        assert file.schema() == HEAD


def test_a_registry_that_the_last_version_before_alembic_made_goes_on(tmp_path: Path):
    """A job that runs its second attempt, one that is to be cancelled, one that waits; a token, a grouping, answers."""
    path = tmp_path / "penult.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_5.read_text())
    was = contents(path)
    database = Database(path)
    assert database.damaged_rows(tuple(TABLES)) == []
    jobs, catalog = JobTable(database), Catalog(database, tmp_path)
    running, waiting, cancelling = (
        jobs.list([state], 9)[0]
        for state in (jobs_pb2.JOB_STATE_RUNNING, jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_CANCELLING)
    )
    numbers = dict(rows_of(database, "SELECT id, token FROM job"))
    assert [numbers[one.id] for one in (running, waiting, cancelling)] == [2, 0, 1]
    assert {one.id for one in jobs.abandoned()} == {running.id, cancelling.id}
    jobs.check_held(running.id, 2)
    with pytest.raises(Superseded):
        jobs.report(running.id, jobs_pb2.JobEvent(progress=jobs_pb2.Progress(done=2)), 1)
    assert jobs.requeue(cancelling.id).state == jobs_pb2.JOB_STATE_CANCELLED
    jobs.requeue(running.id)
    assert jobs.start_next().attempt == 3
    assert catalog.grouping("mine").card.user == "ann"
    database.close()
    after = contents(path)
    for table in ("checkpoint", "dataset", "feature_set", "grouping", "name", "result", "run", "summary", "token"):
        assert was[table], table
        assert after[table] == was[table], table


def test_alembic_is_loaded_only_where_a_registry_is_old(tmp_path: Path):
    script = """
import sys
from pathlib import Path
from penult_server.registry.database import Database
for _ in range(2):
    Database(Path(sys.argv[1])).close()
assert not any(name.partition(".")[0] in ("alembic", "psycopg") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script, tmp_path / "penult.db"], check=True)


def test_a_registry_of_a_later_revision_is_refused(tmp_path: Path):
    Database(tmp_path / "penult.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "penult.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.close()
    with pytest.raises(ServiceError, match=f"has schema 0999, this server knows up to {HEAD}"):
        Database(tmp_path / "penult.db")


def test_a_registry_without_groupings_gets_them(old: Path):
    of_version(old, 4)
    assert "grouping" not in contents(old)
    # Before a server has opened it, it is verified, copied and rebuilt all the same.
    with opened(old) as file:
        assert file.damaged_rows() == []
        assert file.tables() == {"checkpoints", "datasets", "features"}
    was = contents(old)
    database = Database(old)
    assert database.damaged_rows(tuple(TABLES)) == []
    catalog = Catalog(database, old.parent)
    assert catalog.grouping_page(groupings_pb2.ListGroupingsRequest(), 9) == ([], "")
    assert catalog.counts()["grouping"] == 0
    database.close()
    after = contents(old)
    assert after.pop("grouping") == []
    changed = ("seal", "commit_count", "job", "alembic_version")
    assert {name: rows for name, rows in after.items() if name not in changed} == {
        name: rows for name, rows in was.items() if name not in changed
    }


def test_a_damaged_row_of_an_earlier_version_is_not_hidden_by_the_step_to_the_next(old: Path):
    of_version(old, 4)
    with contextlib.closing(sqlite3.connect(old)) as connection, connection:
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
        connection.exec_driver_sql("INSERT INTO grouping VALUES ('0af1', 0, '{}')")
    (id, *_), *_ = rows_of(database, f"SELECT {THINGS[table]} FROM {table}")
    with database.transaction() as connection:
        connection.exec_driver_sql("INSERT OR REPLACE INTO name VALUES (?, 'it', ?, 0)", (table, id))
        connection.exec_driver_sql("INSERT OR REPLACE INTO name VALUES (?, 'else', 'else', 0)", (table,))
        connection.exec_driver_sql("DELETE FROM job_event")
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE {THINGS[table]} = ?", (id,))
    assert rows_of(database, "SELECT * FROM card WHERE kind = ? AND id = ?", table, id) == []
    assert rows_of(database, "SELECT name FROM name WHERE kind = ? AND (id = ? OR id = 'else')", table, id) == [
        ("else",)
    ]
    counts = rows_of(
        database, f"SELECT (SELECT count(*) FROM {table}), (SELECT count(*) FROM card WHERE kind = ?)", table
    )
    assert counts[0][0] == counts[0][1]
    database.close()


def test_a_row_that_is_replaced_keeps_its_card(old: Path):
    database = Database(old)
    catalog = Catalog(database, old.parent)
    run = catalog.run(rows_of(database, "SELECT id FROM run")[0][0])
    catalog.cards.replace("run", run.id, name="kept", tags=["a"], note="why")
    catalog.add_run(run)
    assert catalog.run("kept").card.note == "why"
    assert json.loads(rows_of(database, "SELECT tags FROM card WHERE kind = 'run'")[0][0]) == ["a"]
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


def test_a_row_that_was_altered_is_not_given_a_new_digest_by_an_upgrade(old: Path):
    Database(old).close()
    with contextlib.closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE run SET message = message || ' '")
    connection.close()
    with contextlib.closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    with pytest.raises(ServiceError, match=r"run .* in the registry is altered"):
        Database(old)
