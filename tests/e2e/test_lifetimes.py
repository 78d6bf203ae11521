"""How long things live: what a script starts is finished, looking starts nothing, and stopping is said."""

import hashlib
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE

import pytest
from server_processes import processes

import penult
from penult import connecting
from penult.cli.main import INTERRUPTED, main
from penult.connection.servers import read_record, root_file
from penult_proto.v1 import jobs_pb2

FOREVER = 5000
"""Epochs of a run that is never waited for to its end."""
# A shell starts what runs in its background with SIGINT ignored, and so all that tests start from there.
START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import penult
root, table, jobs, epochs, save_every = sys.argv[1:]
client = penult.local(root, jobs=jobs)
client.datasets.register("shapes", table)
job = client.finetune(
    dataset="shapes", backbone="test_resnet", pretrained=False, batch_size=8, evaluate=["val"],
    optimizer=penult.AdamW(learning_rate=3e-3), record=penult.Record(save_every=int(save_every)), epochs=int(epochs),
)
print(job.id, job.refresh().state, flush=True)
"""
WAIT = START + "job.wait(progress=True)\n"
STAY = (
    START
    + """
try:
    job.wait(timeout=0)
except penult.StillRunning as error:
    print(error.job.id, flush=True)
sys.stdin.read()
"""
)
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from penult.cli.main import main
sys.exit(main())
"""


@pytest.fixture
def root(tmp_path):
    """A store whose server, should a test leave one, is ended."""
    yield tmp_path / "store"
    record = read_record(root_file(tmp_path / "store"))
    if record is not None:
        os.kill(record.pid, signal.SIGTERM)


@contextmanager
def server_ends(root: Path):
    """After the block, wait until the server that serves the root now has ended."""
    record = read_record(root_file(root))
    assert record is not None
    descriptor = os.pidfd_open(record.pid)
    try:
        yield record
        assert select.select([descriptor], [], [], 200)[0], "the server does not end"
    finally:
        os.close(descriptor)


def script(text: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
        env=os.environ,
    )


def started(process: subprocess.Popen) -> str:
    """The id of the job that a script says it has started, which has not ended."""
    line = process.stdout.readline().split()
    assert line, process.stderr.read()
    assert line[1] in ("queued", "running")
    return line[0]


def stored(root: Path) -> tuple[list, dict[str, str]]:
    """All that the registry says of jobs, and every training state."""
    database = sqlite3.connect(f"file:{root / 'penult.db'}?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT id, state, deaths, message FROM job ORDER BY created").fetchall()
        events = database.execute("SELECT job, max(seq), count(*) FROM job_event GROUP BY job").fetchall()
    finally:
        database.close()
    states = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in states_in(root)}
    return [rows, events], states


def states_in(root: Path) -> list[Path]:
    return sorted(root.glob("runs/*/training_state.safetensors"))


def job_of(root: Path, job_id: str) -> dict:
    rows, _ = stored(root)
    return next(json.loads(message) for one, _, _, message in rows[0] if one == job_id)


def until(job: penult.Job, is_so) -> penult.Job:
    """Ask how a job stands whenever something happens to it, until it is so; it must be before it ends.

    Unlike `Job.wait`, this does not make its server stay for it.
    """
    connection, request = job._connection, jobs_pb2.WatchJobRequest(id=job.id, may_stop=True)
    with connection.stream(connection.stubs.jobs.WatchJob, request, timeout=200) as events:
        for _ in events:
            if is_so(job.refresh()):
                return job
    raise AssertionError(f"it has ended before it was so: {job}")


def test_a_script_that_ends_after_finetune_finds_its_run_next_time(root, table):
    with script(START, root, table, "finish", 3, 0) as first:
        job_id = started(first)
        with server_ends(root):
            assert first.wait(120) == 0
    assert first.stderr is not None
    assert job_of(root, job_id)["state"] == "JOB_STATE_SUCCEEDED"
    with script(
        START.replace("print(job.id", "print(job.wait().id, job.attempt"), root, table, "finish", 3, 0
    ) as again:
        said = again.communicate(timeout=120)[0].split()
    assert said == [job_id, "1", "succeeded"]
    assert states_in(root) == []


