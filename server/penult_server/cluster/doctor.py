"""`penult doctor --cluster`: looks at every node of the Ray cluster, from the machine of the server."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false, reportAttributeAccessIssue=false
# Ray is annotated in part.

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from penult_proto.errors import ErrorKind
from penult_server.cluster.judging import Judgement, Seen, judged
from penult_server.cluster.look import Look
from penult_server.errors import ServiceError
from penult_server.jobs.fleets.ray_fleet.cluster import NODE_SECONDS, connect
from penult_server.machine.probes import probe_in
from penult_server.machine.ray_cluster import check_ray_cluster
from penult_server.registry.integrity.place import place_of
from penult_server.settings import add_registry

EXIT_WRONG = 1
POSTGRES_PORT = 5432


def make_parser() -> argparse.ArgumentParser:
    """The options of `doctor --cluster`."""
    parser = argparse.ArgumentParser(
        prog="penult doctor --cluster",
        description="Every node of the Ray cluster that RAY_ADDRESS names: versions, token, whether root, store and "
        "registry are reached from there, clock, devices, free disk. 1 where a node cannot do its work.",
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="directory of the store")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    add_registry(parser)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status: 0, 1 where something is wrong, 2 for a wrong call."""
    options = make_parser().parse_args([one for one in arguments if one != "--cluster"])
    try:
        found = examine(options.root.resolve(), options.registry)
    except ServiceError as error:
        sys.stderr.write(f"penult doctor --cluster: {error.message} [{error.kind}]\n")
        return EXIT_WRONG
    sys.stdout.write(f"{json.dumps(asdict(found), indent=1) if options.json else found}\n")
    return EXIT_WRONG if found.wrong else 0


def examine(root: Path, registry: str = "") -> Judgement:
    """Look at the cluster. Raises ServiceError for one that cannot be used at all (see `check_ray_cluster`), and
    INVALID_ARGUMENT for a root that is none."""
    if not root.is_dir():
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"--root must be the directory that a server has, or will have; got {root}"
        )
    connect(check_ray_cluster())
    try:
        with probe_in(root) as probe:
            order = {"root": str(root), "probe": probe, "registry": address_of(registry or place_of(root))}
            return judged(Look().look(order), look_at_nodes(order))
    finally:
        ray.shutdown()


def look_at_nodes(order: dict[str, Any]) -> list[Seen]:
    """What each node that is alive says, all at the same time."""
    actor: Any = ray.remote(Look)
    asked = []
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = actor.options(num_cpus=0, max_restarts=0, scheduling_strategy=there).remote()
            asked.append(
                (f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})", look, look.look.remote(order))
            )
    return [_seen(*one) for one in asked]


def _seen(name: str, actor: Any, said: Any) -> Seen:
    try:
        found: Any = ray.get(said, timeout=NODE_SECONDS)
        asked = time.time()
        theirs: Any = ray.get(actor.now.remote(), timeout=NODE_SECONDS)
    except GetTimeoutError:
        return Seen(name=name, silence=f"nothing within {NODE_SECONDS:.0f} s")
    except RayError as error:
        return Seen(name=name, silence=" ".join(str(error).split())[-500:])
    slack = (time.time() - asked) / 2
    return Seen(name=name, said=found, clock=theirs - asked - slack, slack=slack)


def address_of(registry: str) -> tuple[str, int] | None:
    """Host and port of a database's URL, and nothing else of it; None for a file, or a socket of this machine."""
    if not registry:
        return None
    parts = urlsplit(registry)
    return (parts.hostname, parts.port or POSTGRES_PORT) if parts.hostname else None
