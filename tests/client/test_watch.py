"""Waiting for a job: against a real server that breaks its streams, goes away and comes back."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from subprocess import PIPE

import grpc
import pytest

from penult import errors
from penult.calls.job import Job, JobOutcome, any_result
from penult.calls.job_group import JobGroup
from penult.connection.rpc import Connection
from penult_proto.v1 import groups_pb2, jobs_pb2, jobs_pb2_grpc, runs_pb2

RUNNING, SUCCEEDED = jobs_pb2.JOB_STATE_RUNNING, jobs_pb2.JOB_STATE_SUCCEEDED


def progress(seq: int, done: float) -> jobs_pb2.JobEvent:
    return jobs_pb2.JobEvent(
        seq=seq, progress=jobs_pb2.Progress(stage="epoch 1 of 2", done=done, total=10, unit="steps")
    )


def metrics(seq: int, epoch: int) -> jobs_pb2.JobEvent:
    group = groups_pb2.Group(index=0, name="boot, grass", class_name="boot", count=10)
    scores = groups_pb2.Metrics(
        groups=[group], correct=[7], group_accuracy=[0.7], average_accuracy=0.7, worst_group_accuracy=0.7
    )
    return jobs_pb2.JobEvent(seq=seq, metrics=runs_pb2.EpochMetrics(epoch=epoch, split="val", metrics=scores))


EVENTS = [progress(1, 2), metrics(2, 1), progress(3, 8), metrics(4, 2), jobs_pb2.JobEvent(seq=5, state=SUCCEEDED)]


class Servicer(jobs_pb2_grpc.JobServiceServicer):
    """One job; every stream breaks after `per_stream` events."""

    def __init__(self, per_stream: int = 100) -> None:
        self.per_stream = per_stream
        self.asked_after: list[int] = []
        self.n_sent = 0
        self.n_cancelled = 0

    def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[jobs_pb2.JobEvent]:
        self.asked_after.append(request.after_seq)
        yield jobs_pb2.JobEvent(heartbeat=True)
        for event in EVENTS[request.after_seq :][: self.per_stream]:
            self.n_sent = max(self.n_sent, event.seq)
            yield event
        if self.n_sent < len(EVENTS):
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")

    def GetJob(self, request: jobs_pb2.GetJobRequest, context: grpc.ServicerContext) -> jobs_pb2.Job:
        if self.n_sent < len(EVENTS):
            return jobs_pb2.Job(id=request.id, state=RUNNING, progress=EVENTS[0].progress)
        return jobs_pb2.Job(id=request.id, state=SUCCEEDED, result=jobs_pb2.JobResult(run=runs_pb2.Run(id="run-1")))

    def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: grpc.ServicerContext) -> jobs_pb2.Job:
        self.n_cancelled += 1
        return jobs_pb2.Job(id=request.id, state=jobs_pb2.JOB_STATE_CANCELLED)


@contextmanager
def serving(servicer: jobs_pb2_grpc.JobServiceServicer, port: int = 0) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    jobs_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        server.stop(None).wait()


@contextmanager
def job_at(address: str) -> Iterator[Job[JobOutcome]]:
    connection = Connection(address)
    try:
        yield Job(connection, jobs_pb2.Job(id="j1", state=RUNNING), any_result)
    finally:
        connection.close()


def test_waiting_returns_what_the_job_made() -> None:
    servicer = Servicer()
    with serving(servicer) as address, job_at(address) as job:
        result = job.wait()
    assert repr(result).startswith("Run(run-1")
    assert job.state == "succeeded"
    assert servicer.asked_after == [0]


def test_a_broken_stream_is_taken_up_after_the_last_event_seen() -> None:
    servicer = Servicer(per_stream=2)
    with serving(servicer) as address, job_at(address) as job:
        job.wait()
    assert servicer.asked_after == [0, 2, 4]


def test_each_event_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Servicer(per_stream=2)) as address, job_at(address) as job:
        job.wait(progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("val      average 0.700  worst group 0.700 (boot, grass)") == 2
    assert "8 of 10 steps" in said.err


def test_a_server_that_restarts_is_waited_for() -> None:
    first = Servicer(per_stream=2)
    with serving(first) as address:
        port = int(address.rpartition(":")[2])
    with job_at(address) as job, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.wait)
        with serving(Servicer(), port):
            assert repr(waiting.result(100)).startswith("Run(run-1")


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penult.calls.job.PATIENCE", 0.5)
    with serving(Servicer()) as address:
        pass
    with job_at(address) as job, pytest.raises(errors.Unavailable, match=address):
        job.wait()


class Endless(Servicer):
    """A job that goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.is_watched = threading.Event()

    def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: grpc.ServicerContext) -> Iterator[jobs_pb2.JobEvent]:
        yield jobs_pb2.JobEvent(seq=1, state=RUNNING)
        yield EVENTS[0]
        self.is_watched.set()
        while context.is_active():
            yield jobs_pb2.JobEvent(heartbeat=True)


def test_a_timeout_ends_the_waiting_and_not_the_job() -> None:
    servicer = Endless()
    with serving(servicer) as address, job_at(address) as job:
        with pytest.raises(
            errors.StillRunning, match=r"^job j1 still running: epoch 1 of 2: 2 of 10 steps \["
        ) as raised:
            job.wait(timeout=0.3)
        assert raised.value.job is job
        assert raised.value.jobs == (job,)
        assert (raised.value.kind, isinstance(raised.value, errors.DeadlineExceeded)) == ("deadline_exceeded", True)
        assert job.refresh().state == "running"
        assert servicer.n_cancelled == 0
        assert job.cancel().state == "cancelled"


