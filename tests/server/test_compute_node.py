"""A compute worker as it runs on a node of a cluster: at a port for the front alone, and judged where it is."""

import asyncio
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, features_pb2_grpc
from penult_proto.v1.pipes_pb2 import ComputeOrder, ComputeReady, FromWorker, MutualTls, ToWorker
from penult_server.cluster.compute_node import ComputeNode
from penult_server.compute.ports import open_port
from penult_server.errors import ServiceError
from penult_server.front.workers import hosts
from penult_server.front.workers.compute_process import ComputeProcess
from penult_server.front.workers.mutual_tls import WORKER, make_pair
from penult_server.settings import Settings
from penult_server.status import from_call

WAIT = 60.0


class Node:
    """A worker of this machine with certificates."""

    def __init__(self, root: Path) -> None:
        self.pair = make_pair()
        self.node = ComputeNode(1)
        order = ComputeOrder(
            root=str(root), socket="127.0.0.1:0", device="cpu", resident_bytes=2**20, tls=self.pair.worker
        )
        self.ready = FromWorker.FromString(self.node.start(order.SerializeToString())).ready

    @property
    def pid(self) -> int:
        assert self.node._process is not None
        return self.node._process.pid

    def ask(self, own: MutualTls, name: str = WORKER) -> grpc.RpcError:
        """How a question about a set that is not there fails for who shows these."""
        credentials = grpc.ssl_channel_credentials(own.authority, own.key or None, own.certificate or None)
        options = [("grpc.ssl_target_name_override", name)] if name else []
        with grpc.secure_channel(self.ready.address, credentials, options=options) as channel:
            return self.error_of(channel)

    def error_of(self, channel: grpc.Channel) -> grpc.RpcError:
        request = features_pb2.ReadFeaturesRequest(feature_set="0" * 64)
        with pytest.raises(grpc.RpcError) as error:
            next(features_pb2_grpc.FeatureServiceStub(channel).ReadFeatures(request, timeout=WAIT))
        return error.value


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # As Ray sets it for its own tasks; with it nothing would be split, and the bits would be others.
        patch.setenv("OMP_NUM_THREADS", "1")
        made = Node(tmp_path_factory.mktemp("store"))
        yield made
        assert "OMP_NUM_THREADS" not in os.environ
    if not made.node._ended:
        os.kill(made.pid, signal.SIGKILL)


def test_the_front_is_answered(node):
    assert node.ready.device == "cpu"
    assert node.ready.processor
    said = from_call(node.ask(node.pair.front))
    assert said is not None
    assert said.kind is ErrorKind.UNKNOWN_FEATURE_SET
    environment = Path(f"/proc/{node.pid}/environ").read_text(encoding="utf-8").split("\0")
    assert "OPENBLAS_NUM_THREADS=1" in environment
    assert f"PENULT_PRODUCT_THREADS={min(2, len(os.sched_getaffinity(0)))}" in environment


def test_nobody_else_is(node):
    """Not without a certificate, with that of another start, with the worker's own, or in the clear."""
    own, other = node.pair.front, make_pair().front
    stolen = MutualTls(authority=own.authority, certificate=other.certificate, key=other.key)
    for shown in (MutualTls(authority=own.authority), stolen, node.pair.worker):
        assert node.ask(shown).code() is grpc.StatusCode.UNAVAILABLE
    with grpc.insecure_channel(node.ready.address) as channel:
        assert node.error_of(channel).code() is grpc.StatusCode.UNAVAILABLE
    # What they tried has cost the front nothing.
    assert from_call(node.ask(own)) is not None


def test_the_front_speaks_to_no_other_worker(node):
    own, other = node.pair.front, make_pair().front
    assert node.ask(other).code() is grpc.StatusCode.UNAVAILABLE
    mine = MutualTls(authority=other.authority, certificate=own.certificate, key=own.key)
    assert node.ask(mine).code() is grpc.StatusCode.UNAVAILABLE
    assert node.ask(own, "127.0.0.1").code() is grpc.StatusCode.UNAVAILABLE


def test_it_listens_at_no_other_address(node):
    host, _, port = node.ready.address.rpartition(":")
    assert host == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", int(port))):
        pass


def test_what_is_said_is_passed_on_until_it_hangs(node):
    """Last of this file: a worker that stands still is ended, and its end told."""
    node.node.tell(ToWorker(stats=True).SerializeToString())
    messages: list[FromWorker] = []
    end = time.monotonic() + WAIT
    while not any(one.HasField("stats") for one in messages):
        assert time.monotonic() < end
        messages += [FromWorker.FromString(one) for one in node.node.said()[0]]
    assert not any(one.HasField("pulse") for one in messages)
    os.kill(node.pid, signal.SIGSTOP)
    ended = ""
    while not ended:
        assert time.monotonic() < end
        ended = node.node.said()[1]
    assert ended == "exit status -9"


async def refusal_of(compute: ComputeProcess) -> str:
    try:
        await compute.channel()
    except ServiceError as error:
        return error.message
    return ""


def test_what_a_cluster_refused_is_asked_again(tmp_path, monkeypatch):
    """Until then who asks is told why at once, and afterwards is served."""
    refusal = ServiceError(ErrorKind.VERSION_MISMATCH, "node seven has another torch")
    answers: list[ServiceError | None] = [refusal, None]

    async def accept(ready: ComputeReady) -> ServiceError | None:
        return answers.pop(0)

    async def nothing(is_healthy: bool) -> None: ...

    async def run() -> None:
        compute = ComputeProcess(Settings(root=tmp_path, device="cpu"), nothing, accept=accept)
        compute.start()
        try:
            assert await refusal_of(compute) == refusal.message
            async with asyncio.timeout(WAIT):
                while await refusal_of(compute):
                    await asyncio.sleep(0)
        finally:
            await compute.stop()

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]))
    monkeypatch.setattr(hosts.OwnMachine, "module", "first_word")
    monkeypatch.setattr(hosts.OwnMachine, "refused_seconds", 0.1)
    asyncio.run(run())
    assert answers == []


def test_a_port_without_certificates_is_not_opened():
    server = grpc.server(ThreadPoolExecutor(1))
    with pytest.raises(ValueError, match="with certificates"):
        open_port(server, ComputeOrder(socket="127.0.0.1:0"))
