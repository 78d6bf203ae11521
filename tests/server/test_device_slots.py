"""Jobs have devices of their own, and nobody's many jobs hold another's back; the devices are pretended."""

import asyncio
import itertools
import os
import subprocess
import sys
import textwrap

import pytest

from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1 import runs_pb2
from penult_proto.v1.pipes_pb2 import FromWorker, JobOrder, ToWorker
from penult_server import pipes
from penult_server.errors import ServiceError
from penult_server.front.jobs.devices import DeviceSlots, placed
from penult_server.front.jobs.queue import JobQueue
from penult_server.front.registry_thread import Registry
from penult_server.front.workers.shares import Share
from penult_server.machine.gpus import use_only
from penult_server.registry.cards import Given
from penult_server.registry.catalog import Catalog
from penult_server.registry.database import Database
from penult_server.registry.jobs import JobTable
from penult_server.settings import Settings


def finetuning(processes: int = 1) -> pb.JobSpec:
    return pb.JobSpec(finetune=runs_pb2.FinetuneSpec(dataset="d", processes=processes))


REGISTRATION = pb.JobSpec()
REGISTRATION.register_dataset.name = "d"


@pytest.mark.parametrize(
    ("visible", "options", "jobs", "compute", "running"),
    [
        ("", {}, (), [""], 1),
        ("", {"max_running_jobs": 3}, (), [""], 3),
        ("", {"compute_workers": 3}, (), ["", "", ""], 1),
        ("0", {}, ("0",), [""], 1),
        ("0,1", {}, ("1",), ["0"], 1),
        ("0,1", {"compute_workers": 2}, ("0", "1"), ["0", "1"], 2),
        ("0,1,2,3", {}, ("1", "2", "3"), ["0"], 3),
        ("0,1,2,3", {"max_running_jobs": 2}, ("1", "2", "3"), ["0"], 2),
        ("0,1,2,3", {"compute_workers": 3}, ("3",), ["0", "1", "2"], 1),
        ("0,1,2,3", {"compute_workers": 4}, ("0", "1", "2", "3"), ["0", "1", "2", "3"], 4),
        ("0,1,2,3", {"job_devices": ("0", "1")}, ("0", "1"), ["2", "3"], 2),
        ("0,1,2,3", {"job_devices": ("0", "1"), "compute_workers": 1}, ("0", "1"), ["2"], 2),
        ("0,1,2,3", {"job_devices": ("0", "1"), "compute_workers": 3}, ("0", "1"), ["2", "3", "0"], 2),
        ("0,1", {"job_devices": ("0", "1")}, ("0", "1"), ["0"], 2),
        ("GPU-a,GPU-b", {"job_devices": ("GPU-a",)}, ("GPU-a",), ["GPU-b"], 1),
        ("0,1,2,3", {"device": "cpu"}, (), [""], 1),
        ("0,1,2,3", {"device": "cpu", "compute_workers": 9}, (), [""] * 9, 1),
        ("", {"job_devices": ("0", "1")}, ("0", "1"), [""], 2),
    ],
)
def test_devices_are_shared_out(tmp_path, visible, options, jobs, compute, running):
    settings = placed(Settings(root=tmp_path, **options), {"CUDA_VISIBLE_DEVICES": visible})
    shares = [Share(number=number, of=settings.compute_workers) for number in range(settings.compute_workers)]
    assert [share.device(settings) for share in shares] == compute
    assert (settings.job_devices, settings.max_running_jobs) == (jobs, running)
    assert placed(settings, {"CUDA_VISIBLE_DEVICES": visible}) == settings


def test_devices_that_there_are_not(tmp_path):
    with pytest.raises(ServiceError, match="this machine has the GPUs 0, 1"):
        placed(Settings(root=tmp_path, job_devices=("0", "7")), {"CUDA_VISIBLE_DEVICES": "0,1"})
    with pytest.raises(ServiceError, match="at most the number of GPUs, 2; got 3"):
        placed(Settings(root=tmp_path, compute_workers=3), {"CUDA_VISIBLE_DEVICES": "0,1"})
    with pytest.raises(ServiceError, match="name each once"):
        Settings(root=tmp_path, job_devices=("0", "0"))
    with pytest.raises(ServiceError, match="not with cpu"):
        Settings(root=tmp_path, job_devices=("0",), device="cpu")


def test_a_job_has_as_many_devices_as_processes():
    slots = DeviceSlots(("4", "5", "6"))
    one, two, all_of_them = (pb.Job(id=str(n), spec=finetuning(n)) for n in (1, 2, 9))
    assert (slots.take(two), slots.take(one)) == (["4", "5"], ["6"])
    assert not slots.fits(one)
    # A table is read without a GPU.
    assert slots.fits(pb.Job(spec=REGISTRATION))
    slots.give_back(two.id)
    assert slots.fits(two)
    assert not slots.fits(all_of_them)
    slots.give_back(one.id)
    # It asks for more than there are: it has all of them, and its worker refuses it.
    assert sorted(slots.take(all_of_them)) == ["4", "5", "6"]
    assert sorted(slots.of(all_of_them.id)) == ["4", "5", "6"]


def test_without_devices_there_is_nothing_to_wait_for():
    slots = DeviceSlots(())
    jobs = [pb.Job(id=str(n), spec=finetuning(n)) for n in range(5)]
    assert [slots.take(job) for job in jobs if slots.fits(job)] == [[]] * 5


def test_a_worker_sees_its_own_devices_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    use_only([])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2"
    use_only(["1", "2"])
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"


