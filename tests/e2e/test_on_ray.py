"""A real server whose jobs run on a Ray cluster of this machine."""

import json
import os
from pathlib import Path

import pytest
from ray_clusters import TOKEN, cluster_of, needs_ray

import penult
from penult_proto.v1 import jobs_pb2

needs_ray()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
VIT = {
    "dataset": "shapes",
    "backbone": "test_vit",
    "pretrained": False,
    "batch_size": 8,
    "inputs": penult.Images(size=32),
    "evaluate": ["val"],
}


@pytest.fixture(scope="module")
def undisturbed(client, table):
    """What one machine makes of the same requests."""
    client.datasets.register("shapes", table)
    return OneMachine(client)


class OneMachine:
    def __init__(self, client):
        self.client = client

    def __call__(self, **options):
        return self.client.finetune(**VIT | options).wait()


def files_of(client, checkpoint):
    """Digests of all files of the features of two splits: rows, labels, moments."""
    sets = client.extract(checkpoint, splits=["train", "val"]).wait()
    stored = [Path(client.info().root, "features", one.digest, "manifest.json") for one in sets.values()]
    return [json.loads(path.read_text(encoding="utf-8"))["files"] for path in stored]


def digests(run):
    return [one.digest for one in run.checkpoints]


def test_runs_on_a_cluster_are_those_of_one_machine(serve, table, undisturbed):
    with cluster_of(2):
        server = serve(None, "--engine", "ray", "--device", "cpu", "--extract-workers", "2")
        with server.connect() as client:
            client.datasets.register("shapes", table)
            one = client.finetune(**VIT, epochs=1).wait()
            assert digests(one) == digests(undisturbed(epochs=1))
            two = client.finetune(**VIT, epochs=1, compute=penult.Compute(processes=2)).wait()
            assert digests(two) == digests(undisturbed(epochs=1, compute=penult.Compute(processes=2)))
            with pytest.raises(penult.InvalidRequest, match="each takes a core, and the cluster has 2"):
                client.finetune(**VIT, epochs=1, compute=penult.Compute(processes=3)).wait()
            assert files_of(client, one.checkpoints[-1]) == files_of(undisturbed.client, one.checkpoints[-1])
            cancelled = client.finetune(**VIT, epochs=300)
            after_metrics(cancelled, cancelled.cancel)
            with pytest.raises(penult.Cancelled):
                cancelled.wait()
        server.stop()


def test_a_run_whose_node_dies_goes_on_on_another(serve, table, undisturbed):
    with cluster_of(0, 2) as (cluster, nodes):
        server = serve(None, "--engine", "ray", "--device", "cpu")
        with server.connect() as client:
            client.datasets.register("shapes", table)
            job = client.finetune(**VIT, epochs=6, record=penult.Record(save_every=1))

            def move():
                cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20)
                cluster.remove_node(nodes[1], allow_graceful=False)

            after_metrics(job, move)
            run = job.wait()
            assert job.attempt == 2
            assert client.runs.manifest(run).resumed_at[0] > 0
            assert digests(run) == digests(undisturbed(epochs=6))
        server.stop()


def after_metrics(job, act):
    """Do something as soon as a job has reported metrics after its start."""
    request = jobs_pb2.WatchJobRequest(id=job.id)
    with job._connection.stream(job._connection.stubs.jobs.WatchJob, request, timeout=200) as events:
        next(event for event in events if event.HasField("metrics") and event.metrics.step)
    act()


def test_a_server_does_not_start_beside_a_cluster_that_takes_another_token(server_class, tmp_path, monkeypatch):
    with cluster_of(0):
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN[::-1])
        with pytest.raises(AssertionError, match="has another token than this machine"):
            server_class(Path(tmp_path), "--engine", "ray")
    assert os.environ.get("RAY_ADDRESS") is None
