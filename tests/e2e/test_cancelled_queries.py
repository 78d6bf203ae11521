"""Long queries are given up by their callers: the compute worker is free again, and others are served."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

import penult
from penult.wire import encode_refits, encode_spectra
from penult_kernels.linear.solve import Problem
from penult_kernels.trajectories.descend import descend
from penult_kernels.trajectories.settings import TrajectorySettings
from penult_proto.v1 import refits_pb2

LONG_PATH = {"optimizer": "gd", "learning_rate": 1e-3, "steps": 1_000_000}
MANY_REPLICATES = 100_000
"""Both take minutes."""
WAIT = 60.0
"""Seconds that an answer may take."""


class Worker:
    """The compute worker of a server, as its operating system sees it."""

    def __init__(self, server_pid: int) -> None:
        self.pid = next(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is(pid, server_pid))

    def _is(self, pid: int, parent: int) -> bool:
        try:
            with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline") as command:
                return stat.read().rsplit(")", 1)[1].split()[1] == str(parent) and "compute.worker" in command.read()
        except OSError:
            return False

    def ticks(self) -> int:
        """Processor time it has used, in ticks."""
        with open(f"/proc/{self.pid}/stat") as stat:
            return sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))

    def works(self) -> None:
        """Return once it has been busy for half a second of processor time from now."""
        end = self.ticks() + os.sysconf("SC_CLK_TCK") // 2
        while self.ticks() < end:
            os.sched_yield()


@pytest.fixture(scope="module")
def client(client_alone):
    """Its worker is watched."""
    return client_alone


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    y, a = np.repeat([0, 1], 400), np.tile([0, 1], 400)
    return {"features": (rng.standard_normal((800, 96)) + 0.3 * y[:, None]).astype(np.float32), "y": y, "a": a}


@pytest.fixture(scope="module")
def mine(client, arrays):
    return client.features.upload(**arrays)


@pytest.fixture
def worker(client, mine):
    """The worker that answers, which lives on."""
    client.spectra(mine, top_k=1, replicates=0)
    pid = json.loads((Path(client.info().root) / "server.json").read_text())["pid"]
    worker = Worker(pid)
    yield worker
    assert Worker(pid).pid == worker.pid


def long_spectra(client: penult.Client, mine: penult.FeatureSet) -> grpc.Future:
    request = encode_spectra.spectra_request(mine, replicates=MANY_REPLICATES)
    return client.connection.stubs.spectra.ComputeSpectra.future(request, metadata=client.connection._metadata)


def long_refit(client: penult.Client, mine: penult.FeatureSet) -> grpc.Future:
    one = encode_refits.refit_request({"features": mine, "path": LONG_PATH, "standardize": False})
    request = refits_pb2.ComputeRefitsRequest(requests=[one])
    return client.connection.stubs.refits.ComputeRefits(request, metadata=client.connection._metadata)


@pytest.mark.parametrize("ask", [long_spectra, long_refit])
def test_a_query_that_is_given_up_frees_the_worker(client, mine, arrays, worker, ask: Callable[..., grpc.Future]):
    features, y = arrays["features"], arrays["y"]
    abandoned = ask(client, mine)
    worker.works()
    # Other questions each time: an answer that is stored would not need the worker.
    top_k = 3 if ask is long_refit else 4
    steps = 50 if ask is long_refit else 40
    path = {"optimizer": "gd", "learning_rate": 0.01, "steps": steps}
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(client.spectra, mine, top_k=top_k, replicates=20, timeout=WAIT),
            pool.submit(client.refit, mine, path=path, standardize=False, timeout=WAIT),
        ]
        worker.works()
        assert not abandoned.done()
        abandoned.cancel()
        spectra, refit = (answer.result() for answer in waiting)
    covariance = np.cov(features[(y == 0) & (arrays["a"] == 0)].astype(float).T, bias=True)
    np.testing.assert_allclose(spectra.eigenvalues[0], np.linalg.eigvalsh(covariance)[::-1][:top_k], rtol=1e-6)
    (fit,) = descend(features, y, 2, [Problem()], [TrajectorySettings(learning_rate=0.01, steps=steps)])
    np.testing.assert_allclose(refit.head.weight, fit.weight, rtol=1e-4, atol=1e-6)


def test_one_of_two_callers_of_an_equal_query_goes(client, mine, worker):
    """The other still gets the answer, of work started for both."""
    with penult.local(client.info().root) as other, ThreadPoolExecutor(1) as pool:
        busy = long_refit(client, mine)
        worker.works()
        request = encode_spectra.spectra_request(mine, top_k=2, replicates=10)
        call = client.connection.stubs.spectra.ComputeSpectra
        leaving = call.future(request, metadata=client.connection._metadata)
        staying = pool.submit(other.spectra, mine, top_k=2, replicates=10, timeout=WAIT)
        leaving.cancel()
        busy.cancel()
        assert staying.result().eigenvalues.shape == (4, 2)
