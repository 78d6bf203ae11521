"""Certificates by which the front and one compute worker on another machine know each other.

Each start of a worker has an authority of its own, which signs one certificate of each side and is then forgotten: its
key is never written down, so nobody can ever get a third one.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from penult_proto.errors import ErrorKind
from penult_proto.limits import MESSAGE_OPTIONS
from penult_proto.v1.pipes_pb2 import MutualTls
from penult_server.errors import ServiceError

WORKER, FRONT = "compute.penult", "front.penult"
"""Names in the certificates; no address is looked up by them."""
VALID = timedelta(days=365)
"""A connection made later fails, and the worker is replaced."""
CLOCKS_APART = timedelta(days=1)
"""How far another machine's clock may be behind."""
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
)
"""A machine that is gone says nothing: calls in progress end after 20 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What each side needs, in PEM."""

    worker: MutualTls
    front: MutualTls

    def channel(self, address: str) -> grpc.aio.Channel:
        """A channel of the front to the worker, and to nobody else who may listen at its address."""
        own = self.front
        credentials = grpc.ssl_channel_credentials(own.authority, own.key, own.certificate)
        options = [
            *MESSAGE_OPTIONS,
            *KEEPALIVE,
            ("grpc.ssl_target_name_override", WORKER),
            ("grpc.enable_http_proxy", 0),
        ]
        return grpc.aio.secure_channel(address, credentials, options=options)


def make_pair() -> Pair:
    """Certificates for one start of a worker. Raises ServiceError (INVALID_ARGUMENT) where a package is missing."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
    except ImportError as error:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"compute workers on a cluster need cryptography ({error}): install penult with its extra `ray`",
        ) from error
    authority = ec.generate_private_key(ec.SECP256R1())
    root = _signed("authority.penult", authority, authority, usage=None)
    sides = {
        name: (_signed(name, key := ec.generate_private_key(ec.SECP256R1()), authority, usage=usage), key)
        for name, usage in ((WORKER, Usage.SERVER_AUTH), (FRONT, Usage.CLIENT_AUTH))
    }
    worker, front = (
        MutualTls(authority=root, certificate=certificate, key=_pem(key)) for certificate, key in sides.values()
    )
    return Pair(worker=worker, front=front)


def _signed(name: str, key: Any, authority: Any, *, usage: Any) -> bytes:
    """The certificate of a key, in PEM; without a usage that of the authority itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    now, is_authority = datetime.now(UTC), usage is None

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    made = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("authority.penult"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
    )
    if not is_authority:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
    return made.sign(authority, SHA256()).public_bytes(Encoding.PEM)


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem
