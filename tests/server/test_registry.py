"""The registry: states, events, names; what is acknowledged survives the process."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
from raw_sql import rows_of

from penult_proto.errors import ErrorKind
from penult_proto.v1 import datasets_pb2, features_pb2, refits_pb2, spectra_pb2
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.registry import cards, pages
from penult_server.registry import jobs as jobs_module
from penult_server.registry.cards import Given
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.jobs import JobTable
from penult_server.registry.tables import TABLES

SPEC = pb.JobSpec(extract=pb.ExtractSpec(checkpoint="c" * 64))

MINE = Given(name="mine")
NO_OPTIONS = features_pb2.ListFeatureSetsRequest()


@pytest.fixture
def database(place):
    database = Database(place)
    yield database
    database.close()


@pytest.fixture
def jobs(database):
    return JobTable(database)


@pytest.fixture
def catalog(database, tmp_path):
    sets = [f"features/{digest}" for digest in ("a" * 64, "b" * 64, "ab" * 31 + "00", "ab" * 31 + "11")]
    for place in [*sets, "datasets/1"]:
        directory = tmp_path / place
        directory.mkdir(parents=True)
        (directory / "manifest.json").touch()
    return Catalog(database, tmp_path)


def kind_of(raised) -> ErrorKind:
    return raised.value.kind


@pytest.mark.parametrize("longest", [0, 8192], ids=["read anew", "remembered"])
def test_a_list_is_what_is_stored_whoever_has_changed_what_it_gave_before(jobs, monkeypatch, longest):
    monkeypatch.setattr(pages, "LONGEST_KEPT", longest)
    made = jobs.create(SPEC, "digest", "", 10)
    (first,), _ = jobs.page(pb.ListJobsRequest(), 10)
    first.deleted.append("something else")
    (again,), _ = jobs.page(pb.ListJobsRequest(), 10)
    assert again == jobs.get(made.id)
    assert not again.deleted
    jobs.cancel(made.id)
    (ended,), _ = jobs.page(pb.ListJobsRequest(), 10)
    assert ended == jobs.get(made.id)
    assert ended.state != again.state


def test_a_job_goes_through_its_states_and_numbers_its_events(jobs):
    job = jobs.create(SPEC, "digest", "", 10)
    assert jobs.start_next().id == job.id
    jobs.report(job.id, pb.JobEvent(progress=pb.Progress(stage="test", done=1, total=2)))
    jobs.succeed(job.id, pb.JobResult(extract=pb.ExtractResult()))
    stored = jobs.get(job.id)
    assert stored.state == pb.JOB_STATE_SUCCEEDED
    assert stored.attempt == 1
    events = jobs.events(job.id, 0)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert [event.WhichOneof("kind") for event in events] == ["state", "state", "progress", "state"]
    assert [event.seq for event in jobs.events(job.id, 2)] == [3, 4]
    assert stored.last_seq == 4


def test_an_ended_job_stays_as_it_ended(jobs):
    job = jobs.create(SPEC, "digest", "", 10)
    jobs.cancel(job.id)
    jobs.fail(job.id, pb.Error(kind="internal", message="too late"))
    assert jobs.get(job.id).state == pb.JOB_STATE_CANCELLED


def test_equal_work_is_found_unless_it_failed(jobs):
    assert jobs.find_equal("digest") is None
    job = jobs.create(SPEC, "digest", "", 10)
    assert jobs.find_equal("digest").id == job.id
    jobs.fail(job.id, pb.Error(kind="internal"))
    assert jobs.find_equal("digest") is None


def test_a_request_id_makes_one_job(jobs):
    first = jobs.create(SPEC, "digest", "key", 10)
    assert jobs.create(SPEC, "digest", "key", 10).id == first.id
    with pytest.raises(ServiceError) as raised:
        jobs.create(SPEC, "other", "key", 10)
    assert kind_of(raised) is ErrorKind.REQUEST_ID_REUSED


def test_a_full_queue_refuses_and_takes_again_when_a_job_has_left(jobs):
    first = jobs.create(SPEC, "1", "", 2)
    jobs.create(SPEC, "2", "", 2)
    with pytest.raises(ServiceError) as raised:
        jobs.create(SPEC, "3", "", 2)
    assert kind_of(raised) is ErrorKind.QUEUE_FULL
    assert jobs.start_next().id == first.id
    assert jobs.create(SPEC, "3", "", 2).state == pb.JOB_STATE_QUEUED


def test_jobs_run_in_the_order_they_came(jobs):
    made = [jobs.create(SPEC, str(index), "", 10).id for index in range(3)]
    order = []
    while (job := jobs.start_next()) is not None:
        order.append(job.id)
    assert order == made
    assert [job.id for job in jobs.list([pb.JOB_STATE_RUNNING], 2)] == made[::-1][:2]


def test_unknown_things_are_named_and_the_known_ones_listed(jobs, catalog):
    catalog.add_feature_set(features_pb2.FeatureSet(digest="a" * 64), MINE)
    for ask, kind in (
        (lambda: jobs.find("nope"), ErrorKind.UNKNOWN_JOB),
        (lambda: catalog.checkpoint("0" * 64), ErrorKind.UNKNOWN_CHECKPOINT),
        (lambda: catalog.run("nope"), ErrorKind.UNKNOWN_RUN),
        (lambda: catalog.feature_set("nope"), ErrorKind.UNKNOWN_FEATURE_SET),
        (lambda: catalog.find_result("0" * 64, "refit"), ErrorKind.UNKNOWN_RESULT),
    ):
        with pytest.raises(ServiceError) as raised:
            ask()
        assert kind_of(raised) is kind
    with pytest.raises(ServiceError, match="mine"):
        catalog.feature_set("nope")


def test_a_name_moves_and_the_digest_stays(catalog):
    catalog.add_feature_set(features_pb2.FeatureSet(digest="a" * 64), MINE)
    catalog.add_feature_set(features_pb2.FeatureSet(digest="b" * 64), MINE)
    assert catalog.feature_set("mine").digest == "b" * 64
    assert catalog.feature_set("a" * 12).digest == "a" * 64
    assert list(catalog.feature_set("a" * 64).names) == []


def test_a_short_or_ambiguous_start_of_a_digest_is_refused(catalog):
    catalog.add_feature_set(features_pb2.FeatureSet(digest="ab" * 31 + "00"))
    catalog.add_feature_set(features_pb2.FeatureSet(digest="ab" * 31 + "11"))
    with pytest.raises(ServiceError, match="several"):
        catalog.feature_set("ab" * 10)
    with pytest.raises(ServiceError, match="no feature set"):
        catalog.feature_set("ab")


def test_a_dataset_name_belongs_to_one_content(catalog):
    catalog.add_dataset(datasets_pb2.Dataset(name="birds", digest="1"))
    catalog.add_dataset(datasets_pb2.Dataset(name="birds", digest="1", description="again"))
    with pytest.raises(ServiceError) as raised:
        catalog.add_dataset(datasets_pb2.Dataset(name="birds", digest="2"))
    assert kind_of(raised) is ErrorKind.NAME_TAKEN
    assert [dataset.digest for dataset in catalog.datasets()] == ["1"]


def test_a_feature_set_that_is_gone_is_not_registered(catalog):
    with pytest.raises(ServiceError, match="deleted while") as raised:
        catalog.add_feature_set(features_pb2.FeatureSet(digest="c" * 64), MINE)
    assert kind_of(raised) is ErrorKind.UNKNOWN_FEATURE_SET
    assert catalog.feature_set_page(NO_OPTIONS, 10) == ([], "")


def test_results_of_another_kind_are_not_mistaken_for_one(catalog):
    refit = refits_pb2.Refit(n_rows=7)
    catalog.add_result("a" * 64, "spectra", spectra_pb2.Spectra())
    catalog.add_result("a" * 63 + "b", "refit", refit)
    assert catalog.find_result("a" * 10, "refit") == ("a" * 63 + "b", "refit", refit.SerializeToString())
    with pytest.raises(ServiceError) as raised:
        catalog.find_result("a" * 64, "refit")
    assert kind_of(raised) is ErrorKind.UNKNOWN_RESULT


def test_a_cancelled_job_is_neither_started_nor_queued_again(jobs):
    job = jobs.create(SPEC, "digest", "", 10)
    jobs.cancel(job.id)
    assert jobs.start_next() is None
    assert jobs.requeue(job.id).state == pb.JOB_STATE_CANCELLED


def test_of_progress_only_the_newest_is_kept(jobs):
    job = jobs.create(SPEC, "digest", "", 10)
    jobs.start_next()
    for done in range(20):
        jobs.report(job.id, pb.JobEvent(progress=pb.Progress(stage="test", done=done, total=20)))
    events = jobs.events(job.id, 0)
    assert [event.seq for event in events] == [1, 2, 22]
    assert events[-1].progress.done == 19


def test_a_commit_that_fails_leaves_nothing_open(tmp_path):
    """A deferred constraint fails at COMMIT, as a full disk does: the next transaction must not notice."""
    database = Database(tmp_path / "penult.db")

    def orphan():
        with database.transaction() as connection:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.exec_driver_sql("INSERT INTO job_event VALUES ('nobody', 1, 'state', '{}')")

    with pytest.raises(sqlite3.IntegrityError):
        orphan()
    assert rows_of(database, "SELECT * FROM job_event") == []
    assert JobTable(database).create(SPEC, "digest", "", 10).state == pb.JOB_STATE_QUEUED
    database.close()


def test_of_a_transaction_that_fails_nothing_is_left(database, jobs):
    def fails():
        with database.transaction():
            database.connection.execute(TABLES["dataset"].insert().values(name="x", digest="y", message="{}"))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert not database.has(TABLES["dataset"], name="x")
    assert jobs.create(SPEC, "digest", "", 10).state == pb.JOB_STATE_QUEUED


def test_what_was_committed_survives_kill_9(place):
    """A child commits, says so, and is killed in the middle of its next transaction."""
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from penult_proto.v1 import jobs_pb2 as pb
        from penult_server.registry.database import Database
        from penult_server.registry.jobs import JobTable
        place = sys.argv[1]
        database = Database(place if place.startswith("postgresql:") else Path(place))
        job = JobTable(database).create(pb.JobSpec(extract=pb.ExtractSpec()), "digest", "", 10)
        with database.transaction() as connection:
            connection.exec_driver_sql("UPDATE job SET spec_digest = 'torn'")
            print(job.id, flush=True)
            sys.stdin.read()
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        acknowledged = child.stdout.readline().strip()
        os.kill(child.pid, signal.SIGKILL)
    database = Database(place)
    assert JobTable(database).find_equal("digest").id == acknowledged
    assert JobTable(database).find_equal("torn") is None
    database.close()


def test_a_registry_of_a_newer_version_is_refused(tmp_path):
    database = Database(tmp_path / "penult.db")
    database.connection.exec_driver_sql("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ServiceError) as raised:
        Database(tmp_path / "penult.db")
    assert kind_of(raised) is ErrorKind.VERSION_MISMATCH


def test_a_file_that_is_no_registry_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "penult.db"
    path.write_bytes(b"not a database, but somebody's notes" * 100)
    before = path.read_bytes()
    with pytest.raises(ServiceError) as raised:
        Database(path)
    assert kind_of(raised) is ErrorKind.STORE_CORRUPT
    assert path.read_bytes() == before


def test_a_registry_whose_texts_are_none_any_more_is_refused_as_damaged(tmp_path):
    path = tmp_path / "penult.db"
    Database(path).close()
    whole = path.read_bytes()
    kinds = set[ErrorKind]()
    for found in re.finditer(rb"(?:table|trigger)[a-z_]+.CREATE", whole, re.DOTALL):
        damaged = bytearray(whole)
        damaged[found.start() + len(b"table") + 1] ^= 0x80
        path.write_bytes(damaged)
        try:
            Database(path).close()
        except ServiceError as error:
            kinds.add(error.kind)
    assert kinds == {ErrorKind.STORE_CORRUPT}


def test_a_clock_that_was_put_back_changes_no_order(jobs, catalog, monkeypatch):
    """Jobs run in the order in which they came, and the name that was given last is the one that counts."""
    now = [2e9]
    for module in (cards, jobs_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: now[0]))
    first = jobs.create(SPEC, "1", "", 10)
    catalog.add_feature_set(features_pb2.FeatureSet(digest="a" * 64), MINE)
    catalog.add_feature_set(features_pb2.FeatureSet(digest="b" * 64), Given(name="other"))
    now[0] = 1e9
    second = jobs.create(SPEC, "2", "", 10)
    assert [jobs.start_next().id for _ in range(2)] == [first.id, second.id]
    catalog.cards.replace("feature_set", "b" * 64, name="mine", tags=None, note=None)
    assert catalog.feature_set("mine").digest == "b" * 64
    catalog.add_feature_set(features_pb2.FeatureSet(digest="b" * 64), Given(name="newest"))
    assert catalog.feature_set("newest").card.name == "newest"
