"""A server's life: take the root, open the registry, start the workers, answer, and leave in order."""

import asyncio
import contextlib
import logging
import os
from importlib.metadata import version

import grpc
from grpc_reflection.v1alpha import reflection

from penult_proto import PROTOCOL
from penult_proto.errors import ErrorKind
from penult_proto.limits import MESSAGE_OPTIONS
from penult_proto.services import SERVICES
from penult_proto.v1 import (
    catalog_pb2_grpc,
    checkpoints_pb2_grpc,
    datasets_pb2_grpc,
    diagnostics_pb2_grpc,
    features_pb2_grpc,
    groupings_pb2_grpc,
    info_pb2_grpc,
    jobs_pb2_grpc,
    neighbours_pb2_grpc,
    progress_pb2_grpc,
    refits_pb2_grpc,
    runs_pb2_grpc,
    spectra_pb2_grpc,
    storage_pb2_grpc,
)
from penult_server.errors import ServiceError
from penult_server.front.access import RootLock, ServerRecord, address_files, publish, server_token, withdraw
from penult_server.front.admission.calls import Calls
from penult_server.front.admission.interceptor import Admission
from penult_server.front.admission.limits import limits_of
from penult_server.front.cleaning import keep_clean
from penult_server.front.guard import Guard
from penult_server.front.health import SERVICE_NAME, Health
from penult_server.front.jobs.devices import placed
from penult_server.front.jobs.leases import keep_leases
from penult_server.front.jobs.queue import JobQueue
from penult_server.front.lifetime import Lifetime
from penult_server.front.outside.doors import Doors
from penult_server.front.queries.named_files import NamedFiles
from penult_server.front.queries.specs import Resolver
from penult_server.front.registry_thread import Registry
from penult_server.front.services.cards import CatalogServicer
from penult_server.front.services.catalog import DatasetServicer, RunServicer
from penult_server.front.services.checkpoints import CheckpointServicer
from penult_server.front.services.diagnostics import DiagnosticServicer
from penult_server.front.services.features import FeatureServicer
from penult_server.front.services.groupings import GroupingServicer
from penult_server.front.services.info import InfoServicer
from penult_server.front.services.jobs import JobServicer
from penult_server.front.services.neighbours import NeighbourServicer
from penult_server.front.services.progress import ProgressServicer
from penult_server.front.services.refits import RefitServicer
from penult_server.front.services.spectra import SpectraServicer
from penult_server.front.services.storage import StorageServicer
from penult_server.front.tls import tls_credentials
from penult_server.front.users.admitted import Notes
from penult_server.front.users.audit import Audit
from penult_server.front.users.authenticator import Authenticator
from penult_server.front.users.open_calls import OpenCalls
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs.secrets import conceal
from penult_server.registry.integrity.place import note_place
from penult_server.settings import Settings
from penult_server.stores.disk.private import make_private
from penult_server.stores.disk.reserve import Reserve
from penult_server.stores.places.opening import read_place
from penult_server.stores.places.recovering import recover_lost
from penult_server.stores.places.serving import prepare_store
from penult_server.stores.removal import FOLDERS, remove_left

