"""``penult doctor``: what is installed, what can be reached, and what to do about the rest."""

import importlib.util
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from penult.client import Client
from penult.connecting import configured, connect, looking
from penult.connection.embedded import SERVER_NEEDS
from penult.connection.handshake import DEFAULT_ADDRESS
from penult.connection.rpc import is_loopback
from penult.connection.servers import read_record, root_file, state_file
from penult.connection.tls_trouble import certificate_end
from penult.errors import PenultError, install
from penult.machine import Finding, look_at_store, threads
from penult.results.records import Info
from penult_proto import PROTOCOL

PLOT_NEEDS = ("matplotlib", "pandas")
INDEX_PACKAGES = ("faiss-cpu", "faiss-gpu")
SOON = timedelta(days=30)
"""A certificate that ends before that is told of."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Diagnosis:
    """What is installed and what can be reached; prints a line for each finding."""

    findings: tuple[Finding, ...]
    server: Info | None
    """What the server is; None where it was not reached."""
    certificate_end: datetime | None
    """When its certificate ends; None without TLS."""

    @property
    def healthy(self) -> bool:
        """Whether a server answers and nothing that was found keeps it from its work."""
        return self.server is not None and not any(one.serious and not one.good for one in self.findings)

    def __repr__(self) -> str:
        return "\n".join(f"{one.topic:<12} {one.said}" for one in self.findings)


def examine(
    address: str | None = None,
    root: Path | None = None,
    *,
    token: str | None = None,
    tls: bool = False,
    tls_ca: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> Diagnosis:
    """Look at what is installed, and ask the server; the arguments are those of `penult.connect`, or a store's root."""
    findings = [Finding(topic="python", said=f"{platform.python_version()} ({sys.executable})", good=True)]
    findings += [_package(name) for name in ("penult", "grpcio", "protobuf", "numpy")]
    findings += [Finding(topic="protocol", said=str(PROTOCOL), good=True)]
    findings += [_extra("server", SERVER_NEEDS), _extra("plot", PLOT_NEEDS)]
    findings += _indices()
    findings += _token_file(address, root)
    server, said = _reach(
        lambda: (
            looking(root)
            if root is not None
            else connect(address, token=token, tls=tls, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key)
        )
    )
    end = None if root is not None or server is None else _end(address, tls=tls, tls_ca=tls_ca)
    findings += [] if end is None else [_certificate(end)]
    store = _store_here(address, root, server)
    findings += [threads(), *([] if store is None else look_at_store(store))]
    findings += [] if server is None else [_versions(server)]
    findings.append(Finding(topic="server", said=said, good=server is not None))
    return Diagnosis(findings=tuple(findings), server=server, certificate_end=end)


def _versions(server: Info) -> Finding:
    """The versions of both sides; both speak one protocol, or the server would not have been reached."""
    here = installed("penult")
    said = f"client {here}, server {server.version}"
    if here != server.version:
        said += ": install the same version on both"
    return Finding(topic="versions", said=said, good=here == server.version)


def _store_here(address: str | None, root: Path | None, server: Info | None) -> Path | None:
    """The directory of the store, where it lies on this machine."""
    if root is not None:
        return root.resolve()
    if server is None or not is_loopback(configured(address).address):
        return None
    return Path(server.root) if Path(server.root).is_dir() else None


def installed(package: str) -> str:
    """The version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _package(name: str) -> Finding:
    said = installed(name)
    return Finding(topic=name, said=said, good=said != "not installed")


def _extra(name: str, needs: tuple[str, ...]) -> Finding:
    missing = [package for package in needs if importlib.util.find_spec(package) is None]
    state = f"{', '.join(missing)} missing; {install(name)}" if missing else "installed"
    return Finding(topic=f"[{name}]", said=state, good=not missing)


def _indices() -> list[Finding]:
    """FAISS, which one distribution alone may have installed; only indices of neighbours need it."""
    found = [f"{name} {installed(name)}" for name in INDEX_PACKAGES if installed(name) != "not installed"]
    if not found:
        return []
    said = " and ".join(found)
    if len(found) > 1:
        said += ": both install the module faiss, over each other's files; uninstall both, install one again"
    return [Finding(topic="[neighbours]", said=said, good=len(found) == 1)]


def _token_file(address: str | None, root: Path | None) -> list[Finding]:
    """The file that a server of this machine leaves for its user."""
    try:
        target = DEFAULT_ADDRESS if root is not None else configured(address).address
    except PenultError:
        return []  # `_reach` says why
    if root is None and not is_loopback(target):
        return []
    record = root_file(root.resolve()) if root else state_file(target.rpartition(":")[2])
    found = read_record(record) is not None
    return [Finding(topic="token file", said=f"{record}: {'found' if found else 'none'}", good=found)]


def _certificate(end: datetime) -> Finding:
    left = end - datetime.now(UTC)
    said = f"valid until {end:%Y-%m-%d}"
    if left < SOON:
        said += f", {max(0, left.days)} days from now: make another on the server with penult tls-init, and restart it"
    return Finding(topic="certificate", said=said, good=left >= SOON)


def _end(address: str | None, *, tls: bool, tls_ca: Path | None) -> datetime | None:
    """When the certificate of a server ends that was reached with these arguments."""
    named = configured(address)
    trusted = named.tls_ca if tls_ca is None else tls_ca
    return certificate_end(named.address, trusted) if tls or named.tls or trusted is not None else None


def _reach(reach: Callable[[], Client]) -> tuple[Info | None, str]:
    try:
        with reach() as client:
            info = client.info()
    except (PenultError, ImportError) as error:
        return None, f"not reached: {error}"
    device = info.device or "compute worker not started yet"
    several = ""
    if (n_workers := len(info.compute_workers)) > 1:
        several = f", {sum(one.is_up for one in info.compute_workers)} of {n_workers} compute workers up"
    return info, (
        f"penult {info.version} on {device} ({info.array_backend or 'no backend yet'}{several}), store {info.root}: "
        f"{info.n_feature_sets} feature sets, {info.n_checkpoints} checkpoints, {info.n_results} answers, "
        f"{info.n_groupings} groupings"
    )
