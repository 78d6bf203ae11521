"""Ray clusters of this machine alone, which ask for a token."""

import importlib.util
import shutil
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

TOKEN = "a-token-of-the-tests-a-token-of-the-tests-0123456789"
NODE_SECONDS = 240.0


def needs_ray():
    """Skip where Ray is not installed, without importing it: it reads its environment when it is."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: fleets of clusters are not tested", allow_module_level=True)


def patient(get_node):
    """Wait for a node that starts: Ray's own patience of 30 s is too short on a machine that runs other tests."""

    def wait(*arguments):
        deadline = time.monotonic() + NODE_SECONDS
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    return wait


@contextmanager
def cluster_of(*nodes):
    """A cluster with nodes of so many cores, the first the head, and what whoever uses it has in the environment."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray._private import services
        from ray._raylet import Config
        from ray.cluster_utils import Cluster

        patch.setattr(services, "get_node", patient(services.get_node))
        # Read when Ray was first imported, which another test may have done.
        Config.initialize("")
        # Its sockets lie there, whose paths must be short.
        place = tempfile.mkdtemp(prefix="penult-ray-", dir="/tmp")
        # It writes its address down there, wherever its own folder is.
        Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)
        few = {"object_store_memory": 100 * 2**20, "include_dashboard": False, "temp_dir": place}
        cluster = Cluster()
        try:
            added = [cluster.add_node(num_cpus=cores, **few) for cores in nodes]
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield cluster, added
        finally:
            cluster.shutdown()
            shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_cluster():
    """One node with two cores."""
    needs_ray()
    with cluster_of(2) as (cluster, _):
        yield cluster
