"""A compute worker on a cluster as the front starts it: `python -m penult_server.cluster.compute_bridge`.

To the front this process is the worker: it takes the order, says when the worker serves and at what address, passes on
what both say, and ends when the worker, its node or the front does. Queries do not pass through it: the front calls the
worker's port itself. It is Ray's driver, so that what it has placed ends with it.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false, reportAttributeAccessIssue=false
# Ray is annotated in part.

import os
import sys
import threading
from pathlib import Path
from typing import IO, Any, NoReturn

import ray
from ray.exceptions import GetTimeoutError, RayError

from penult_proto.errors import ErrorKind
from penult_proto.v1.pipes_pb2 import ComputeOrder, FromWorker, Pulse, ToWorker
from penult_server import pipes
from penult_server.cluster.compute_node import ComputeNode
from penult_server.errors import ServiceError
from penult_server.jobs.fleets.fleet import Json
from penult_server.jobs.fleets.ray_fleet.cluster import check_place, connect, nodes, share
from penult_server.machine.probes import probe_in
from penult_server.machine.ray_cluster import check_ray_cluster
from penult_server.messages import error_to_proto

EXIT_DIED = 71
"""Exit status when the worker has died, or the cluster does not answer."""
SILENT_SECONDS = 30.0
"""How long the worker's node may say nothing; it answers twice a second."""
SPACE_SECONDS = 10.0
"""How often it is told that the cluster has no space."""


class OnNode(ComputeNode):
    """The actor."""

    def address(self) -> str:
        """Where the other nodes reach this one."""
        found: str = ray.util.get_node_ip_address()
        return f"[{found}]" if ":" in found else found


class Messages:
    """What goes to the front, of several threads."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._one_at_a_time = threading.Lock()

    def send(self, message: FromWorker) -> None:
        with self._one_at_a_time:
            pipes.send(self._pipe, message)


class Bridge:
    """One worker on the cluster. `run` is the main thread's, `listen` another one's."""

    def __init__(self, order: ComputeOrder, messages: Messages) -> None:
        self._order = order
        self._messages = messages
        self._node: Any = None
        self._is_up = threading.Event()
        self._leaving = threading.Lock()

    def listen(self, pipe: IO[bytes]) -> None:
        """Take what the front says, until it has gone or wants no worker any more."""
        while (said := pipes.receive(pipe, ToWorker)) is not None:
            if said.pulse:
                # Of this process: the worker is judged where it runs.
                self._messages.send(FromWorker(pulse=Pulse()))
            elif self._is_up.is_set():
                self._node.tell.remote(said.SerializeToString())
        self.leave(0)

    def run(self) -> None:
        """Place the worker, and pass on what it says until it ends. Raises ServiceError, RayError."""
        connect(check_ray_cluster())
        self._place()
        self._check_place()
        self._order.socket = f"{ray.get(self._node.address.remote())}:0"
        ready = FromWorker.FromString(ray.get(self._node.start.remote(self._order.SerializeToString())))
        self._is_up.set()
        self._messages.send(ready)
        ended = ""
        while not ended:
            said, ended = ray.get(self._node.said.remote(), timeout=SILENT_SECONDS)
            for one in said:
                self._messages.send(FromWorker.FromString(one))
        raise ServiceError(ErrorKind.WORKER_DIED, f"the worker has ended: {ended}")

    def say(self, why: str) -> None:
        """Why this process ends, unless it does so because it is not wanted any more."""
        if not self._leaving.locked():
            sys.stderr.write(f"{why}\n")

    def leave(self, status: int) -> NoReturn:
        """End this process, and what it has placed, at once; who comes second waits for that."""
        self._leaving.acquire()
        if self._node is not None:
            ray.kill(self._node)
            ray.shutdown()
        sys.stderr.flush()
        os._exit(status)

    def _place(self) -> None:
        """Ask for a GPU, or for half of a node's cores: the other half is for jobs. Raises ServiceError."""
        found = nodes()
        gpus = 0 if self._order.device == "cpu" else min(1, sum(gpus for _, gpus in found))
        if self._order.device == "cuda" and not gpus:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, "--device cuda needs a GPU, and the cluster has none; use --device cpu"
            )
        cores = share(found, 1, with_gpu=True) if gpus else max(1, max(cores for cores, _ in found) // 2)
        # A GPU is one worker's; of a node's memory as many take a part as may be on one.
        self._order.sharers = 1 if gpus else -(-max(1, self._order.sharers) // max(1, len(found)))
        actor: Any = ray.remote(OnNode)
        self._node = actor.options(
            num_cpus=cores, num_gpus=gpus, max_restarts=0, max_concurrency=4, scheduling_strategy="SPREAD"
        ).remote(cores)
        here = self._node.address.remote()
        while not ray.wait([here], timeout=SPACE_SECONDS)[0]:
            wanted = f"{cores} core{'s' * (cores > 1)}{' and a GPU' * gpus}"
            sys.stderr.write(f"waiting for the cluster: a process with {wanted} of one node\n")

    def _check_place(self) -> None:
        """Raise ServiceError for a node that would compute something else, or that does not see the store."""
        root = Path(self._order.root)
        with probe_in(root) as probe:
            said: Json = ray.get(self._node.look.remote(str(root), probe))
        check_place(said["host"], root, said)


def main() -> None:
    """Read the order from the front, and serve until the front or the worker has gone."""
    messages = Messages(pipes.own_stdout())
    said = pipes.receive(sys.stdin.buffer, ToWorker)
    if said is None:
        return
    bridge = Bridge(said.compute, messages)
    threading.Thread(target=bridge.listen, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        bridge.run()
    except ServiceError as error:
        bridge.say(error.message)
        if error.kind is not ErrorKind.WORKER_DIED:
            messages.send(FromWorker(error=error_to_proto(error)))
            bridge.leave(0)
    except GetTimeoutError:
        bridge.say(f"the worker's node has said nothing for {SILENT_SECONDS:.0f} s")
    except RayError as error:
        bridge.say(f"the worker's node or process has gone: {' '.join(str(error).split())[:500]}")
    bridge.leave(EXIT_DIED)


if __name__ == "__main__":
    main()
