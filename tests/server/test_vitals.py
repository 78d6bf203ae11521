"""A compute worker that hangs is noticed, ended and replaced; one that computes for long, or waits, is not."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future

import pytest

from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2, refits_pb2_grpc
from penult_proto.v1.pipes_pb2 import JobOrder, ToWorker
from penult_server import pipes
from penult_server.compute import worker
from penult_server.errors import ServiceError
from penult_server.front.workers.compute_process import ComputeProcess
from penult_server.front.workers.vitals import DRIVER_SILENT_SECONDS, INTERVAL, SILENT_SECONDS, STUCK_SECONDS, Vitals
from penult_server.jobs import worker as job_worker
from penult_server.machine import gpus
from penult_server.machine.gpus import is_lost, visible_gpus
from penult_server.machine.processes import Activity, activity, is_held_up
from penult_server.settings import Settings

FAST = 1.0
"""Part of a core that a worker at work computes."""


def judged(
    seconds: float,
    *,
    answers: bool,
    is_busy: bool,
    share: float,
    is_held_up: bool = False,
    silent: float = SILENT_SECONDS,
) -> tuple[float, str]:
    """When, and why, a worker that behaves like this from second 10 on counts as dead."""
    seen, computed = Vitals(0.0, silent), 0.0
    for tick in range(1, int((10 + seconds) / INTERVAL) + 1):
        now, has_begun = tick * INTERVAL, tick * INTERVAL > 10
        computed += INTERVAL * (share if has_begun else 0.001)
        if answers or not has_begun:
            seen.note(now, is_busy=is_busy and has_begun)
        if why := seen.judge(now, Activity(computed, is_held_up)):
            return now - 10, why
    return seconds, ""


@pytest.mark.parametrize("share", [0.0, 0.005])
def test_a_silent_worker_that_computes_nothing_is_dead_within_seconds(share):
    after, why = judged(60, answers=False, is_busy=True, share=share)
    assert "not answered" in why
    assert SILENT_SECONDS <= after <= SILENT_SECONDS + 3


def test_a_driver_that_waits_for_its_node_may_be_silent_for_longer():
    after, why = judged(120, answers=False, is_busy=False, share=0.0, silent=DRIVER_SILENT_SECONDS)
    assert f"not answered for {DRIVER_SILENT_SECONDS:.0f} s" in why
    assert DRIVER_SILENT_SECONDS <= after <= DRIVER_SILENT_SECONDS + 3


def test_a_call_that_has_the_device_and_does_nothing_is_dead_in_the_end():
    after, why = judged(600, answers=True, is_busy=True, share=0.002)
    assert "without computing" in why
    assert STUCK_SECONDS <= after <= STUCK_SECONDS + 3


@pytest.mark.parametrize(
    ("answers", "is_busy", "share", "is_held_up"),
    [
        (False, True, FAST, False),  # a library holds the interpreter's lock in a long decomposition
        (True, True, FAST, False),
        (True, True, 0.05, False),  # on a machine where twenty others compute
        (False, False, 0.0, True),  # on one where it gets no core, or its memory comes from a disk
        (True, False, 0.0, False),  # idle
    ],
)
def test_long_work_and_no_work_are_not_death(answers, is_busy, share, is_held_up):
    said = judged(3600, answers=answers, is_busy=is_busy, share=share, is_held_up=is_held_up)
    assert said == (3600, "")


def test_a_front_that_was_stopped_itself_blames_nobody():
    seen = Vitals(0.0)
    for tick in range(1, 40):
        seen.note(tick * INTERVAL, is_busy=True)
        assert not seen.judge(tick * INTERVAL, Activity(1.0))
    later = 3600.0
    assert not seen.judge(later, Activity(1.0))
    seen.note(later, is_busy=False)
    assert not seen.judge(later + INTERVAL, Activity(1.0))


def test_computing_is_counted():
    before = activity(os.getpid())
    assert before is not None
    assert before.is_held_up  # this thread runs
    while (now := activity(os.getpid())) is not None and now.cpu_seconds < before.cpu_seconds + 0.05:
        sum(range(10_000))
    assert activity(2**31 - 1) is None


def test_a_stopped_worker_is_replaced_and_its_callers_are_told(tmp_path):
    async def run() -> None:
        health: list[bool] = []

        async def note(is_healthy: bool) -> None:
            health.append(is_healthy)

        compute = ComputeProcess(Settings(root=tmp_path, device="cpu"), note)
        compute.start()

        async def ask() -> ServiceError:
            """A worker that lives answers that there is no such checkpoint."""
            request = refits_pb2.EvaluateRequest(feature_set="0" * 64, checkpoint="0" * 64)
            with pytest.raises(ServiceError) as raised:
                await compute.call(lambda channel: refits_pb2_grpc.RefitServiceStub(channel).Evaluate(request))
            return raised.value

        try:
            assert (await ask()).kind == ErrorKind.UNKNOWN_CHECKPOINT
            stopped = compute._process
            assert stopped is not None
            os.kill(stopped.pid, signal.SIGSTOP)
            met = await asyncio.wait_for(ask(), 100)
            assert met.kind == ErrorKind.WORKER_DIED, met
            assert health[:2] == [True, False]
            assert (await ask()).kind == ErrorKind.UNKNOWN_CHECKPOINT
            assert health[-1]
            assert compute._process is not stopped
            assert stopped.returncode == -signal.SIGKILL
        finally:
            await compute.stop()

    asyncio.run(run())


BESIDE = """
import sys, threading
def work():
    while True: pass
