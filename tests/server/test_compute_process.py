"""A compute worker dies: the call that meets it is told so, and those that come after wait for the next one."""

import asyncio
import os
import signal

import grpc
import pytest

from penult_proto.errors import ErrorKind
from penult_proto.v1 import refits_pb2, refits_pb2_grpc
from penult_server.errors import ServiceError
from penult_server.front.workers import compute_process
from penult_server.front.workers.compute_process import ComputeProcess
from penult_server.front.workers.processes import start_process
from penult_server.settings import Settings


class SeenLate:
    """A worker's process whose end is noticed only when the test says so."""

    def __init__(self, process: asyncio.subprocess.Process, noticed: asyncio.Event) -> None:
        self._process, self._noticed = process, noticed

    def __getattr__(self, name: str):
        return getattr(self._process, name)

    async def wait(self) -> int:
        await self._noticed.wait()
        return await self._process.wait()


async def nothing(is_healthy: bool) -> None:
    return


async def asked(compute: ComputeProcess) -> ServiceError:
    """A worker that lives answers that there is no such checkpoint."""
    request = refits_pb2.EvaluateRequest(feature_set="0" * 64, checkpoint="0" * 64)
    with pytest.raises(ServiceError) as raised:
        await compute.call(lambda channel: refits_pb2_grpc.RefitServiceStub(channel).Evaluate(request))
    return raised.value


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_calls_after_a_worker_s_death_wait_for_the_next_one(tmp_path, monkeypatch, signal_number):
    async def run() -> None:
        noticed = asyncio.Event()
        processes: list[asyncio.subprocess.Process] = []

        async def start(*arguments, **options):
            processes.append(await start_process(*arguments, **options))
            return SeenLate(processes[-1], noticed)

        monkeypatch.setattr(compute_process, "start_process", start)
        compute = ComputeProcess(Settings(root=tmp_path, device="cpu"), nothing)
        compute.start()
        try:
            assert (await asked(compute)).kind == ErrorKind.UNKNOWN_CHECKPOINT
            os.kill(processes[0].pid, signal_number)
            await processes[0].wait()
            # The front has not noticed: the call that meets the dead worker is told, and told to ask again.
            met = await asked(compute)
            assert met.kind == ErrorKind.WORKER_DIED
            following = [asyncio.create_task(asked(compute)) for _ in range(3)]
            for _ in range(10):
                await asyncio.sleep(0)
            assert not any(task.done() for task in following), "they wait"
            noticed.set()
            assert [(await task).kind for task in following] == [ErrorKind.UNKNOWN_CHECKPOINT] * 3
            assert len(processes) == 2
        finally:
            noticed.set()
            await compute.stop()

    asyncio.run(run())


def test_a_message_that_meets_a_closed_socket_is_the_worker_s_death_and_no_fault_of_the_call(tmp_path):
    """What `grpc.aio` raises when the worker dies between two pieces of an upload, one upload in twenty."""
    none = grpc.aio.Metadata()
    cut = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, none, none, "Internal error from Core")

    async def run() -> None:
        compute = ComputeProcess(Settings(root=tmp_path, device="cpu"), nothing)
        compute.start()
        try:
            await asked(compute)
            channel = await compute.channel()
            assert compute.translate(cut, channel).kind == ErrorKind.INTERNAL, "the worker lives"
            assert compute._process is not None
            compute._process.kill()
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            assert compute.translate(cut, channel).kind == ErrorKind.WORKER_DIED
            assert (await asked(compute)).kind == ErrorKind.UNKNOWN_CHECKPOINT, "the next one answers"
        finally:
            await compute.stop()

    asyncio.run(run())
