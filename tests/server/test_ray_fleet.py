"""What is a Ray cluster's own: versions, shares of nodes, and a node that dies."""

import os
import threading
from pathlib import Path

import pytest
from fleet_driver import PYTHON_PATH, fleet_of
from range_entries import HOLD, SMALL
from ray_clusters import cluster_of, needs_ray
from test_fleets import DEADLINE, wait_until
from test_range_tasks import assert_equal_sets, extracted

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.jobs.fleets import on_nodes
from penult_server.jobs.fleets.fleet import WorkerDiedError

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


def said_by_nodes(module, monkeypatch, answers, lives):
    """One node, which answers the check so one time after another, and is in the cluster's list so at each look."""
    node = {"NodeID": "a", "NodeManagerHostname": "seven", "NodeManagerAddress": "10.0.0.7", "Resources": {"CPU": 2.0}}
    answers, lives = iter(answers), iter(lives)
    monkeypatch.setattr(module.ray, "nodes", lambda: [node | {"Alive": next(lives)}])
    monkeypatch.setattr(module, "_ask", lambda *_: next(answers))
    monkeypatch.setattr(module, "_answer", lambda _, said: said)


SEEN = {"versions": on_nodes.versions(), "sees": True}


def test_a_node_that_has_just_died_is_passed_over(cluster_module, monkeypatch, tmp_path):
    said_by_nodes(cluster_module, monkeypatch, [None], [True, False, False])
    cluster_module.check_nodes(tmp_path)


def test_a_node_that_lives_is_asked_again(cluster_module, monkeypatch, tmp_path):
    said_by_nodes(cluster_module, monkeypatch, [None, SEEN], [True, True])
    cluster_module.check_nodes(tmp_path)
    said_by_nodes(cluster_module, monkeypatch, [None, SEEN | {"sees": False}], [True, True])
    with pytest.raises(ServiceError, match=r"seven \(10\.0\.0\.7\) does not see the server's root"):
        cluster_module.check_nodes(tmp_path)


def test_a_node_that_lives_and_does_not_answer_is_refused(cluster_module, monkeypatch, tmp_path):
    """It was passed over as dead, and the job ran there unchecked."""
    said_by_nodes(cluster_module, monkeypatch, [None, None], [True, True, True])
    with pytest.raises(WorkerDiedError, match="lives and ends what it is asked"):
        cluster_module.check_nodes(tmp_path)


class Nodes:
    """A head that is a node with a core, and a second node for each test."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.second = None

    def add(self):
        self.second = self.cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)

    def kill_second_when(self, folder, n, signal):
        """Kill it, and let those that wait go on, as soon as so many tasks are under way, one of each node."""

        def kill():
            # Its raylet is the parent of what runs on a node.
            assert len({path.read_text(encoding="utf-8") for path in folder.iterdir()}) == n
            self.cluster.remove_node(self.second, allow_graceful=False)
            (signal / "go").touch()

        threading.Thread(
            target=lambda: (wait_until(lambda: len(os.listdir(folder)) == n, "tasks", 4 * DEADLINE), kill())
        ).start()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHON_PATH)
        patch.setenv(HOLD, str(tmp_path_factory.mktemp("hold")))
        with cluster_of(1) as (cluster, _):
            yield Nodes(cluster)


@pytest.fixture
def two_nodes(nodes):
    nodes.add()
    return nodes


@pytest.mark.slow
def test_a_node_that_dies_costs_its_own_tasks_alone(tmp_path, two_nodes):
    alive, signal = tmp_path / "alive", tmp_path / "signal"
    alive.mkdir()
    signal.mkdir()
    fleet = fleet_of("ray")
    assert fleet.capacity().cpus == fleet.usual_at_once() == 2
    order = {"do": "until", "alive": str(alive), "signal": str(signal)}
    answers = fleet.tasks("extract_range", [order] * 4, at_once=2)
    two_nodes.kill_second_when(alive, 2, signal)
    found = {index: outcome.value() for index, outcome in answers}
    fleet.close()
    assert found == {index: {"lives": True} for index in range(4)}


@pytest.mark.slow
def test_an_extraction_whose_node_dies_has_the_bits_of_one_machine(tmp_path, two_nodes, set_budget):
    """Of the ranges of two splits, one is on the node that dies, half done; it is done again on the other."""
    set_budget(**SMALL)
    from penult_server.jobs.fleets.ray_fleet.fleet import RayFleet

    folder = Path(os.environ[HOLD])
    two_nodes.kill_second_when(folder, 2, folder)
    # No number of workers is given: the cluster has two nodes.
    found, said = extracted(tmp_path / "cluster", 0, RayFleet(tmp_path / "cluster", "cpu", table="range_entries"))
    begun = [path.name.rpartition("-") for path in folder.iterdir() if path.name != "go"]
    orders = [order for order, _, _ in begun]
    assert len(orders) == len(set(orders)) + 1, "one was done twice"
    assert {pid for order, _, pid in begun if orders.count(order) == 2} == {pid for _, _, pid in begun}
    expected, _ = extracted(tmp_path / "here", 1)
    assert_equal_sets(found, expected)
    n = sum(one.manifest.n_examples for one in found)
    assert said[-1][1:] == (n, n)
