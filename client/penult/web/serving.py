"""`penult web`: which server it asks, where it listens, and that it listens."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import uvicorn

from penult.client import Client
from penult.connecting import configured, looking
from penult.connection.handshake import check_server
from penult.connection.rpc import Connection, is_loopback
from penult.errors import invalid
from penult.web.app import Site
from penult.web.sessions import Sessions

DEFAULT_PORT = 7712


def serve(
    address: str | None,
    root: Path | None,
    *,
    host: str,
    port: int,
    tls: bool,
    tls_ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve the page until it is interrupted.

    Parameters
    ----------
    address : of the server that is asked, or its name in the configuration.
    root : a store on this machine in its place, whose server is started where none runs.
    host, port : where browsers connect; 0 for any free port.
    tls, tls_ca : how that server is reached, as `penult.connect` has it.
    certificate, key : files in PEM by which browsers reach this process; needed where `host` is no loopback.
    ready : told where the page is, once it can be opened, and how to log in.

    Raises
    ------
    InvalidRequest : a host other than this machine without a certificate, or files that are none.
    PenultError : as `penult.local`, with a root.
    """
    check_listening(host, certificate, key)
    holder = None if root is None else looking(root)
    try:
        if holder is not None:
            where, encrypts, trusted = holder.connection.address, tls, tls_ca
        else:
            asked = configured(address)
            where, encrypts, trusted = asked.address, tls or asked.tls, asked.tls_ca if tls_ca is None else tls_ca
        sessions = Sessions(lambda token: connected(where, token, tls=encrypts, tls_ca=trusted))
        site = Site(sessions, address=where if root is None else str(root), tls=certificate is not None)
        _listen(site, host, port, certificate, key, ready)
    finally:
        if holder is not None:
            holder.close()


def check_listening(host: str, certificate: Path | None, key: Path | None) -> None:
    """Raise `InvalidRequest` where tokens would go over a network in the clear, or the files are no pair."""
    if (certificate is None) != (key is None):
        raise invalid("tls_cert= and tls_key= go together: both files, or none")
    if certificate is None and not is_loopback(f"{host}:1"):
        raise invalid(
            f"host {host!r} is not this machine alone, so that tokens would go over the network in the clear: give "
            "tls_cert= and tls_key=, such as those of `penult serve`, or leave host= out and forward the port by ssh"
        )
    if certificate is not None and key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            raise invalid(f"{certificate} and {key} are not a certificate and its key, in PEM ({error})") from None


def is_reached(address: str) -> bool:
    """Whether anything listens at an address of a server."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=2.0).close()
    except OSError:
        return False
    return True


def connected(address: str, token: str, *, tls: bool, tls_ca: str | Path | None) -> Client:
    """A client for one visitor. Raises what `penult.connect` raises."""
    connection = Connection(address, token=token, tls=tls, tls_ca=tls_ca)
    return Client(connection, check_server(connection, timeout=10.0))


def _listen(
    site: Site, host: str, port: int, certificate: Path | None, key: Path | None, ready: Callable[[str], None]
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(128)  # a browser that is told the address may come before the loop runs
        config = uvicorn.Config(
            site.app(),
            log_level="warning",
            access_log=False,
            ssl_certfile=certificate,
            ssl_keyfile=key,
            server_header=False,
            timeout_graceful_shutdown=2,
            ws="none",
            proxy_headers=False,
        )
        scheme = "http" if certificate is None else "https"
        ready(f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/")
        uvicorn.Server(config).run([listener])