def test_no_time_to_wait_asks_how_it_stands() -> None:
    """An ended job is not called running because there was no time to watch it."""
    servicer = Servicer()
    servicer.n_sent = len(EVENTS)
    with serving(servicer) as address, job_at(address) as job:
        assert repr(job.wait(timeout=0)).startswith("Run(run-1")


def test_a_server_that_says_nothing_is_not_said_to_run_the_job() -> None:
    with serving(Endless()) as address:
        pass
    with job_at(address) as job, pytest.raises(errors.PenultError) as raised:
        job.wait(timeout=0.1)
    assert not isinstance(raised.value, errors.StillRunning)


def test_a_group_names_all_that_have_not_ended() -> None:
    with (
        serving(Endless()) as endless,
        serving(Servicer()) as quick,
        job_at(quick) as first,
        job_at(endless) as second,
        job_at(endless) as third,
    ):
        group = JobGroup([first, second, third])
        with pytest.raises(errors.StillRunning, match=r"2 of 3 jobs have not ended \(2 running\)") as raised:
            group.wait(timeout=0.5)
    assert (raised.value.job, raised.value.jobs) == (second, (second, third))


# A shell starts what runs in its background with this signal ignored, and so all that tests start from there.
WAIT_IN_A_SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from penult.calls.job import Job, any_result
from penult.connection.rpc import Connection
from penult_proto.v1 import jobs_pb2
job = Job(Connection(sys.argv[1]), jobs_pb2.Job(id="j1"), any_result)
job.wait()
"""
CATCH_AND_GO_ON = """
try:
    job.wait()
except KeyboardInterrupt:
    print("caught", flush=True)
raise ValueError("mine")
"""


def test_ctrl_c_when_the_server_is_away_says_so() -> None:
    """And nothing of what it would do: nobody knows whether the job goes on."""
    servicer = Endless()
    script = WAIT_IN_A_SCRIPT.replace("job.wait()", "print(job.id, flush=True)\njob.wait()")
    with serving(servicer) as address:
        process = subprocess.Popen(
            [sys.executable, "-c", script, address], stdout=PIPE, stderr=PIPE, text=True, env=os.environ
        )
        assert servicer.is_watched.wait(60)
    with process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "is not cancelled; its server does not answer now" in said
    assert "Traceback" not in said


@pytest.fixture
def own_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts back, afterwards, what shows the exceptions of this process."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.mark.usefixtures("own_hook")
def test_ctrl_c_while_a_group_is_waited_for_speaks_of_all_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted_at_once(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "_awaited", interrupted_at_once)
    with (
        serving(Endless()) as address,
        job_at(address) as first,
        job_at(address) as second,
        pytest.raises(KeyboardInterrupt),
    ):
        JobGroup([first, second]).wait()
    said = capsys.readouterr().err
    assert "no longer waiting: job j1 (running" in said
    assert said.endswith("  after it in its group: 1 more, not cancelled either\n")


@pytest.mark.usefixtures("own_hook")
def test_ipython_shows_a_line_for_the_interrupt_and_stops(capsys: pytest.CaptureFixture[str]) -> None:
    shells = pytest.importorskip("IPython.core.interactiveshell")
    shell = shells.InteractiveShell()
    text = "from penult.calls.waiting.interrupts import told\ntry:\n    raise KeyboardInterrupt\n"
    result = shell.run_cell(text + "except KeyboardInterrupt as error:\n    told(error, 'said once')\n    raise")
    said = capsys.readouterr()
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert said.err.strip() == "said once"
    assert said.out.strip() == "KeyboardInterrupt"


def test_an_interrupt_that_is_caught_and_later_errors_are_as_ever() -> None:
    servicer = Endless()
    with serving(servicer) as address:
        returncode, said, err = interrupted(
            WAIT_IN_A_SCRIPT.replace("job.wait()\n", CATCH_AND_GO_ON), servicer, address
        )
    assert (returncode, said) == (1, "caught\n")
    assert "no longer waiting" in err
    assert "Traceback" in err
    assert err.rstrip().endswith("ValueError: mine")


def interrupted(text: str, servicer: Endless, address: str) -> tuple[int, str, str]:
    """Exit code and output of a script that gets SIGINT while it waits."""
    script = subprocess.Popen(
        [sys.executable, "-c", text, address], stdout=PIPE, stderr=PIPE, text=True, env=os.environ
    )
    with script:
        try:
            assert servicer.is_watched.wait(60)
            script.send_signal(signal.SIGINT)
            out, err = script.communicate(timeout=30)
        finally:
            script.kill()
    return script.returncode, out, err


def test_ctrl_c_ends_the_waiting_says_so_and_does_not_cancel() -> None:
    servicer = Endless()
    with serving(servicer) as address:
        returncode, _, said = interrupted(WAIT_IN_A_SCRIPT, servicer, address)
    # As its shell expects of a script that Ctrl-C ended, and without a traceback.
    assert returncode == -signal.SIGINT
    known = "job j1 (running, epoch 1 of 2: 2 of 10 steps)"
    assert f"no longer waiting: {known} is not cancelled; its server goes on with it until it has ended\n" in said
    assert f"client.jobs.get('j1').wait(), or `penult jobs watch j1 --address {address}`" in said
    assert f"client.jobs.get('j1').cancel(), or `penult jobs cancel j1 --address {address}`" in said
    assert len(said.strip().splitlines()) == 3
    assert servicer.n_cancelled == 0
