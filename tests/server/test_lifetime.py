"""The parts behind honest lifetimes: who keeps an embedded server, what a look leaves alone, what a state is for."""

import asyncio
import sqlite3

import pytest

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_server.errors import ServiceError
from penult_server.front import lifetime
from penult_server.front.jobs.queue import JobQueue
from penult_server.front.jobs.states import TrainingStates
from penult_server.front.lifetime import Lifetime
from penult_server.front.registry_thread import Registry
from penult_server.registry.database import Database
from penult_server.registry.jobs import JobTable
from penult_server.settings import Settings
from penult_server.stores.training_states import state_file

SPEC = pb.JobSpec(extract=pb.ExtractSpec(checkpoint="c" * 64))


@pytest.fixture
def jobs(tmp_path):
    database = Database(tmp_path / "penult.db")
    yield JobTable(database)
    database.close()


def test_a_job_that_may_stop_does_so_until_one_wants_it(jobs):
    job = jobs.create(SPEC, "digest", "", 10, may_stop=True)
    assert not jobs.is_any_wanted()
    last_seq = jobs.get(job.id).last_seq
    jobs.keep(job.id)
    assert jobs.is_any_wanted()
    assert jobs.get(job.id).last_seq == last_seq
    jobs.start_next()
    assert jobs.is_any_wanted()
    jobs.ask_to_cancel(job.id)
    assert jobs.is_any_wanted()
    jobs.cancel(job.id)
    assert not jobs.is_any_wanted()


def test_cancelling_ends_as_cancelled_whatever_comes_but_success(jobs):
    def cancelling():
        job = jobs.create(SPEC, "digest", "", 10)
        jobs.start_next()
        assert jobs.ask_to_cancel(job.id).state == pb.JOB_STATE_CANCELLING
        events = jobs.events(job.id, 0)
        assert jobs.ask_to_cancel(job.id).state == pb.JOB_STATE_CANCELLING
        assert jobs.events(job.id, 0) == events
        return job.id

    assert jobs.requeue(cancelling()).state == pb.JOB_STATE_CANCELLED
    assert jobs.fail(cancelling(), pb.Error(kind="internal")).state == pb.JOB_STATE_CANCELLED
    assert jobs.succeed(cancelling(), pb.JobResult()).state == pb.JOB_STATE_SUCCEEDED
    # It is no answer to an equal request, and takes no place in the queue.
    last = cancelling()
    assert jobs.find_equal("digest").state == pb.JOB_STATE_SUCCEEDED
    jobs.report(last, pb.JobEvent(progress=pb.Progress(done=1, total=2)))
    assert jobs.get(last).state == pb.JOB_STATE_CANCELLING


def test_a_job_that_waits_or_has_ended_is_not_cancelling(jobs):
    waiting = jobs.create(SPEC, "digest", "", 10)
    assert jobs.ask_to_cancel(waiting.id).state == pb.JOB_STATE_CANCELLED
    assert jobs.ask_to_cancel(waiting.id).state == pb.JOB_STATE_CANCELLED
    done = jobs.create(SPEC, "digest", "", 10)
    jobs.start_next()
    jobs.succeed(done.id, pb.JobResult())
    assert jobs.ask_to_cancel(done.id).state == pb.JOB_STATE_SUCCEEDED


def test_only_more_than_before_counts_deaths_anew(jobs):
    job = jobs.create(SPEC, "digest", "", 10)
    jobs.start_next()
    assert [jobs.count_death(job.id) for _ in range(2)] == [1, 2]
    jobs.note_saved(job.id, 5)
    assert [jobs.count_death(job.id) for _ in range(2)] == [1, 2]
    # From a state that was damaged it went back to the beginning: that is no progress.
    jobs.note_saved(job.id, 3)
    jobs.note_saved(job.id, 5)
    assert jobs.count_death(job.id) == 3
    jobs.note_saved(job.id, 6)
    assert jobs.count_death(job.id) == 1
    assert jobs.get(job.id).saved == 6


