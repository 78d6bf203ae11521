"""The settings of a server: the options of `penult serve`."""

import ipaddress
import os
from argparse import ArgumentParser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

MOST_PORT = 65535
ENGINES = ("local", "ray")
LEAST = {
    "max_user_bytes": 0,
    "max_user_jobs": 1,
    "max_queued_jobs": 1,
    "max_running_jobs": 0,
    "extract_workers": 0,
    "resident_bytes": 1,
    "compute_workers": 0,
    "max_calls": 1,
    "max_calls_per_user": 1,
    "max_computing": 1,
    "max_computing_per_user": 1,
    "keep_days": 0,
    "store_cache_bytes": 0,
}
"""Least values of options that count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of one server."""

    root: Path
    """Directory of everything the server keeps. Made when missing."""
    registry: str = field(default="", repr=False)
    """URL of a PostgreSQL database in place of the file `penult.db`; it may have a password, which is told nowhere."""
    lease_seconds: float = 60.0
    """How long the jobs of a server are its own without a word of it, where another waits for its registry."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 7711
    """0 takes a free one."""
    tls_cert: Path | None = None
    """PEM certificate chain; with `tls_key`, needed on any address but loopback."""
    tls_key: Path | None = None
    insecure: bool = False
    """Allow other addresses without TLS: tokens and data then travel in the clear."""
    embedded: bool = False
    """Stop when the last attached client has gone and the jobs that somebody wants have ended."""
    max_queued_jobs: int = 100
    max_running_jobs: int = 0
    """0: one for each of the devices of jobs, and one on a machine without a GPU."""
    device: str = "auto"
    """ "auto", "cpu" or "cuda"."""
    resident_bytes: int = 4 * 2**30
    """Most bytes of features kept in memory between queries, by all compute workers together."""
    compute_workers: int = 0
    """Processes that answer queries; 0: one for each GPU that `job_devices` leaves, and one without a GPU."""
    tls_client_ca: Path | None = None
    """PEM certificates of those who sign the certificates of clients; every client must then show one."""
    max_user_jobs: int = 50
    """Jobs of one user that wait; the owner is held to `max_queued_jobs` alone."""
    max_user_bytes: int | None = None
    """Most bytes that what one user made takes; None for no limit."""
    audit: str = "changes"
    """Which calls the audit tells of: "changes" and refusals, or "all"."""

    metrics_port: int | None = None
    """Port of `/metrics` and `/healthz`; 0 takes a free one, None opens none."""
    metrics_host: str = "127.0.0.1"
    """Address of that port. Its pages ask for no token."""
    metrics_by_user: bool = False
    """Count requests and jobs by user, too."""
    log_format: str | None = None
    """ "text" or "json"; None chooses text on a terminal and for embedded servers, JSON elsewhere."""
    max_calls: int = 256
    """Calls in progress at most, those that only watch not counted."""
    max_calls_per_user: int = 64
    max_computing: int = 64
    """Of the calls in progress, those that compute, in each compute worker; refits solved together are not counted."""
    max_computing_per_user: int = 16
    idle_seconds: float = 60.0
    """How long an upload or a read may stand still because the client neither sends nor reads."""
    stop_grace: float = 5.0
    """Seconds that calls in progress get when the server stops."""
    data_roots: tuple[Path, ...] = ()
    """Directories below which clients may name files; none lets the owner alone name any, on a loopback address."""
    keep_days: int = 0
    """Days after which answers that nobody asks for, and leftovers, are removed; 0 for never."""
    job_devices: tuple[str, ...] = ()
    """GPUs of the jobs, named as in CUDA_VISIBLE_DEVICES; without, all that compute workers leave, or all there are."""
    extract_workers: int = 0
    """Processes that one extraction may have at a time, each with a GPU of the jobs' or its share of the cores; 0: one
    on this machine, on a cluster one for each GPU, or for 8 cores of a cluster without."""
    store: str = ""
    """Bucket in which checkpoints, features and groupings lie, such as "s3://bucket/prefix"; the root remembers it."""
    store_endpoint: str = ""
    """Address of its service; empty for what the environment says, else Amazon's."""
    store_cache_bytes: int = 0
    """Most bytes of it that are kept on this machine; 0 for the root's number, which is 16 GiB at first."""
    compute_devices: tuple[str, ...] = ()
    """GPUs of the compute workers, by turns; filled in by the server, empty where they have no choice."""
    compute_on_cluster: bool = False
    """Whether the compute workers run on the engine's cluster; filled in by the server."""
    engine: str = "local"
    """Where jobs run: "local", on this machine, or "ray", on the cluster that RAY_ADDRESS names."""

    def __post_init__(self) -> None:
        """Raises ServiceError (INVALID_ARGUMENT)."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "--tls-cert and --tls-key go together: give both or none")
        if not self.is_loopback and self.tls_cert is None and not self.insecure:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"{self.host} is reachable from other machines: give --tls-cert and --tls-key, or --insecure to send "
                "tokens and data in the clear",
            )
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, "--tls-client-ca needs --tls-cert and --tls-key")
        if not 0 <= self.port <= MOST_PORT:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"--port must lie in 0 .. {MOST_PORT}, got {self.port}")
        self._check_numbers()
        if self.metrics_port is not None and not is_loopback(self.metrics_host) and not self.insecure:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"--metrics-host {self.metrics_host} is reachable from other machines, and its pages ask for no token: "
                "leave it out, or give --insecure to show numbers, methods and users to whoever asks",
            )
        for one in self.data_roots:
            self._check_data_root(one)
        if self.job_devices and self.device == "cpu":
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, "--job-devices goes with --device auto or cuda, not with cpu"
            )
        if self.job_devices and self.engine != "local":
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, "--job-devices goes with --engine local: a cluster shares out its own"
            )
        if len(set(self.job_devices)) < len(self.job_devices):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, f"--job-devices must name each once, got {','.join(self.job_devices)}"
            )
        if self.engine not in ENGINES:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}"
            )
        if self.device not in ("auto", "cpu", "cuda"):
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"device must be auto, cpu or cuda, got {self.device!r}")

    def _check_numbers(self) -> None:
        for name, least in LEAST.items():
            if (value := getattr(self, name)) is not None and value < least:
                raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"{name} must be at least {least}, got {value}")
        for name, least in (("idle_seconds", 0.1), ("stop_grace", 0.0), ("lease_seconds", 1.0)):
            if not least <= getattr(self, name) <= 3600:
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT, f"{name} must lie in {least:g} .. 3600, got {getattr(self, name)}"
                )

    def _check_data_root(self, directory: Path) -> None:
        if not directory.is_absolute() or not directory.is_dir():
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, f"--data-root needs a directory on this machine, got {str(directory)!r}"
            )
        if directory.resolve().is_relative_to(self.root.resolve()):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"--data-root {directory} lies in --root {self.root}, whose files no client may name; keep data "
                "elsewhere",
            )

    @property
    def store_options(self) -> dict[str, Any]:
        """What `prepare_store` takes."""
        return {"url": self.store, "endpoint": self.store_endpoint, "cache_bytes": self.store_cache_bytes}

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def add_registry(command: ArgumentParser) -> None:
    """Give a command the option that names the registry of a store."""
    command.add_argument(
        "--registry",
        metavar="URL",
        default=os.environ.get("PENULT_REGISTRY", ""),
        help="PostgreSQL database in place of the file penult.db: postgresql://user@host/database; a password is "
        "better in ~/.pgpass, or in the URL that PENULT_REGISTRY holds, than in this line, which others can see",
    )
