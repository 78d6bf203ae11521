"""What a Ray cluster has: nodes, their cores and GPUs, and what is installed there."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false, reportAttributeAccessIssue=false
# Ray is annotated in part.

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError
from penult_server.jobs.fleets import on_nodes
from penult_server.jobs.fleets.fleet import Json, WorkerDiedError

NODE_SECONDS = 60.0
"""How long a node may take to say its versions: it starts a process for that."""


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


def check_versions() -> None:
    """Raise ServiceError (VERSION_MISMATCH) for a node on which something else is installed than here."""
    ours = on_nodes.versions()
    asked = ray.remote(num_cpus=0, max_retries=0)(on_nodes.versions)
    said = {
        f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})": asked.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"]
    }
    for node, ref in said.items():
        try:
            theirs: Json = ray.get(ref, timeout=NODE_SECONDS)
        except GetTimeoutError:
            raise WorkerDiedError(f"node {node} does not say its versions within {NODE_SECONDS:.0f} s") from None
        except RayError as error:
            if "ModuleNotFoundError" not in str(error):
                continue  # it has died meanwhile, and gets no work
            theirs = {}
        check_same(node, ours, theirs)


def check_same(node: str, ours: Json, theirs: Json) -> None:
    """Raise ServiceError (VERSION_MISMATCH) for what a node has in another version than this machine."""
    other = [
        f"{name} {theirs.get(name, 'is missing')} there, {ours.get(name, 'is missing')} here"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
    if other:
        raise ServiceError(
            ErrorKind.VERSION_MISMATCH,
            f"node {node} would compute something else: {'; '.join(other)}; install the same there, or take the node "
            "out of the cluster",
            node=node,
        )
