"""The certificate of a server: read, checked before the port is opened, and given to gRPC."""

import ssl
from pathlib import Path

import grpc

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError


def tls_credentials(
    certificate: Path | None, key: Path | None, client_ca: Path | None = None
) -> grpc.ServerCredentials | None:
    """Credentials of a pair of PEM files; None without them.

    With `client_ca`, only clients whose certificates these authorities have signed can connect.

    Raises ServiceError (INVALID_ARGUMENT) for files that cannot be read, are no certificate and key, or do not belong
    together: gRPC would say of each that the port is taken.
    """
    if certificate is None or key is None:
        return None
    content = [_read(path) for path in (key, certificate)]
    try:
        # Empty: a key that asks for a password is refused instead of asking on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT,
            f"{certificate} and {key} are not a certificate and its key without a password, in PEM ({error}); make a "
            "pair with `penult tls-init NAME`",
        ) from error
    if client_ca is None:
        return grpc.ssl_server_credentials([(content[0], content[1])])
    try:
        ssl.create_default_context(cafile=client_ca)
    except (OSError, ValueError) as error:
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"{client_ca} must hold certificates of authorities, in PEM ({error})"
        ) from error
    authorities = _read(client_ca)
    return grpc.ssl_server_credentials(
        [(content[0], content[1])], root_certificates=authorities, require_client_auth=True
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ServiceError(ErrorKind.INVALID_ARGUMENT, f"cannot read {path}: {error.strerror}") from error