if sys.argv[1] == "works": threading.Thread(target=work, daemon=True).start()
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.parametrize("what", ["works", "waits"])
def test_a_thread_that_waits_for_a_core_counts_for_its_process(what):
    command = [sys.executable, "-c", BESIDE, what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        end = time.monotonic() + 100
        while is_held_up(process.pid) != (what == "works"):
            assert time.monotonic() < end
        process.kill()
    assert not is_held_up(process.pid)


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class AcceleratorError(RuntimeError):
    """As torch's."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered"), True),
        (CUDARuntimeError("cudaErrorLaunchFailure: unspecified launch failure"), True),
        (CUDARuntimeError("cudaErrorECCUncorrectable: uncorrectable ECC error encountered"), True),
        (AcceleratorError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA error: misaligned address"), True),
        (CUDARuntimeError("cudaErrorMemoryAllocation: out of memory"), False),
        (CUDARuntimeError("cudaErrorInvalidValue: invalid argument"), False),
        (RuntimeError("an illegal memory access of another kind"), False),
        (ValueError("unknown error"), False),
    ],
)
def test_errors_that_take_the_gpu_away(error, expected):
    assert is_lost(error) is expected
    outer = ServiceError(ErrorKind.INTERNAL, "what came of it")
    outer.__cause__ = error
    assert is_lost(outer) is expected


class LeftError(BaseException):
    """The process has ended."""


def leave(status: int) -> None:
    raise LeftError(status)


@pytest.fixture
def lost(monkeypatch):
    """An error after which the GPU cannot be used; ends of the process are raised."""
    monkeypatch.setattr(gpus.os, "_exit", leave)
    return CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")


def test_a_compute_worker_that_has_lost_its_gpu_ends(lost):
    with pytest.raises(LeftError, match=str(gpus.EXIT_LOST)):
        worker.refuse(None, lost)
    answer = Future()
    answer.set_exception(lost)
    with pytest.raises(LeftError, match=str(gpus.EXIT_LOST)):
        worker.outcome_of(answer)
    other = Future()
    other.set_exception(MemoryError("too much"))
    assert worker.outcome_of(other).failure.kind == ErrorKind.OUT_OF_MEMORY


def test_a_job_that_has_lost_its_gpu_ends_without_a_word_and_is_tried_again(lost, monkeypatch, tmp_path):
    said = io.BytesIO()

    def work(order, channel, fleet):
        raise ServiceError(ErrorKind.INTERNAL, "a step failed") from lost

    order = ToWorker(job=JobOrder(log=str(tmp_path / "log")))
    monkeypatch.setattr(job_worker, "work", work)
    monkeypatch.setattr(job_worker, "print_to", lambda log: None)
    monkeypatch.setattr(job_worker.os, "nice", lambda by: None)
    monkeypatch.setattr(job_worker.sys, "stdin", io.TextIOWrapper(io.BytesIO(pipes.framed(order))))
    monkeypatch.setattr(job_worker.sys, "argv", ["worker"])
    monkeypatch.setattr(job_worker.WorkerChannel, "watch", lambda self, orders: None)
    monkeypatch.setattr(job_worker.pipes, "own_stdout", lambda: said)
    with pytest.raises(LeftError):
        job_worker.main()
    assert said.getvalue() == b""


def test_visible_gpus_are_the_variable_s_or_the_machine_s(tmp_path):
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ("0", "1")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "4, 6"}, tmp_path) == ("4", "6")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == ()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path) == ()