def test_ctrl_c_in_a_script_leaves_the_job_to_its_server(root, table):
    with script(WAIT, root, table, "finish", 10, 0) as waiting:
        job_id = started(waiting)
        with server_ends(root) as record:
            with penult.connect(record.address) as client:
                until(client.jobs.get(job_id), lambda job: job.stage.startswith("epoch 1"))
            waiting.send_signal(signal.SIGINT)
            _, said = waiting.communicate(timeout=120)
    assert waiting.returncode == -signal.SIGINT
    assert "Traceback" not in said
    assert f"no longer waiting: job {job_id} (" in said
    assert "is not cancelled; its server goes on with it until it has ended" in said
    assert f"`penult jobs watch {job_id} --root {root}`" in said
    assert job_of(root, job_id)["state"] == "JOB_STATE_SUCCEEDED"
    assert job_of(root, job_id)["attempt"] == 1


def test_stop_looking_resuming_and_cancelling(root, table, capsys):
    """One job's way: stopped with its client, looked at, taken up by `jobs watch`, left to its server, cancelled."""
    with script(STAY, root, table, "stop", FOREVER, 1) as first:
        job_id = started(first)
        assert first.stdout.readline().strip() == job_id
        with server_ends(root) as record:
            with penult.connect(record.address) as client:
                assert until(client.jobs.get(job_id), lambda job: job._message.saved > 0).may_stop
            _, said = first.communicate(timeout=120)
    assert first.returncode == 0
    # One line, at the first job, which is the registration's.
    assert said.endswith('go on when it is next opened (jobs="stop")\n')
    assert said.count("\n") == 1
    at_rest = stored(root)
    assert job_of(root, job_id)["state"] == "JOB_STATE_QUEUED"
    assert len(at_rest[1]) == 1

    for _ in range(3):
        assert main(["jobs", "--root", str(root)]) == 0
        assert f"{job_id}  queued " in capsys.readouterr().out
    with server_ends(root):
        pass
    assert stored(root) == at_rest

    with script(COMMAND, "jobs", "watch", job_id, "--root", root) as watching, connecting.looking(root) as client:
        job = client.jobs.get(job_id)
        while job.refresh().state == "queued":  # to watch it would start it
            os.sched_yield()
        until(job, lambda job: job.attempt == 2 and job.stage.startswith("epoch"))
        assert not job.may_stop
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=120)
    assert watching.returncode == INTERRUPTED
    assert "its server goes on with it until it has ended" in said
    assert "Traceback" not in said
    # Nobody is attached now, and it goes on.
    with penult.connect(read_record(root_file(root)).address) as client:
        saved = client.jobs.get(job_id)._message.saved
        until(client.jobs.get(job_id), lambda job: job._message.saved > saved)
    with server_ends(root):
        assert main(["jobs", "cancel", job_id, "--root", str(root)]) == 0
        assert "cancelling" in capsys.readouterr().out
    assert job_of(root, job_id)["state"] == "JOB_STATE_CANCELLED"
    assert states_in(root) == []


def test_one_client_that_wants_a_job_finished_is_enough(root, table, tiny, capsys):
    recipe = {"dataset": "shapes", "epochs": 3, **tiny}
    stopping = penult.local(root, jobs="stop")
    finishing = penult.local(root)
    stopping.datasets.register("shapes", table)
    unwanted = stopping.finetune(**recipe | {"epochs": FOREVER})
    wanted = stopping.finetune(**recipe)
    assert capsys.readouterr().err.count("\n") == 1
    assert (unwanted.may_stop, wanted.may_stop) == (True, True)
    assert finishing.finetune(**recipe).id == wanted.id
    assert (unwanted.refresh().may_stop, wanted.refresh().may_stop) == (True, False)
    # The first in the queue is in the way of the one that somebody wants.
    unwanted.cancel()
    later = stopping.finetune(**recipe | {"epochs": FOREVER, "seed": 1})
    with server_ends(root):
        stopping.close()
        finishing.close()
    # Finished what was wanted; the other had begun or not, and did not keep the server.
    assert job_of(root, wanted.id)["state"] == "JOB_STATE_SUCCEEDED"
    assert job_of(root, later.id)["state"] == "JOB_STATE_QUEUED"
    assert job_of(root, unwanted.id)["state"] == "JOB_STATE_CANCELLED"