WORKER = textwrap.dedent("""
    import os
    from penult_proto.errors import ErrorKind
    from penult_server.errors import ServiceError
    from penult_server.jobs import worker

    def work(order, channel, fleet):
        gpus = fleet.capacity().gpus
        raise ServiceError(ErrorKind.BUSY, "seen", devices=os.environ["CUDA_VISIBLE_DEVICES"], gpus=gpus)

    worker.work = work
    worker.main()
    worker.leave(0)
""")


def test_a_real_worker_has_its_own_devices_in_its_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5")
    slots = DeviceSlots(("3", "4", "5"))
    job = pb.Job(id="j", spec=finetuning(2))
    order = JobOrder(job_id=job.id, log=str(tmp_path / "log"), device="auto", devices=slots.take(job))
    with subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        pipes.send(worker.stdin, ToWorker(job=order))
        said = pipes.receive(worker.stdout, FromWorker)
        worker.stdin.close()
    assert dict(said.error.metadata) == {"devices": "3,4", "gpus": "2"}


@pytest.fixture
def table(tmp_path):
    database = Database(tmp_path / "penult.db")
    numbers = itertools.count()
    jobs, catalog = JobTable(database), Catalog(database, tmp_path)

    def create(user: str, spec: pb.JobSpec | None = None) -> str:
        job = jobs.create(spec or finetuning(), f"digest {next(numbers)}", "", 1000)
        catalog.describe_job(job, Given(user=user), is_new=True)
        return job.id

    yield jobs, create
    database.close()


def users_of(jobs: JobTable, owners: dict[str, str], n: int, *, at_once: int) -> list[str]:
    """Whose jobs are started one after another, when `at_once` run and the first of them ends each time."""
    started: list[str] = []
    for _ in range(n):
        if len(started) >= at_once:
            jobs.cancel(started[len(started) - at_once])
        job = jobs.start_next()
        assert job is not None
        started.append(job.id)
    return [owners[job] for job in started]


@pytest.mark.parametrize("at_once", [1, 3])
def test_thirty_jobs_of_one_do_not_hold_one_of_another_back(table, at_once):
    jobs, create = table
    owners = {create("many"): "many" for _ in range(30)}
    assert set(users_of(jobs, owners, at_once, at_once=at_once)) == {"many"}
    owners[create("one")] = "one"
    jobs.cancel(jobs.list([pb.JOB_STATE_RUNNING], 1)[0].id)
    after = jobs.start_next()
    assert after is not None
    assert owners[after.id] == "one"
    rest = users_of(jobs, owners, 29 - at_once, at_once=50)
    assert set(rest) == {"many"}


def test_users_take_turns(table):
    jobs, create = table
    owners = {create(user): user for user in ["a"] * 4 + ["b"] * 2 + ['it\'s "c"']}
    assert users_of(jobs, owners, 7, at_once=1) == ["a", "b", 'it\'s "c"', "a", "b", "a", "a"]
    assert jobs.start_next() is None


def test_none_goes_before_one_that_waits_for_more_devices(table):
    jobs, create = table
    slots = DeviceSlots(("0", "1"))
    first = create("u")
    create("u", finetuning(2))
    create("u")
    running = jobs.start_next(slots.fits)
    assert running.id == first
    slots.take(running)
    assert jobs.start_next(slots.fits) is None
    slots.give_back(first)
    wide = jobs.start_next(slots.fits)
    assert len(slots.take(wide)) == 2


class Pretended(JobQueue):
    """A queue whose jobs run until they are told to end."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.had: dict[str, list[str]] = {}
        self.started: asyncio.Queue[str] = asyncio.Queue()
        self.ends: dict[str, asyncio.Event] = {}

    async def _attempt(self, job: pb.Job) -> None:
        self.had[job.id] = self._devices.of(job.id)
        self.ends[job.id] = asyncio.Event()
        self.started.put_nowait(job.id)
        await self.ends[job.id].wait()
        await self._registry.run(self._registry.jobs.cancel, job.id)


def test_as_many_jobs_run_at_once_as_there_are_devices(tmp_path):
    async def run() -> None:
        registry = Registry()
        await registry.open(tmp_path / "penult.db")
        settings = placed(Settings(root=tmp_path, job_devices=("0", "1", "2")), {"CUDA_VISIBLE_DEVICES": ""})
        queue = Pretended(registry, settings, set(), lambda: None)
        made = [
            (await registry.run(registry.jobs.create, finetuning(n), f"{number}", "", 100)).id
            for number, n in enumerate((1, 1, 1, 2, 1))
        ]
        await queue.start()
        try:
            first = [await asyncio.wait_for(queue.started.get(), 30) for _ in range(3)]
            assert first == made[:3]
            assert sorted(itertools.chain(*queue.had.values())) == ["0", "1", "2"]
            queue.ends[made[0]].set()
            queue.ends[made[1]].set()
            # The one that wants two waits for both, and the last behind it.
            assert await asyncio.wait_for(queue.started.get(), 30) == made[3]
            assert sorted(queue.had[made[3]]) == sorted(queue.had[made[0]] + queue.had[made[1]])
            assert (await registry.run(registry.jobs.get, made[4])).state == pb.JOB_STATE_QUEUED
            queue.ends[made[2]].set()
            assert await asyncio.wait_for(queue.started.get(), 30) == made[4]
            assert queue.had[made[4]] == queue.had[made[2]]
        finally:
            await queue.stop()
            await registry.close()

    asyncio.run(run())
