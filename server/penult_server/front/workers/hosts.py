"""Where a compute worker runs, on this machine or on a node of a cluster: how it is started, and how it is called."""

import os
import secrets
from pathlib import Path
from typing import Protocol

import grpc

from penult_proto.limits import MESSAGE_OPTIONS
from penult_proto.v1.pipes_pb2 import ComputeOrder, ComputeReady
from penult_server.compute_environment import compute_environment, usable_cores
from penult_server.front.cleaning import OwnFolder
from penult_server.front.workers.mutual_tls import Pair, make_pair
from penult_server.front.workers.shares import Share
from penult_server.machine.folders import caches
from penult_server.machine.gpus import VISIBLE
from penult_server.settings import Settings

REFUSED_SECONDS = 60.0
"""After how long a cluster is asked again that has refused a worker: its nodes may be others by then."""


class Host(Protocol):
    """One worker's."""

    @property
    def module(self) -> str:
        """The process that the front starts, which takes the worker's messages."""
        ...

    @property
    def refused_seconds(self) -> float | None:
        """After how long to try again what was refused; None for never."""
        ...

    def begin(self) -> tuple[ComputeOrder, dict[str, str]]:
        """The order for the next start, and variables for that process. Raises ServiceError."""
        ...

    def channel(self, ready: ComputeReady) -> grpc.aio.Channel:
        """A channel to the worker that has started."""
        ...

    def new_socket(self) -> Path | None:
        """A path for a socket from which the worker can read; None where it is on another machine."""
        ...

    def close(self) -> None:
        """Remove what was made for it."""
        ...


def host_of(settings: Settings, share: Share) -> Host:
    """Where a worker of this server runs. Raises ServiceError where its socket finds no place."""
    return ClusterNode(settings, share) if settings.compute_on_cluster else OwnMachine(settings, share)


class OwnMachine:
    """The worker is a process of the front's, called over a private socket."""

    module = "penult_server.compute.worker"
    refused_seconds = None  # it would refuse again: only another --device helps

    def __init__(self, settings: Settings, share: Share) -> None:
        self._settings = settings
        self._share = share
        # A path of a socket may have 107 bytes at most, so it cannot lie under the root.
        self._folder = OwnFolder()
        self._starts = 0
        self._socket = ""

    def begin(self) -> tuple[ComputeOrder, dict[str, str]]:
        self._starts += 1
        self._socket = f"unix:{self._folder.path}/{self._starts}.sock"
        n_cores = self._share.cores(usable_cores())
        variables = compute_environment(os.environ, n_cores) | caches(os.environ, self._settings.root)
        if device := self._share.device(self._settings):
            variables[VISIBLE] = device
        order = order_of(self._settings, self._share)
        order.socket = self._socket
        return order, variables

    def channel(self, ready: ComputeReady) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self._socket, options=MESSAGE_OPTIONS)

    def new_socket(self) -> Path:
        return self._folder.path / f"{secrets.token_hex(6)}.up"

    def close(self) -> None:
        self._folder.remove()


class ClusterNode:
    """The worker is a process on a node, kept by an actor of the process that the front starts."""

    module = "penult_server.cluster.compute_bridge"
    refused_seconds = REFUSED_SECONDS

    def __init__(self, settings: Settings, share: Share) -> None:
        self._settings = settings
        self._share = share
        self._pair: Pair = make_pair()

    def begin(self) -> tuple[ComputeOrder, dict[str, str]]:
        self._pair = make_pair()
        order = order_of(self._settings, self._share)
        order.tls.CopyFrom(self._pair.worker)
        return order, {}

    def channel(self, ready: ComputeReady) -> grpc.aio.Channel:
        return self._pair.channel(ready.address)

    def new_socket(self) -> None:
        return None

    def close(self) -> None: ...


def order_of(settings: Settings, share: Share) -> ComputeOrder:
    """What a worker is told wherever it runs."""
    return ComputeOrder(
        root=str(settings.root),
        device=settings.device,
        resident_bytes=share.resident_bytes(settings),
        sharers=share.sharers(settings),
    )
