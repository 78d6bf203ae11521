"""Compute workers as actors of a Ray cluster of this machine: `pytest -m slow tests/e2e/test_compute_on_ray.py`."""

import importlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from ray_clusters import cluster_of, needs_ray
from test_compute_workers import InProcess, long_refits, refit, spectra, until, write_set

import penult
from penult_proto.errors import ErrorKind
from penult_proto.v1 import features_pb2, features_pb2_grpc
from penult_server.front.workers.routing import ranked

needs_ray()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
N_WORKERS = 2
LONG = 120.0
"""Seconds that a worker may take to come back: a driver, an actor and a worker are started."""
# One checkpoint for each worker, at its home.
CHECKPOINTS = [
    next(key for number in range(100) if ranked(key := f"{number:064x}", N_WORKERS)[0] == home)
    for home in range(N_WORKERS)
]


@pytest.fixture(scope="module")
def cluster():
    """A head without cores, and two nodes of which each has space for both workers, the last for one more."""
    with cluster_of(0, 2, 3) as (made, nodes):
        yield made, nodes


@pytest.fixture(scope="module")
def on_cluster(cluster, tmp_path_factory):
    server = InProcess(tmp_path_factory.mktemp("several"), N_WORKERS, engine="ray")
    try:
        until(server.is_up, LONG)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    server = InProcess(tmp_path_factory.mktemp("single"), 1)
    until(server.is_up)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def sets(on_cluster, here):
    made = []
    for home, checkpoint in enumerate(CHECKPOINTS):
        seeds = {split: 1 + 10 * home + number for number, split in enumerate(("train", "test"))}
        for server in (here, on_cluster):
            own = {split: write_set(server, checkpoint, split, seed) for split, seed in seeds.items()}
        made.append(own)
    return made


def workers() -> list[psutil.Process]:
    """The workers' own processes on the cluster; each has the actor that keeps it for its parent."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended meanwhile
            if "penult_server.compute.worker" in one.cmdline() and "OnNode" in one.parent().name():
                found.append(one)
    return found


def addresses(server: InProcess) -> list[str]:
    return [one.address for one in server.compute.workers]


def worker_at(address: str) -> psutil.Process:
    """The process that listens there."""
    (found,) = (one for one in workers() if int(address.rpartition(":")[2]) in ports(one))
    return found


def ports(process: psutil.Process) -> set[int]:
    """Where it listens."""
    return {one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}


def test_answers_have_the_bits_of_one_machine(on_cluster, here, sets):
    assert len(workers()) == N_WORKERS
    assert len({one.parent().pid for one in workers()}) == N_WORKERS
    for own in sets:
        ends = [spectra(one.client, own, 1) for one in (on_cluster, here)]
        np.testing.assert_array_equal(*ends)
        heads = [refit(one.client, own, 7).head.weight for one in (on_cluster, here)]
        np.testing.assert_array_equal(*heads)
    assert on_cluster.residents() == [set(own.values()) for own in sets]


def test_an_upload_goes_to_a_node_and_is_read_here(on_cluster):
    x = np.random.default_rng(3).standard_normal((50, 4)).astype(np.float32)
    stored = on_cluster.client.features.upload(x, np.arange(50) % 2)
    np.testing.assert_array_equal(on_cluster.client.features.read(stored).features, x)
    folder = on_cluster.root / "features" / stored.digest
    assert folder.stat().st_mode & 0o077 == 0
    on_cluster.client.features.delete(stored)
    assert not folder.exists()


def test_nobody_but_the_front_is_answered(on_cluster):
    request = features_pb2.ReadFeaturesRequest(feature_set="0" * 64)
    for address in addresses(on_cluster):
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as error:
            next(features_pb2_grpc.FeatureServiceStub(channel).ReadFeatures(request, timeout=30))
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    # Neither its key nor its certificate lies anywhere, nor is in a command line.
    for one in (*workers(), *(worker.parent() for worker in workers())):
        assert "PRIVATE KEY" not in " ".join(one.cmdline())
    assert not [path for path in on_cluster.root.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]


@pytest.mark.parametrize("what", ["worker", "actor"])
def test_a_death_costs_its_own_calls_and_is_made_good(on_cluster, sets, what):
    dying, other = (0, 1) if what == "worker" else (1, 0)
    before = addresses(on_cluster)[dying]
    process = worker_at(before)
    with (
        long_refits(on_cluster, sets[dying]["train"], 1) as (lost,),
        long_refits(on_cluster, sets[other]["train"], 1) as (undisturbed,),
    ):
        lost.watch().until("following paths")
        undisturbed.watch().until("following paths")
        os.kill(process.pid if what == "worker" else process.parent().pid, signal.SIGKILL)
        failure = next(lost.call).failure
        assert failure.kind == ErrorKind.WORKER_DIED
        assert not undisturbed.call.done()
    # Whoever asks meanwhile is answered by the other one.
    assert refit(on_cluster.client, sets[dying], 20 + dying).certificate.converged
    assert sets[dying]["train"] in on_cluster.residents()[other]
    until(on_cluster.is_up, LONG)
    until(lambda: addresses(on_cluster)[dying] != before, LONG)
    assert not process.is_running()
    assert refit(on_cluster.client, sets[dying], 30 + dying).certificate.converged
    assert sets[dying]["train"] in on_cluster.residents()[dying]


def test_a_node_that_dies_is_left_for_another(on_cluster, cluster, sets):
    made, nodes = cluster
    before = addresses(on_cluster)
    victims = [worker_at(one) for one in before]
    raylet = nodes[1].all_processes["raylet"][0].process.pid
    lost = [number for number, one in enumerate(victims) if raylet in {parent.pid for parent in one.parents()}]
    assert lost, "the workers are spread over the nodes"

    def ask(number: int) -> str:
        with penult.local(on_cluster.root) as client:
            try:
                return "" if refit(client, sets[number % N_WORKERS], 100 + number).certificate.converged else "?"
            except penult.PenultError as error:
                return error.kind

    made.remove_node(nodes[1], allow_graceful=False)
    with ThreadPoolExecutor(4) as pool:
        said = set(pool.map(ask, range(8)))
    assert said <= {"", ErrorKind.WORKER_DIED}
    until(lambda: all(addresses(on_cluster)[number] != before[number] for number in lost), LONG)
    until(on_cluster.is_up, LONG)
    for number in range(N_WORKERS):
        assert ask(number) == ""
    assert all(not victims[number].is_running() for number in lost)


def test_a_server_that_is_killed_leaves_no_worker(serve, cluster):
    before = {one.pid for one in workers()}
    server = serve(None, "--engine", "ray", "--device", "cpu", "--compute-workers", "1")
    until(lambda: len(workers()) == len(before) + 1, LONG)
    server.kill()
    until(lambda: {one.pid for one in workers()} <= before, LONG)
    assert "PRIVATE KEY" not in Path(server.root, "logs", "compute.log").read_text(encoding="utf-8")


def test_the_doctor_looks_at_every_node(cluster, tmp_path, monkeypatch):
    command = [sys.executable, "-m", "penult", "doctor", "--cluster", "--root", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert len(found["rows"]) == len(cluster[0].list_all_nodes())
    # Another machine's root of the same name, as the nodes see it.
    doctor = importlib.import_module("penult_server.cluster.doctor")
    monkeypatch.setattr(doctor, "probe_in", lambda root: nullcontext("cache/none"))
    judgement = doctor.examine(tmp_path)
    assert len(judgement.wrong) == len(found["rows"])
    assert all("not that of the server's machine" in one for one in judgement.wrong)
