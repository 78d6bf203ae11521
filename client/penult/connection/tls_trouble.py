"""Why a connection with or without TLS failed: gRPC says only that nobody could be reached. And when it will fail."""

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from penult.errors import shown

PROBE_SECONDS = 3.0
"""How long a probe waits for a machine that does not answer."""
HAS_EXPIRED, NOT_YET_VALID, WRONG_NAME, WRONG_ADDRESS = 10, 9, 62, 64
"""OpenSSL's numbers of the ways in which a certificate is refused; any other is an authority that is not trusted."""


Pair: TypeAlias = "tuple[str | Path, str | Path] | None"
"""The files of the client's own certificate and key."""


class _RefusedByServerError(Exception):
    """The server's answer to a handshake that succeeded here: it refuses the client's certificate."""


def tls_trouble(address: str, *, tls: bool, tls_ca: str | Path | None, tls_pair: Pair = None) -> str | None:
    """What is wrong with the TLS of a connection that failed, in a sentence that says what to do.

    None where TLS is not the matter: nobody listens at `address`, or the handshake succeeds.

    Parameters
    ----------
    address : ``host:port`` that the connection went to.
    tls, tls_ca, tls_pair : as they were given to `penult.connect`.
    """
    host, _, port = address.rpartition(":")
    target = (host.strip("[]"), int(port))
    if not tls:
        return _of_plain(target, address)
    return _of_encrypted(target, address, tls_ca, tls_pair)


def certificate_end(address: str, tls_ca: str | Path | None) -> datetime | None:
    """When the certificate of a server ends; None where the handshake fails."""
    host, _, port = address.rpartition(":")
    name = host.strip("[]")
    try:
        with (
            socket.create_connection((name, int(port)), timeout=PROBE_SECONDS) as plain,
            _verified(tls_ca).wrap_socket(plain, server_hostname=name) as encrypted,
        ):
            certificate = encrypted.getpeercert() or {}
    except (OSError, ValueError):
        return None
    end = certificate.get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if isinstance(end, str) else None


def _of_plain(target: tuple[str, int], address: str) -> str | None:
    """A server that completes a handshake, whatever its certificate, wants TLS."""
    refusal = _handshake(target, _unverified())
    if refusal is not None and not isinstance(refusal, _RefusedByServerError):
        return None
    return (
        f"the server at {address} speaks TLS and this client did not: pass tls=True, or tls_ca= with the file of its "
        "certificate where no public authority signed that"
    )


def _of_encrypted(target: tuple[str, int], address: str, tls_ca: str | Path | None, tls_pair: Pair) -> str | None:
    refusal = _handshake(target, _verified(tls_ca, tls_pair))
    match refusal:
        case None | TimeoutError():
            return None
        case _RefusedByServerError():
            return _of_client(address, tls_pair, refusal)
        case ssl.SSLCertVerificationError():
            return _of_certificate(refusal, target[0], address, tls_ca)
        case ssl.SSLError() | ConnectionResetError() | BrokenPipeError():
            # gRPC without TLS answers a handshake by bytes that are none, or by hanging up.
            return (
                f"the server at {address} does not speak TLS and this client did: leave tls= and tls_ca= out, or start "
                "the server with --tls-cert and --tls-key"
            )
        case _:
            return None


def _of_client(address: str, tls_pair: Pair, refusal: Exception) -> str:
    """What is wrong with the client's own certificate."""
    if tls_pair is None:
        return (
            f"the server at {address} wants a certificate of each client: pass tls_cert= and tls_key= with the files "
            "of yours, which an authority of the server (its --tls-client-ca) must have signed"
        )
    return (
        f"the server at {address} does not accept the certificate in {shown(str(tls_pair[0]))} ({refusal}): an "
        "authority of the server (its --tls-client-ca) must have signed it, and it must be valid today"
    )


def _of_certificate(refusal: ssl.SSLCertVerificationError, host: str, address: str, tls_ca: str | Path | None) -> str:
    if refusal.verify_code in (HAS_EXPIRED, NOT_YET_VALID):
        when = "has expired" if refusal.verify_code == HAS_EXPIRED else "is not valid yet"
        return (
            f"the certificate of {address} {when}: make another on the server (penult tls-init {host}), and compare "
            "the clocks of both machines"
        )
    if refusal.verify_code in (WRONG_NAME, WRONG_ADDRESS):
        return (
            f"the certificate of {address} is not for {host!r} ({refusal.verify_message}): connect by a name that it "
            f"holds, or make one for this name (penult tls-init {host})"
        )
    trusted = "the authorities of this machine" if tls_ca is None else f"the certificates in {shown(str(tls_ca))}"
    return (
        f"the certificate of {address} is signed by nobody that {trusted} name ({refusal.verify_message}): pass "
        "tls_ca= with a copy of the server's own certificate file or of its authority's"
    )


def _handshake(target: tuple[str, int], context: ssl.SSLContext) -> Exception | None:
    """What refused a handshake, or None when it succeeded."""
    try:
        with (
            socket.create_connection(target, timeout=PROBE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=target[0]) as encrypted,
        ):
            return _first_answer(encrypted)
    except (OSError, ValueError) as error:
        return error


def _first_answer(encrypted: ssl.SSLSocket) -> Exception | None:
    """What refuses the client's certificate: with TLS 1.3 a server judges it when the client has finished."""
    try:
        if encrypted.recv(1):
            return None
    except TimeoutError:
        return None
    except OSError as error:
        return _RefusedByServerError(str(error))
    return _RefusedByServerError("it closes the connection")


def _unverified() -> ssl.SSLContext:
    """Settings that accept any certificate, to ask whether there is TLS at all; nothing is sent over it."""
    context = _offering_http2(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _verified(tls_ca: str | Path | None, tls_pair: Pair = None) -> ssl.SSLContext:
    context = _offering_http2(ssl.create_default_context(cafile=None if tls_ca is None else str(tls_ca)))
    if tls_pair is not None:
        context.load_cert_chain(*tls_pair)
    return context


def _offering_http2(context: ssl.SSLContext) -> ssl.SSLContext:
    """gRPC servers refuse handshakes that do not offer HTTP/2."""
    context.set_alpn_protocols(["h2"])
    return context