@pytest.fixture
def in_registry(tmp_path, monkeypatch):
    """Runs a coroutine function with an open registry, which it may also ask directly, from this thread."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, check_same_thread=False, **options))

    def run(work):
        async def with_registry():
            registry = Registry()
            await registry.open(tmp_path / "penult.db")
            try:
                await work(registry)
            finally:
                await registry.close()

        asyncio.run(with_registry())

    return run


def leave_state(root, job_id: str) -> None:
    path = state_file(root, job_id)
    path.parent.mkdir(parents=True)
    path.write_text(job_id)


@pytest.mark.parametrize(
    ("kind", "is_kept"),
    [
        (ErrorKind.WORKER_DIED, True),
        (ErrorKind.OUT_OF_MEMORY, True),
        (ErrorKind.DISK_FULL, True),
        (ErrorKind.DIVERGED, False),
        (ErrorKind.INTERNAL, False),
        (ErrorKind.DATASET_CHANGED, False),
    ],
)
def test_a_state_is_kept_where_the_run_is_not_to_blame(tmp_path, in_registry, kind, is_kept):
    async def work(registry):
        states = TrainingStates(registry, tmp_path)
        job = registry.jobs.create(SPEC, "digest", "", 10)
        leave_state(tmp_path, job.id)
        said = await states.explained(job.id, ServiceError(kind, "said", a=1))
        assert ("training state is kept" in said.message, said.metadata) == (is_kept, {"a": "1"})
        await states.settle(registry.jobs.fail(job.id, pb.Error(kind=str(kind))))
        assert state_file(tmp_path, job.id).exists() == is_kept
        # Nothing is promised where there is no state.
        other = registry.jobs.create(SPEC, "other", "", 10)
        assert (await states.explained(other.id, ServiceError(kind, "said"))).message == "said"

    in_registry(work)


def test_a_kept_state_goes_to_equal_work_alone_and_goes_with_its_end(tmp_path, in_registry):
    async def work(registry):
        jobs, states = registry.jobs, TrainingStates(registry, tmp_path)

        def failed(digest: str) -> str:
            job = jobs.create(SPEC, digest, "", 10)
            leave_state(tmp_path, job.id)
            return jobs.fail(job.id, pb.Error(kind="worker_died")).id

        old, other = failed("digest"), failed("other")
        new = jobs.create(SPEC, "digest", "", 10).id
        await states.adopt(new)
        await states.adopt(new)
        assert state_file(tmp_path, new).read_text() == old
        assert not state_file(tmp_path, old).exists()
        # A job's own state is newer than what another left meanwhile.
        later = failed("digest")
        await states.adopt(new)
        assert state_file(tmp_path, new).read_text() == old
        # Nothing is taken from a job that goes on, nor from one of other work.
        await states.forget(later)
        assert state_file(tmp_path, new).exists()
        assert state_file(tmp_path, other).exists()
        left = failed("digest")
        await states.settle(jobs.succeed(new, pb.JobResult()))
        assert [state_file(tmp_path, one).exists() for one in (new, left, other)] == [False, False, True]

    in_registry(work)


def test_states_of_jobs_that_ended_just_before_their_server_are_swept(tmp_path, in_registry):
    async def work(registry):
        jobs = registry.jobs
        waiting, ended, failed = (jobs.create(SPEC, digest, "", 10).id for digest in "abc")
        jobs.cancel(ended)
        jobs.fail(failed, pb.Error(kind="worker_died"))
        for one in (waiting, ended, failed, "somebody's"):
            leave_state(tmp_path, one)
        await TrainingStates(registry, tmp_path).sweep()
        kept = {one: state_file(tmp_path, one).exists() for one in (waiting, ended, failed, "somebody's")}
        assert kept == {waiting: True, ended: False, failed: True, "somebody's": True}

    in_registry(work)


def test_a_queue_that_is_only_looked_at_starts_nothing_and_needs_no_server(tmp_path, in_registry):
    """After a kill in the middle of two jobs: one waits again, the other was to be cancelled and is."""

    async def work(registry):
        jobs = registry.jobs
        ran, ending, waits = (jobs.create(SPEC, digest, "", 10).id for digest in "abc")
        jobs.start_next()
        jobs.start_next()
        jobs.ask_to_cancel(ending)
        queue = JobQueue(registry, Settings(root=tmp_path, embedded=True), set(), lambda: None)
        await queue.start()
        assert [jobs.get(one).state for one in (ran, ending, waits)] == [
            pb.JOB_STATE_QUEUED,
            pb.JOB_STATE_CANCELLED,
            pb.JOB_STATE_QUEUED,
        ]
        at_rest = [jobs.get(one) for one in (ran, ending, waits)]
        assert not await queue.is_needed()
        await queue.stop()
        assert [jobs.get(one) for one in (ran, ending, waits)] == at_rest

    in_registry(work)


def test_a_server_is_kept_by_clients_and_by_work_and_by_nothing_else(monkeypatch):
    monkeypatch.setattr(lifetime, "LAST_CLIENT_SECONDS", 0.01)
    has_work = True

    async def asked() -> bool:
        return has_work

    async def scenario():
        nonlocal has_work
        keeper = Lifetime()
        end = asyncio.create_task(keeper.until_unneeded(asked))
        with keeper.attached():
            await asyncio.sleep(0)
            has_work = False
            keeper.changed()
            assert not (await asyncio.wait({end}, timeout=0.1))[0]
            has_work = True
        assert not (await asyncio.wait({end}, timeout=0.1))[0]
        has_work = False
        keeper.changed()
        await asyncio.wait_for(end, 100)
        assert keeper.is_stopping
        with pytest.raises(ServiceError) as raised, keeper.attached():
            raise AssertionError
        assert raised.value.kind is ErrorKind.SHUTTING_DOWN

    asyncio.run(scenario())
