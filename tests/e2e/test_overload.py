"""A real server under more than it can do: refused early and evenly, and quick to everybody else meanwhile."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from penult_proto import PROTOCOL
from penult_proto.errors import said_by
from penult_proto.v1 import info_pb2, info_pb2_grpc, refits_pb2, refits_pb2_grpc

N_CLIENTS = 64


@pytest.fixture(scope="module")
def server(serve_for_a_file):
    return serve_for_a_file("--max-computing-per-user", "4", "--device", "cpu")


class Raw:
    """Calls as they are, which are not tried again."""

    def __init__(self, server) -> None:
        self.channel = grpc.insecure_channel(server.record["address"])
        self.metadata = (
            ("authorization", f"Bearer {server.record['token']}"),
            ("penult-protocol", str(PROTOCOL)),
        )
        self.refits = refits_pb2_grpc.RefitServiceStub(self.channel)
        self.info = info_pb2_grpc.InfoServiceStub(self.channel)

    def refit(self, features: str, seed: int) -> str:
        """Its outcome: "served", or the kind of the refusal."""
        request = refits_pb2.RefitRequest(feature_set=features, preset="dfr", seed=seed, repeats=2)
        try:
            message = refits_pb2.ComputeRefitsRequest(requests=[request])
            outcomes = list(self.refits.ComputeRefits(message, metadata=self.metadata, timeout=120))
        except grpc.RpcError as error:
            return said_by((one.key, one.value) for one in error.trailing_metadata()).kind
        assert outcomes[0].HasField("refit")
        return "served"

    def look(self) -> float:
        begun = time.monotonic()
        self.info.GetInfo(info_pb2.GetInfoRequest(), metadata=self.metadata, timeout=60)
        return time.monotonic() - begun


def overloaded(server, seconds: float) -> None:
    with server.connect() as client:
        rng = np.random.default_rng(0)
        y = rng.integers(0, 2, 600)
        x = (rng.standard_normal((600, 32)) + y[:, None]).astype(np.float32)
        features = client.features.upload(features=x, y=y, a=rng.integers(0, 2, 600)).digest
    outcomes, is_over, raw = Counter[str](), threading.Event(), Raw(server)

    def work(number: int) -> None:
        count = 0
        while not is_over.is_set():
            count += 1
            outcome = raw.refit(features, number * 10**6 + count)
            outcomes[outcome] += 1
            if outcome == "busy":
                is_over.wait(0.2)

    with ThreadPoolExecutor(N_CLIENTS) as pool:
        for number in range(N_CLIENTS):
            pool.submit(work, number)
        end = time.monotonic() + seconds
        looks = []
        while time.monotonic() < end or not outcomes["served"]:
            looks.append(raw.look())
            is_over.wait(0.05)
        is_over.set()
    assert set(outcomes) == {"served", "busy"}, outcomes
    # Who only looks was never refused, and did not wait for those who compute: a query takes many times as long.
    assert sorted(looks)[len(looks) // 2] < 0.5
    raw.channel.close()


def test_overload_is_refused_at_once_and_looking_goes_on(server):
    overloaded(server, 3)


@pytest.mark.slow
def test_overload_for_twenty_seconds(server):
    overloaded(server, 20)


def test_scripts_that_ask_for_too_much_at_once_get_all_of_it_a_little_later(server):
    with server.connect() as client:
        features = client.features.upload(features=np.eye(40, dtype=np.float32), y=np.arange(40) % 2)
        with ThreadPoolExecutor(36) as pool:
            spectra = pool.map(lambda k: client.spectra(features, top_k=1 + k, replicates=0, timeout=120), range(12))
            # Of these more are let in than may compute: the worker's next batch takes them all.
            refits = pool.map(lambda k: client.refit(features, l2=0.1 + k, timeout=120), range(24))
            assert [one.eigenvalues.shape[1] for one in spectra] == list(range(1, 13))
            assert all(one.certificate.converged for one in refits)


def test_a_planned_stop_is_said_to_whoever_asks(server):
    """The last test of the file: it ends the server."""
    raw = Raw(server)
    raw.look()
    said = Counter[str]()
    server.process.terminate()
    while server.process.poll() is None:
        try:
            raw.look()
        except grpc.RpcError as error:
            details = said_by((one.key, one.value) for one in error.trailing_metadata() or ())
            said[details.kind if details else "unreachable"] += 1
            if details is None:
                break
            assert details.retry_after
    assert server.process.wait(100) == 0
    raw.channel.close()
