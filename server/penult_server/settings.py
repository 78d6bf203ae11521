"""The settings of a server: the options of `penult serve`."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

MOST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of one server."""

    root: Path
    """Directory of everything the server keeps. Made when missing."""
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
    """Most bytes of features kept in memory between queries."""
    job_devices: tuple[str, ...] = ()
    """GPUs of the jobs, named as in CUDA_VISIBLE_DEVICES; without, all but the first of several, or the only one."""
    compute_device: str = ""
    """GPU of the compute worker; filled in by the server, empty where it is the first that is visible."""

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
        for name, least in (("max_queued_jobs", 1), ("max_running_jobs", 0), ("resident_bytes", 1)):
            if getattr(self, name) < least:
                raise ServiceError(
                    ErrorKind.INVALID_ARGUMENT, f"{name} must be at least {least}, got {getattr(self, name)}"
                )
        if self.job_devices and self.device == "cpu":
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, "--job-devices goes with --device auto or cuda, not with cpu"
            )
        if len(set(self.job_devices)) < len(self.job_devices):
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT, f"--job-devices must name each once, got {','.join(self.job_devices)}"
            )
        if not 0 <= self.port <= MOST_PORT:
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"--port must lie in 0 .. {MOST_PORT}, got {self.port}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"device must be auto, cpu or cuda, got {self.device!r}")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
