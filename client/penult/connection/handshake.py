"""What is checked before a server is used: its address, the token for it, and what it says about itself."""

import os

from penult.arguments.coerce import text
from penult.connection.rpc import Connection, is_loopback, unreachable
from penult.connection.servers import read_record, state_file
from penult.errors import DeadlineExceeded, Unavailable, VersionMismatch, invalid, shown
from penult.results.records import Info
from penult.wire import decode
from penult_proto import PROTOCOL
from penult_proto.errors import ErrorKind
from penult_proto.v1 import info_pb2

DEFAULT_ADDRESS = "localhost:7711"
ADDRESS_VARIABLE = "PENULT_ADDRESS"
TOKEN_VARIABLE = "PENULT_TOKEN"


def check_address(address: str) -> None:
    """Raise `InvalidRequest` unless `address` is ``host:port``."""
    host, _, port = text("address", address, example=repr(DEFAULT_ADDRESS)).rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536
    if not host.isprintable() or not host.strip() or not is_port:
        raise invalid(f"an address is host:port, such as {DEFAULT_ADDRESS}; got {shown(address)}", address=address)


def find_token(address: str, token: str | None, *, looks: bool = True) -> str | None:
    """The token to use: the argument, the environment, or, if it `looks`, the file of a server on this machine."""
    if token is not None:
        return checked_token("token", token)
    if from_environment := os.environ.get(TOKEN_VARIABLE):
        return checked_token(TOKEN_VARIABLE, from_environment)
    if not looks or not is_loopback(address):
        return None
    record = read_record(state_file(address.rpartition(":")[2]))
    return record.token if record else None


def checked_token(argument: str, token: str) -> str:
    """A token that can be sent: printable ASCII. Raises `InvalidRequest`, which does not repeat it."""
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
        raise invalid(f"{argument} must be printable ASCII text; got a {type(token).__name__} that is not")
    return token


def check_server(connection: Connection, *, timeout: float) -> Info:
    """What the server says about itself. Closes the connection when it raises.

    Raises `Unavailable`, whose text names every mistake in TLS as itself, `Unauthenticated` or `VersionMismatch`.
    """
    try:
        return _info(connection, timeout=timeout)
    except BaseException as error:
        connection.close()
        if not isinstance(error, Unavailable):
            raise
        unreached = error
    raise _explained(connection, unreached)


def _explained(connection: Connection, unreached: Unavailable) -> Unavailable:
    """The same error, or where TLS is the matter one that says so."""
    # Imported here, with the standard library's TLS: few connections fail.
    from penult.connection.tls_trouble import tls_trouble

    trouble = tls_trouble(
        connection.address, tls=connection.tls, tls_ca=connection.tls_ca, tls_pair=connection.tls_pair
    )
    if trouble is None:
        return unreached
    return Unavailable(trouble, kind=ErrorKind.UNREACHABLE, metadata={"address": connection.address})


def _info(connection: Connection, *, timeout: float) -> Info:
    try:
        message = connection.unary(connection.stubs.info.GetInfo, info_pb2.GetInfoRequest(), timeout=timeout)
    except DeadlineExceeded:
        # A machine that drops packets never refuses: for the caller that is the same as nobody there.
        silence = unreachable(connection.address, f"no answer within {timeout:g} s")
    else:
        if message.protocol != PROTOCOL:
            raise VersionMismatch(
                f"the server at {connection.address} speaks protocol {message.protocol} (penult {message.version}), "
                f"this client protocol {PROTOCOL}: install the same version on both sides",
                kind=ErrorKind.VERSION_MISMATCH,
                metadata={"server": str(message.protocol), "client": str(PROTOCOL)},
            )
        return decode.info(message)
    raise silence
