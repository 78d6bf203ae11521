"""The registry on PostgreSQL: several who claim, a zombie, a server that is killed, one that takes over."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from postgres_server import PASSWORD, Postgres, name_of, started

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1 import runs_pb2
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.front.registry_thread import _done
from penult_server.logs.secrets import without_secrets
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.integrity.place import check_is_file, note_place
from penult_server.registry.jobs import JobTable, Superseded
from penult_server.registry.migrations import HEAD
from penult_server.registry.tables import metadata
from penult_server.settings import Settings

SPEC = pb.JobSpec(extract=pb.ExtractSpec(checkpoint="c" * 64))


@pytest.fixture
def opened(postgres_url: str) -> Iterator[Any]:
    """Opens the registry as often as it is asked to."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(Database(postgres_url)))


@pytest.fixture(scope="module")
def mortal() -> Iterator[Postgres]:
    """A server to be killed, which flushes what it commits."""
    yield from started(fsync=True)


@pytest.mark.parametrize("n_jobs", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_four_claim_and_none_gets_what_another_has(postgres_url: str, opened, n_jobs: int):
    jobs = JobTable(opened())
    made = {jobs.create(SPEC, str(index), "", n_jobs).id for index in range(n_jobs)}

    def claim_all() -> list[str]:
        with contextlib.closing(Database(postgres_url)) as database:
            own, found = JobTable(database), []
            while (job := own.start_next()) is not None:
                assert job.attempt == 1
                found.append(job.id)
            return found

    with ThreadPoolExecutor(4) as threads:
        found = [one.result() for one in [threads.submit(claim_all) for _ in range(4)]]
    assert sorted(id for one in found for id in one) == sorted(made)
    assert sum(len(one) > 0 for one in found) > 1


def test_the_word_of_a_zombie_changes_nothing(opened):
    first, second = JobTable(opened(), lease=0.0), JobTable(opened())
    job = first.create(SPEC, "digest", "", 10)
    assert first.start_next().attempt == 1
    # Its lease is over from the start: another server takes the job.
    assert [one.id for one in second.abandoned()] == [job.id]
    second.requeue(job.id)
    words = {
        "report": lambda: first.report(job.id, pb.JobEvent(progress=pb.Progress(stage="late")), 1),
        "note_saved": lambda: first.note_saved(job.id, 9, 1),
        "count_death": lambda: first.count_death(job.id, 1),
        "requeue": lambda: first.requeue(job.id, 1),
        "fail": lambda: first.fail(job.id, pb.Error(kind="internal"), 1),
        "cancel": lambda: first.cancel(job.id, 1),
        "succeed": lambda: first.succeed(job.id, pb.JobResult(extract=pb.ExtractResult()), 1),
        "check_held": lambda: first.check_held(job.id, 1),
    }
    # While it waits, and when the next attempt runs.
    for attempt in (1, 2):
        before = second.get(job.id)
        for name, word in words.items():
            with pytest.raises(Superseded):
                word()
            assert second.get(job.id) == before, name
        if attempt == 1:
            assert second.start_next().attempt == 2
    assert second.abandoned() == second.list([pb.JOB_STATE_RUNNING], 9)  # its own
    assert first.abandoned() == []
    second.check_held(job.id, 2)
    assert second.succeed(job.id, pb.JobResult(extract=pb.ExtractResult()), 2).state == pb.JOB_STATE_SUCCEEDED


def test_a_lease_that_is_renewed_is_no_one_else_s(opened):
    first, second = JobTable(opened(), lease=0.0), JobTable(opened())
    first.create(SPEC, "digest", "", 10)
    first.start_next()
    assert second.abandoned()
    first._lease = 60.0
    first.renew_leases()
    assert second.abandoned() == []


def test_one_serves_and_the_next_waits(opened):
    first, second = opened(), opened()
    assert (first.claim(), second.claim()) == (True, False)
    first.close()
    deadline = time.monotonic() + 30
    while not second.claim():  # the server notices a moment later
        assert time.monotonic() < deadline


def test_one_that_was_cut_off_stops_where_another_has_taken_over(postgres: Postgres, postgres_url: str, opened):
    first, second = opened(), opened()
    assert first.claim()
    cut(postgres, first)
    assert second.claim()
    for _ in range(2):
        with pytest.raises(RegistryUnavailable, match="another server has taken over") as raised:
            _done(first.check_writable)
        assert raised.value.kind is ErrorKind.STORE_LOCKED
    # Where nobody has, it goes on.
    cut(postgres, second)
    _done(second.check_writable)
    assert not opened().claim()


def cut(postgres: Postgres, database: Database) -> None:
    """End a connection from the other side."""
    pid = database._backend.driver.info.backend_pid
    postgres.ask(f"SELECT pg_terminate_backend({pid}, 10000)")


class Unlucky:
    """A connection that is lost at COMMIT, before or after it has come through."""

    def __init__(self, postgres: Postgres, driver: Any, *, comes_through: bool) -> None:
        self._postgres, self._driver, self._comes_through = postgres, driver, comes_through

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def execute(self, query: str) -> Any:
        if query != "COMMIT":
            return self._driver.execute(query)
        if self._comes_through:
            self._driver.execute(query)
        self._postgres.ask(f"SELECT pg_terminate_backend({self._driver.info.backend_pid}, 10000)")
        return self._driver.execute("SELECT 1")


@pytest.mark.parametrize("comes_through", [True, False])
def test_a_commit_without_an_answer_happens_once(postgres: Postgres, opened, comes_through: bool):
    database = opened()
    jobs = JobTable(database)
    jobs.create(SPEC, "before", "", 99)
    database._backend.driver = Unlucky(postgres, database._backend.driver, comes_through=comes_through)
    made = _done(lambda: jobs.create(SPEC, "digest", "key", 99))
    assert [one.spec for one in jobs.list([], 9)] == [SPEC] * 2
    assert jobs.list([], 1)[0].id == made.id
    assert [one.seq for one in jobs.events(made.id, 0)] == [1]


def test_what_was_committed_survives_a_kill_of_the_server(mortal: Postgres):
    """Killed between commits and within one; started again while a call waits for it."""
    with contextlib.closing(Database(mortal.database())) as database:
        jobs = JobTable(database)
        told = []
        for index in range(2):
            told.append(jobs.create(SPEC, f"{index}", "", 99).id)
            mortal.kill()
            starting = threading.Thread(target=mortal.start)
            starting.start()
            told.append(_done(lambda: jobs.create(SPEC, "next", "", 99)).id)
            starting.join()

        def tear() -> None:
            with database.transaction() as connection:
                connection.exec_driver_sql("UPDATE job SET spec_digest = 'torn'")
                mortal.kill()
                connection.exec_driver_sql("SELECT 1")

        with pytest.raises(RegistryUnavailable) as raised:
            tear()
        assert raised.value.was_cut
        mortal.start()
        assert sorted(one.id for one in jobs.list([], 99)) == sorted(told)
        assert jobs.find_equal("torn") is None


def test_a_server_that_stays_away_is_told_of(mortal: Postgres, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penult_server.registry.sql.postgres.AWAY_SECONDS", 0.0)
    url = mortal.database()
    with contextlib.closing(Database(url)) as database:
        mortal.kill()
        try:
            for _ in range(2):
                with pytest.raises(RegistryUnavailable, match="cannot be reached") as raised:
                    database.check_writable()
                assert raised.value.kind is ErrorKind.BUSY
                assert PASSWORD not in f"{raised.value}"
            with pytest.raises(RegistryUnavailable, match="cannot be reached"):
                Database(url)
        finally:
            mortal.start()
        _done(database.check_writable)


def test_several_who_come_first_make_one_registry(postgres: Postgres):
    url = postgres.database()
    with ThreadPoolExecutor(4) as threads:
        for one in [threads.submit(lambda: Database(url).close()) for _ in range(4)]:
            one.result()
    assert postgres.ask("SELECT version_num FROM alembic_version", name_of(url)) == [(HEAD,)]


def test_its_schema_is_that_of_the_tables(opened):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    assert compare_metadata(MigrationContext.configure(opened().connection), metadata) == []


def test_what_cannot_be_a_registry_is_refused(postgres: Postgres):
    with pytest.raises(ServiceError, match="encoding UTF8, got SQL_ASCII"):
        Database(postgres.database("SQL_ASCII"))
    for url in ("postgresql://", "postgresql://host", "mysql://host/x", "http://[", f"://x:{PASSWORD}@y/z"):
        with pytest.raises(ServiceError, match="--registry must be like") as raised:
            Database(url)
        assert PASSWORD not in raised.value.message
    url = postgres.database()
    Database(url).close()
    postgres.ask("UPDATE alembic_version SET version_num = '0999'", name_of(url))
    with pytest.raises(ServiceError, match=f"has schema 0999, this server knows up to {HEAD}") as raised:
        Database(url)
    assert raised.value.kind is ErrorKind.VERSION_MISMATCH
    with pytest.raises(RegistryUnavailable, match="does not exist") as unknown:
        Database(postgres.url("nothing"))
    assert PASSWORD not in str(unknown.value)


def test_a_password_is_told_nowhere(postgres_url: str, opened, tmp_path):
    place = opened().place
    assert PASSWORD not in place
    assert ":***@" in place
    assert PASSWORD not in repr(Settings(root=tmp_path, registry=postgres_url))
    assert PASSWORD not in without_secrets(f"cannot open {postgres_url}")
    note_place(tmp_path, place)
    with pytest.raises(ServiceError, match="give it by --registry") as raised:
        Database(tmp_path / "penult.db")
    assert PASSWORD not in raised.value.message + (tmp_path / "registry.json").read_text()
    assert not (tmp_path / "penult.db").exists()


def test_a_store_with_a_file_keeps_it(tmp_path):
    Database(tmp_path / "penult.db").close()
    with pytest.raises(ServiceError, match=r"is its file penult\.db, and stays there"):
        note_place(tmp_path, "postgresql://elsewhere/x")
    check_is_file(tmp_path, "never said")


def test_a_text_that_it_does_not_keep_is_the_caller_s(opened, tmp_path):
    catalog = Catalog(opened(), tmp_path)
    for change in (
        lambda: catalog.cards.replace("run", "1", name="a\0b", tags=None, note=None),
        lambda: catalog.add_run(runs_pb2.Run(id="1" * 12, spec=runs_pb2.FinetuneSpec(dataset="a\0b"))),
    ):
        with pytest.raises(ServiceError, match="a character that PostgreSQL does not keep") as raised:
            change()
        assert raised.value.kind is ErrorKind.INVALID_ARGUMENT
    assert catalog.run_page(runs_pb2.ListRunsRequest(), 9) == ([], "")
