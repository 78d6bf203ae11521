"""The two ways to a client: of a server that runs already, and of a store on this machine."""

from pathlib import Path
from typing import Literal, TypeAlias, get_args

from penult.arguments.coerce import check_choice, flag, path, seconds
from penult.client import Client
from penult.connection.embedded import attached_server
from penult.connection.handshake import DEFAULT_ADDRESS, check_address, check_server, find_token
from penult.connection.rpc import Connection

WhenLeft: TypeAlias = Literal["finish", "stop"]
"""What becomes of unfinished jobs when the last client of a store has left."""


def connect(
    address: str = DEFAULT_ADDRESS,
    *,
    token: str | None = None,
    tls: bool = False,
    tls_ca: str | Path | None = None,
    timeout: float = 5.0,
) -> Client:
    """A client of the server at `address`.

    Parameters
    ----------
    address : ``host:port``.
    token : what the server asks for. By default the environment variable ``PENULT_TOKEN``; for a server of
        the same user on this machine, the file that it wrote.
    tls : encrypt, trusting the authorities that gRPC ships with.
    tls_ca : encrypt, trusting the PEM certificates in this file.
    timeout : seconds in which the server must answer.

    Raises
    ------
    InvalidRequest : `address` is not ``host:port``.
    Unavailable : nobody answers there.
    Unauthenticated : the token is missing or wrong.
    VersionMismatch : the server speaks another protocol.
    """
    check_address(address)
    found = find_token(address, token)
    trusted = None if tls_ca is None else path("tls_ca", tls_ca)
    connection = Connection(address, token=found, tls=flag("tls", tls), tls_ca=trusted)
    return Client(connection, check_server(connection, timeout=seconds(timeout)))


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
