"""The two ways to a client: of a server that runs already, and of a store on this machine."""

import os
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from penult.arguments.coerce import check_choice, flag, path, seconds
from penult.client import Client
from penult.connection.configured import ConfiguredServer, configured_server, token_in
from penult.connection.embedded import attached_server
from penult.connection.handshake import (
    ADDRESS_VARIABLE,
    DEFAULT_ADDRESS,
    TOKEN_VARIABLE,
    check_address,
    check_server,
    find_token,
)
from penult.connection.rpc import Connection

WhenLeft: TypeAlias = Literal["finish", "stop"]
"""What becomes of unfinished jobs when the last client of a store has left."""


def connect(
    address: str | None = None,
    *,
    token: str | None = None,
    tls: bool = False,
    tls_ca: str | Path | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    timeout: float = 5.0,
) -> Client:
    """A client of the server at `address`.

    A server that is used often gets a name in the file ``~/.config/penult/config.toml``, from where
    ``penult.connect("lab")`` takes its address, certificate and token::

        [servers.lab]
        address = "gpu-box:7711"
        tls_ca = "lab.pem"  # relative to this file; or tls = true
        token_file = "lab.token"  # and tls_cert, tls_key

    Parameters
    ----------
    address : ``host:port``, or the name of a server in that file. By default the environment variable
        ``PENULT_ADDRESS``, else ``localhost:7711``. Further arguments take precedence over the file.
    token : what the server asks for. By default the environment variable ``PENULT_TOKEN``; then the file that the
        configuration names; for a server of the same user on this machine, the file that it wrote.
    tls : encrypt, trusting the authorities that gRPC ships with.
    tls_ca : encrypt, trusting the PEM certificates in this file.
    tls_cert, tls_key : files of your own certificate and its key, in PEM, for a server that wants one of each client.
        It names you; a token is then not needed.
    timeout : seconds in which the server must answer.

    Raises
    ------
    InvalidRequest : `address` is neither ``host:port`` nor a name in the file, or the file cannot be used.
    Unavailable : nobody answers there, or TLS is wrong: the text tells which of both ends to change, and how.
    Unauthenticated : the token is missing or wrong.
    VersionMismatch : the server speaks another protocol.
    """
    named = configured(address)
    trusted = named.tls_ca if tls_ca is None else path("tls_ca", tls_ca)
    if token is None and named.token_file is not None and not os.environ.get(TOKEN_VARIABLE):
        token = token_in(named.token_file)
    pair = named.pair(tls_cert, tls_key)
    # Who shows a certificate means to be whom it names, not the owner of a server that runs on the same machine.
    found = find_token(named.address, token, looks=pair is None)
    encrypts = flag("tls", tls) or named.tls
    connection = Connection(named.address, token=found, tls=encrypts, tls_ca=trusted, tls_pair=pair)
    return Client(connection, check_server(connection, timeout=seconds(timeout)))


def configured(address: str | None) -> ConfiguredServer:
    """The server that `connect` means by an address, a name in the configuration, or None. Raises `InvalidRequest`."""
    if address is None:
        address = os.environ.get(ADDRESS_VARIABLE, DEFAULT_ADDRESS)
    if isinstance(address, str) and ":" not in address and address:  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        named = configured_server(address)
    else:
        named = ConfiguredServer(address=address)
    check_address(named.address)
    return named


def local(root: str | Path, *, jobs: WhenLeft = "finish", timeout: float = 60.0) -> Client:
    """A client of the store in the directory `root`, on this machine.

    A server that serves it already is used; else one is started in a process of its own. It stays until its last
    client has closed or ended and its jobs have ended, then stops by itself. So a script may start a job and end: the
    next one finds what it made.

    Parameters
    ----------
    root : directory of the store; made when missing.
    jobs : ``"finish"``: the server stays until the jobs that this client asks or waits for have ended. ``"stop"``: it
        need not, and a line on stderr says so when the first is started. They stop with the last client and go on when
        the store is next opened. One client that wants a job finished is enough. A server that was started by
        ``penult serve`` stays anyway.
    timeout : seconds in which the server must answer.

    Raises
    ------
    InvalidRequest : `root` is no directory, and none can be made there.
    ImportError : the packages that a server needs are not installed.
    Unavailable : the server did not start; the message ends with the last lines of its log.
    VersionMismatch : a server of another version serves this store.
    """
    check_choice("jobs", jobs, get_args(WhenLeft))
    connection, info = attached_server(root, timeout=seconds(timeout))
    connection.may_stop = jobs == "stop"
    return Client(connection, info)


def looking(root: str | Path, *, timeout: float = 60.0) -> Client:
    """What `local` gives, for a command that only reads: unless others use the server, no job that waits is started.

    Asking for a job or watching one that has not ended starts the jobs, as ever. Raises what `local` raises.
    """
    return Client(*attached_server(root, timeout=seconds(timeout), look=True))