def test_an_embedded_server_without_work_leaves_at_once(root):
    client = penult.local(root)
    with server_ends(root):
        client.close()


def test_cancelling_shows_and_outlives_its_server(serve, table, tiny, capsys):
    server = serve()
    with server.connect() as client:
        client.datasets.register("shapes", table)
        job = client.finetune(dataset="shapes", epochs=FOREVER, record=penult.Record(save_every=1), **tiny)
        until(job, lambda job: job._message.saved > 0)
        # A worker that does not come to its next step: what is cancelled stays so until it has stopped.
        (worker,) = processes(server)["jobs"]
        os.kill(worker, signal.SIGSTOP)
        try:
            assert job.cancel().state == "cancelling"
            assert job.cancel().state == "cancelling"
            assert not job.ended
            assert [one.id for one in client.jobs.list(states=["cancelling"])] == [job.id]
            assert main(["jobs", "--address", server.record["address"]]) == 0
            assert f"{job.id}  cancelling " in capsys.readouterr().out
            with pytest.raises(penult.StillRunning, match=f"job {job.id} still cancelling"):
                job.wait(timeout=0.2)
            # Equal work that is asked for now is a job of its own.
            again = client.finetune(dataset="shapes", epochs=FOREVER, record=penult.Record(save_every=1), **tiny)
            assert again.id != job.id
            again.cancel()
            assert states_in(server.root)
            server.kill()
        finally:
            os.kill(worker, signal.SIGKILL)
    server = serve()
    with server.connect() as client:
        job = client.jobs.get(job.id)
        assert (job.state, job.attempt) == ("cancelled", 1)
        with pytest.raises(penult.Cancelled):
            job.wait()
    assert states_in(server.root) == []


def kill_its_worker(server, job: penult.Job) -> None:
    """Kill the worker of a job as soon as it has taken its order, unless the job ends before."""
    while not (busy := processes(server)["jobs"]):
        if job.refresh().ended:
            return
    for pid in busy:
        with suppress(ProcessLookupError):  # it ended by itself in between
            os.kill(pid, signal.SIGKILL)


def test_deaths_are_counted_from_the_last_progress_and_the_state_is_found_again(serve, table, tiny):
    # Long enough that no kill comes after its end, however late this process is given time.
    sparing = penult.Record(save_every=1, checkpoint_every=20, evaluate_every=20)
    recipe = {"dataset": "shapes", "epochs": 20, "evaluate": ["val"], "record": sparing, **tiny}
    server = serve()
    with server.connect() as client:
        client.datasets.register("shapes", table)
        job = client.finetune(**recipe)
        for _ in range(3):
            saved = job._message.saved
            until(job, lambda job, saved=saved: job._message.saved > saved)
            kill_its_worker(server, job)
        # It dies again and again before its next step; three deaths in all did not end it.
        until(job, lambda job: job.attempt == 4)
        while not job.refresh().ended:
            kill_its_worker(server, job)
        with pytest.raises(penult.Unavailable, match=r"3 times without getting further.*training state is kept"):
            job.wait()
        assert job.error.kind == "worker_died"
        assert [path.parent.name for path in states_in(server.root)] == [job.id]
        again = client.finetune(**recipe)
        assert again.id != job.id
        run = again.wait()
        assert again.attempt == 1
        assert client.runs.manifest(run).resumed_at[-1] >= job._message.saved > 0
        assert {checkpoint.run_id for checkpoint in run.checkpoints} == {again.id}
        assert states_in(server.root) == []


def test_requests_of_jobs_say_by_default_that_they_are_to_be_finished():
    """Clients in other languages need not know of it."""
    assert not jobs_pb2.CreateJobRequest().may_stop
    assert not jobs_pb2.WatchJobRequest().may_stop
