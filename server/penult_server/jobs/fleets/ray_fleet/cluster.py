"""What a Ray cluster has: nodes, their cores and GPUs, and what is installed there."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false, reportAttributeAccessIssue=false
# Ray is annotated in part.

from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.jobs.fleets import on_nodes
from penult_server.jobs.fleets.fleet import Json, WorkerDiedError
from penult_server.machine.probes import probe_in
from penult_server.machine.ray_cluster import no_node

CORES_OF_A_TASK = 8
"""Cores for one task at a time on nodes without GPUs, where nobody has said how many."""
NODE_SECONDS = 60.0
"""How long a node may take to say its versions: it starts a process for that."""


def connect(address: str) -> None:
    """Make this process a driver. Raises ServiceError: VERSION_MISMATCH for another Ray or Python, WORKER_DIED."""
    try:
        ray.init(address=address, configure_logging=False, log_to_driver=True)
    except RuntimeError as error:
        if "No node info found" in str(error):  # a node that runs here is another cluster's
            raise no_node(address) from error
        if "ersion mismatch" not in str(error):
            raise
        raise ServiceError(ErrorKind.VERSION_MISMATCH, f"the Ray cluster at {address}: {error}") from error
    except ConnectionError as error:
        raise ServiceError(
            ErrorKind.WORKER_DIED, f"the Ray cluster at {address} has gone ({error}); see that it runs (`ray status`)"
        ) from error


def nodes() -> list[tuple[int, int]]:
    """Cores and GPUs of each node."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(one.get("CPU", 0)), int(one.get("GPU", 0))) for one in found]


def share(nodes: list[tuple[int, int]], n: int, *, with_gpu: bool) -> int:
    """Cores of each of `n` processes beside each other on nodes of so many cores and GPUs; at least one.

    Who has a GPU gets that GPU's share of its node, however few they are: others want the rest.
    """
    if with_gpu:
        return max(1, min(cores // gpus for cores, gpus in nodes if gpus))
    for each in range(max((cores for cores, _ in nodes), default=1), 1, -1):
        if sum(cores // each for cores, _ in nodes) >= n:
            return each
    return 1


def usual_at_once(nodes: list[tuple[int, int]], *, with_gpu: bool) -> int:
    """How many tasks at a time use nodes of so many cores and GPUs well.

    With GPUs one for each. Without, one for 8 cores, and one for a node that has fewer: a process of tasks has half a
    gigabyte and takes seconds to start, and up to about there its threads gain as much as another process would.
    Asking for more than is free costs nothing: what has no space waits while the others go on.
    """
    if with_gpu:
        return max(1, sum(gpus for _, gpus in nodes))
    return max(1, sum(max(1, cores // CORES_OF_A_TASK) for cores, _ in nodes if cores))


def check_nodes(root: Path) -> None:
    """Raise ServiceError for a node on which something else is installed than here (VERSION_MISMATCH), or that is to
    work and does not see the server's root (FILES_MISSING).
    """
    with probe_in(root) as probe:
        asked = {node["NodeID"]: (node, _ask(node["NodeID"], root, probe)) for node in ray.nodes() if node["Alive"]}
        for node, said in asked.values():
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            theirs = _answer(name, said)
            if theirs is None and _lives(node["NodeID"]):
                theirs = _answer(name, _ask(node["NodeID"], root, probe))
            if theirs is not None:
                works = node["Resources"].get("CPU", 0) > 0
                check_place(name, root, theirs if works else {**theirs, "sees": True})
            elif _lives(node["NodeID"]):
                raise WorkerDiedError(f"node {name} lives and ends what it is asked; see its log, or take it out")


def _ask(node_id: str, root: Path, probe: str) -> Any:
    """What becomes the node's own account of itself."""
    look = ray.remote(num_cpus=0, max_retries=0)(on_nodes.look)
    return look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(
        str(root), probe
    )


def _answer(name: str, said: Any) -> Json | None:
    """What a node said; None where its process, or the node, ended first. Raises WorkerDiedError where it says nothing
    in time or cannot look."""
    try:
        return ray.get(said, timeout=NODE_SECONDS)
    except GetTimeoutError:
        raise WorkerDiedError(f"node {name} does not say its versions within {NODE_SECONDS:.0f} s") from None
    except RayTaskError as error:
        if "ModuleNotFoundError" not in str(error):
            raise WorkerDiedError(f"node {name} cannot look at itself: {error}") from error
        return {"versions": {}, "sees": True}
    except RayError as error:
        if "ModuleNotFoundError" not in str(error):
            return None
        return {"versions": {}, "sees": True}


def _lives(node_id: str) -> bool:
    return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())


def check_place(node: str, root: Path, said: Json) -> None:
    """Raise ServiceError where what a node has said of itself (`on_nodes.look`) is not this machine's."""
    check_same(node, on_nodes.versions(), said["versions"])
    if not said["sees"]:
        raise ServiceError(
            ErrorKind.FILES_MISSING,
            f"node {node} does not see the server's root {root}: what runs there would read and write another one, "
            "with a bucket, too; mount it there under the same path, or take the node out of the cluster",
            node=node,
        )


def check_same(node: str, ours: Json, theirs: Json) -> None:
    """Raise ServiceError (VERSION_MISMATCH) for what a node has in another version than this machine."""
    if other := on_nodes.different(ours, theirs):
        raise ServiceError(
            ErrorKind.VERSION_MISMATCH,
            f"node {node} would compute something else: {other}; install the same there, or take the node "
            "out of the cluster",
            node=node,
        )