LEAVING_SECONDS = 8.0
"""How long a server waits for another one to leave its root."""
CLAIM_SECONDS = 0.5
"""How often a server that waits for another's registry asks for it."""
FAREWELL_SECONDS = 1.0
"""Seconds in which the last answers are sent."""
LEAVE_SECONDS = 18.0 + FAREWELL_SECONDS
"""Seconds, after a signal and the grace of calls, at which the process ends in any case; workers get ten of them."""
OPTIONS = (
    *MESSAGE_OPTIONS,
    ("grpc.so_reuseport", 0),
    # Clients may ping once a minute, also on a connection that waits.
    ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
COMPUTE_SERVICES = tuple(
    f"penult.v1.{name}Service" for name in ("Diagnostic", "Feature", "Grouping", "Neighbour", "Refit", "Spectra")
)
log = logging.getLogger("penult")


class Server:
    """One server on one root."""

    def __init__(self, settings: Settings) -> None:
        settings = self._settings = placed(settings, os.environ)
        self._registry = Registry()
        self._health = Health()
        self._calls = Calls(limits_of(settings))
        self._compute = ComputeWorkers(settings, self._registry, self._set_compute_health)
        self._lifetime = Lifetime()
        self._queue = JobQueue(self._registry, settings, self._compute.damaged, self._lifetime.changed)
        self._info = InfoServicer(settings, self._registry, self._compute, self._lifetime, self._queue.resume)
        self._doors = Doors(settings, self._registry, self._compute)
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop` is called.

        Raises ServiceError: STORE_LOCKED, VERSION_MISMATCH, STORE_CORRUPT, INVALID_ARGUMENT (the port).
        """
        root = self._settings.root
        if self._settings.registry and not await self._take_registry():
            return
        # A client that starts a server of its own looks again by itself; a person should not have to.
        patience = 0.0 if self._settings.embedded else LEAVING_SECONDS
        try:
            lock = await asyncio.to_thread(RootLock, root, patience=patience)
        except ServiceError:
            await self._registry.close()
            raise
        audit = Audit(root / "logs" / "audit.jsonl")
        server: grpc.aio.Server | None = None
        try:
            await asyncio.to_thread(make_private, root)
            await asyncio.to_thread(Reserve(root).release_if_full)
            if self._settings.registry:
                await asyncio.to_thread(note_place, root, self._registry.place)
            else:
                await self._registry.open(root / "penult.db")
            await self._prepare_store()
            await self._registry.run(self._registry.deletions.recover)
            for name in ("", "uploads", *FOLDERS):
                await asyncio.to_thread(remove_left, root / name)
            await self._fetch_lost()
            await asyncio.to_thread(self._registry.deletions.reserve.keep)
            token = server_token(root)
            conceal(token)
            calls = OpenCalls(self._registry, authenticator := Authenticator(token))
            await calls.refresh()
            notes = Notes(audit, all_calls=self._settings.audit == "all")
            is_mutual = self._settings.tls_client_ca is not None
            server = self._make_server(Guard(authenticator, calls, notes, takes_certificates=is_mutual))
            port = self._bind(server)
            self._doors.open()
            watch = asyncio.create_task(calls.watch())
            try:
                await self._serve(server, port, token)
            finally:
                watch.cancel()
                await asyncio.wait([watch])
        finally:
            await self._registry.close()
            if server is not None:
                # Until here whoever asks is told that the server is stopping.
                await server.stop(FAREWELL_SECONDS)
            await self._doors.close()
            await asyncio.to_thread(audit.close)
            lock.release()

    async def _prepare_store(self) -> None:
        """Try the bucket, where there is one."""
        root, registry, loop = self._settings.root, self._registry, asyncio.get_running_loop()

        def owner_of(proposed: str) -> str:
            if registry.is_file:  # another machine has no part in it
                return proposed
            return asyncio.run_coroutine_threadsafe(registry.run(registry.store_owner, proposed), loop).result()

        await asyncio.to_thread(prepare_store, root, **self._settings.store_options, owner_of=owner_of)

    async def _fetch_lost(self) -> None:
        """Fetch from the bucket what the registry knows and the root's disk does not have."""
        root = self._settings.root
        if read_place(root) is None:
            return
        registered = await self._registry.run(self._registry.registered)
        if found := await asyncio.to_thread(recover_lost, root, registered):
            log.info("fetched from the bucket: %s", ", ".join(f"{number} {folder}" for folder, number in found.items()))

    async def _take_registry(self) -> bool:
        """Open a registry that several servers may know, and wait until no other serves it; false when stopped before.

        Raises ServiceError, RegistryUnavailable.
        """
        registry = self._registry
        settings = self._settings
        await registry.open(settings.root / "penult.db", settings.registry, settings.lease_seconds)
        is_first = True
        while not (is_mine := await registry.run(registry.claim)) and not self._stop.is_set():
            if is_first:
                log.info("another server serves the registry %s; waiting until it leaves", registry.place)
            is_first = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), CLAIM_SECONDS)
        if not is_mine:
            await registry.close()
        return is_mine

    @property
    def metrics_address(self) -> str:
        """Where `/metrics` and `/healthz` are, such as "127.0.0.1:9100"; empty without them."""
        return self._doors.address

    def stop(self) -> None:
        """Ask the server to leave."""
        self._stop.set()

    async def _serve(self, server: grpc.aio.Server, port: int, token: str) -> None:
        files = address_files(self._settings.root, port)
        await self._health.set(SERVICES, is_serving=False)
        self._compute.start()
        watcher = asyncio.create_task(self._watch_clients())
        cleaner = asyncio.create_task(keep_clean(self._settings.root, self._registry, self._settings.keep_days))
        await self._queue.start()
        leases = asyncio.create_task(keep_leases(self._registry, self._queue, self._settings.lease_seconds, self.stop))
        await server.start()
        try:
            await self._health.set(set(SERVICES) - set(COMPUTE_SERVICES), is_serving=True)
            publish(self._record(port, token), files)
            log.info(
                "penult %s serves %s on %s:%d",
                version("penult"),
                self._settings.root,
                self._settings.host,
                port,
            )
            self._doors.say_ready()
            await self._stop.wait()
        finally:
            self._doors.say_stopping()
            log.info("stopping; jobs that have not ended go on at the next start")
            self._lifetime.is_stopping = True
            withdraw(files)
            watcher.cancel()
            self._calls.leave()
            cleaner.cancel()
            leases.cancel()
            await self._health.leave()
            await asyncio.gather(self._queue.stop(), self._calls.until_ended(self._settings.stop_grace))
            await self._calls.cut()
            await self._compute.stop()

    def _make_server(self, guard: Guard) -> grpc.aio.Server:
        interceptors = [*self._doors.interceptors(), guard, Admission(self._calls)]
        server = grpc.aio.server(interceptors=interceptors, options=OPTIONS)
        registry, compute = self._registry, self._compute
        resolver = Resolver(registry, self._settings.root, NamedFiles(self._settings))
        features = FeatureServicer(self._settings, registry, compute, self._queue.quotas)
        storage = StorageServicer(self._settings.root, registry, compute)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogServicer(registry), server)
        checkpoints = CheckpointServicer(self._settings.root, registry, self._queue)
        checkpoints_pb2_grpc.add_CheckpointServiceServicer_to_server(checkpoints, server)
        datasets_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetServicer(resolver), server)
        diagnostics_pb2_grpc.add_DiagnosticServiceServicer_to_server(DiagnosticServicer(registry, compute), server)
        features_pb2_grpc.add_FeatureServiceServicer_to_server(features, server)
        groupings = GroupingServicer(registry, compute, self._queue.quotas)
        groupings_pb2_grpc.add_GroupingServiceServicer_to_server(groupings, server)
        info_pb2_grpc.add_InfoServiceServicer_to_server(self._info, server)
        jobs_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(registry, self._queue), server)
        neighbours = NeighbourServicer(self._settings.root, registry, compute)
        neighbours_pb2_grpc.add_NeighbourServiceServicer_to_server(neighbours, server)
        progress_pb2_grpc.add_ProgressServiceServicer_to_server(ProgressServicer(compute.asked), server)
        refits_pb2_grpc.add_RefitServiceServicer_to_server(RefitServicer(registry, compute), server)
        runs_pb2_grpc.add_RunServiceServicer_to_server(RunServicer(registry, self._settings.root), server)
        spectra_pb2_grpc.add_SpectraServiceServicer_to_server(SpectraServicer(registry, compute), server)
        storage_pb2_grpc.add_StorageServiceServicer_to_server(storage, server)
        self._health.add_to(server)
        reflection.enable_server_reflection((*sorted(SERVICES), SERVICE_NAME, reflection.SERVICE_NAME), server)
        return server

    def _bind(self, server: grpc.aio.Server) -> int:
        settings = self._settings
        address = f"{_bracketed(settings.host)}:{settings.port}"
        credentials = tls_credentials(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        try:
            if credentials:
                return server.add_secure_port(address, credentials)
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"cannot listen on {address}: the port is taken or the address is not this machine's; choose another "
                "--port, or 0 for a free one",
            ) from error

    def _record(self, port: int, token: str) -> ServerRecord:
        host = {"0.0.0.0": "127.0.0.1", "localhost": "127.0.0.1", "::": "::1"}.get(
            self._settings.host, self._settings.host
        )
        return ServerRecord(
            address=f"{_bracketed(host)}:{port}",
            token=token,
            pid=os.getpid(),
            root=str(self._settings.root),
            protocol=PROTOCOL,
            version=version("penult"),
        )

    async def _watch_clients(self) -> None:
        """Stop an embedded server that nobody needs any more."""
        if self._settings.embedded:
            await self._lifetime.until_unneeded(self._queue.is_needed)
            self.stop()

    async def _set_compute_health(self, is_alive: bool) -> None:
        await self._health.set(COMPUTE_SERVICES, is_serving=is_alive)


def _bracketed(host: str) -> str:
    """IPv6 addresses stand in brackets before a port."""
    return f"[{host}]" if ":" in host else host
