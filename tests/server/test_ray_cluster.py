"""What is asked of a Ray cluster before anything runs there. None of these tests needs Ray."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.front.jobs.devices import JOBS_ON_CLUSTER, placed
from penult_server.machine import ray_cluster
from penult_server.machine.ray_cluster import PATIENCE, check_ray_cluster
from penult_server.settings import Settings

TOKEN = "secret"


class Cluster(grpc.GenericRpcHandler):
    """Answers as Ray's head does: who has the token, or, without one, anyone."""

    def __init__(self, token: str) -> None:
        self._token = token

    def service(self, details):
        assert details.method == "/ray.rpc.NodeInfoGcsService/CheckAlive"
        shown = dict(details.invocation_metadata).get("authorization")

        def answer(request, context):
            if self._token and shown != f"Bearer {self._token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def head(monkeypatch, tmp_path):
    """Starts a cluster's head with a token, or without, and says where it is."""
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(ray_cluster, "PROCESSES", tmp_path)
    running(tmp_path, "raylet")
    started = []

    def start(token):
        started.append(grpc.server(ThreadPoolExecutor(1), (Cluster(token),)))
        port = started[-1].add_insecure_port("127.0.0.1:0")
        started[-1].start()
        return f"127.0.0.1:{port}"

    yield start
    for one in started:
        one.stop(None)


def running(processes, program):
    """Make the system's list of processes one of this program, and one that ended while it was looked at."""
    (processes / "12").mkdir(exist_ok=True), (processes / "13").mkdir(exist_ok=True)
    (processes / "12" / "cmdline").write_bytes(f"/any/{program}\0--node_id=3f\0".encode())


def variables(address, token=TOKEN, mode="token"):
    return {"RAY_ADDRESS": address, "RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": token}


def refusal(of, patience=PATIENCE):
    began = time.monotonic()
    with pytest.raises(ServiceError) as error:
        check_ray_cluster(of, patience)
    assert time.monotonic() - began < PATIENCE
    return error.value.kind


def test_a_cluster_with_a_token_is_taken(head, tmp_path):
    address = head(TOKEN)
    assert check_ray_cluster(variables(address)) == address
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    in_file = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    assert check_ray_cluster(in_file) == address


def test_a_machine_that_is_no_node_is_told_how_to_be_one(head, tmp_path):
    address = head(TOKEN)
    running(tmp_path, "python")
    with pytest.raises(ServiceError, match=f"ray start --address {address} --num-cpus 0") as error:
        check_ray_cluster(variables(address))
    assert error.value.kind is ErrorKind.WORKER_DIED  # a node may come later, too
    running(tmp_path, "raylet")
    assert check_ray_cluster(variables(address)) == address


def test_a_cluster_that_takes_anyone_is_refused_at_once(head):
    assert refusal(variables(head(""))) is ErrorKind.NOT_ALLOWED


def test_so_is_one_with_another_token(head):
    assert refusal(variables(head("another"))) is ErrorKind.UNAUTHENTICATED


def test_who_shows_no_token_asks_nobody(head):
    address = head(TOKEN)
    assert refusal(variables(address, mode="disabled")) is ErrorKind.NOT_ALLOWED
    assert refusal(variables(address, token="")) is ErrorKind.NOT_ALLOWED


@pytest.mark.parametrize("address", ["", "auto", "ray://10.0.0.1:10001"])
def test_an_address_is_a_host_and_a_port(head, address):
    assert refusal(variables(address)) is ErrorKind.INVALID_ARGUMENT


def test_a_cluster_that_does_not_answer_may_come_later(head):
    assert refusal(variables("127.0.0.1:1")) is ErrorKind.WORKER_DIED


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServiceError, match="extra `ray`"):
        check_ray_cluster({})


def test_a_cluster_shares_out_its_own_devices(tmp_path):
    settings = placed(Settings(root=tmp_path, engine="ray"), {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert (settings.job_devices, settings.max_running_jobs) == ((), JOBS_ON_CLUSTER)
    # Queries stay with this machine's GPUs, unless compute workers are asked for: more than it has, too.
    assert (settings.compute_on_cluster, settings.compute_workers, settings.compute_devices) == (False, 2, ("0", "1"))
    settings = placed(Settings(root=tmp_path, engine="ray", compute_workers=3), {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert (settings.compute_on_cluster, settings.compute_workers, settings.compute_devices) == (True, 3, ())
    assert not placed(Settings(root=tmp_path, compute_workers=2), {"CUDA_VISIBLE_DEVICES": "0,1"}).compute_on_cluster
    with pytest.raises(ServiceError, match="shares out its own"):
        Settings(root=tmp_path, engine="ray", job_devices=("0",))
    with pytest.raises(ServiceError, match="engine must be one of local, ray"):
        Settings(root=tmp_path, engine="slurm")


def test_who_has_one_machine_loads_no_ray():
    modules = "penult_server.__main__, penult_server.front.server, penult_server.jobs.worker, penult_server.jobs.work"
    check = f"import sys, {modules}; sys.exit(any(one.split('.')[0] == 'ray' for one in sys.modules))"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_what_runs_on_nodes_loads_nothing_before_its_threads_are_settled():
    check = "import sys, penult_server.jobs.fleets.on_nodes; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
