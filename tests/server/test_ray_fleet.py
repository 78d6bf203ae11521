"""What is a Ray cluster's own: versions, shares of nodes, and a node that dies."""

import os
import threading

import pytest
from fleet_driver import PYTHON_PATH, fleet_of
from ray_clusters import cluster_of, needs_ray
from test_fleets import wait_until

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.jobs.fleets import on_nodes

needs_ray()


@pytest.fixture
def cluster_module(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    from penult_server.jobs.fleets.ray_fleet import cluster

    return cluster


@pytest.mark.parametrize(
    ("nodes", "n", "with_gpu", "cores"),
    [
        ([(2, 0)], 2, False, 1),
        ([(2, 0)], 1, False, 2),
        ([(16, 0), (16, 0)], 4, False, 8),
        ([(16, 0), (4, 0)], 5, False, 4),
        ([(2, 0)], 9, False, 1),
        ([(64, 8), (16, 0)], 1, True, 8),
        ([(64, 8), (16, 4)], 3, True, 4),
        ([(2, 8)], 1, True, 1),
    ],
)
def test_processes_share_the_cores_of_nodes(cluster_module, nodes, n, with_gpu, cores):
    assert cluster_module.share(nodes, n, with_gpu=with_gpu) == cores


@pytest.mark.parametrize(
    ("nodes", "with_gpu", "n"),
    [
        ([(0, 0), (64, 8), (64, 8)], True, 16),
        ([(64, 8), (64, 0)], False, 16),
        ([(0, 0), (16, 0), (2, 0)], False, 3),
        ([(2, 0)], False, 1),
        ([(0, 0)], False, 1),
    ],
)
def test_a_cluster_is_used_where_nobody_says_how_much_of_it(cluster_module, nodes, with_gpu, n):
    assert cluster_module.usual_at_once(nodes, with_gpu=with_gpu) == n


def test_a_node_with_something_else_installed_is_named(cluster_module):
    ours = on_nodes.versions()
    assert {"python", "torch", "penult"} <= ours.keys()
    cluster_module.check_same("seven (10.0.0.7)", ours, ours)
    with pytest.raises(ServiceError, match=r"node seven .* torch 1\.0 there, .* here") as error:
        cluster_module.check_same("seven (10.0.0.7)", ours, ours | {"torch": "1.0"})
    assert error.value.kind is ErrorKind.VERSION_MISMATCH
    with pytest.raises(ServiceError, match="penult is missing there"):
        cluster_module.check_same("seven", ours, {})


@pytest.mark.slow
def test_a_node_that_dies_costs_its_own_tasks_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PYTHON_PATH)
    alive, signal = tmp_path / "alive", tmp_path / "signal"
    alive.mkdir()
    signal.mkdir()
    with cluster_of(1, 1) as (cluster, nodes):
        fleet = fleet_of("ray")
        assert fleet.capacity().cpus == 2
        order = {"do": "until", "alive": str(alive), "signal": str(signal)}
        answers = fleet.tasks("extract_range", [order] * 4, at_once=2)

        def kill():
            # One of each node: its raylet is their parent.
            assert len({path.read_text(encoding="utf-8") for path in alive.iterdir()}) == 2
            cluster.remove_node(nodes[1], allow_graceful=False)
            (signal / "go").touch()

        threading.Thread(target=lambda: (wait_until(lambda: len(os.listdir(alive)) == 2, "two"), kill())).start()
        found = {index: outcome.value() for index, outcome in answers}
        fleet.close()
    assert found == {index: {"lives": True} for index in range(4)}
