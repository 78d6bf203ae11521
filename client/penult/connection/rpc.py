"""Calls to a server: channel, retries, deadlines, metadata, and gRPC's errors as penult's."""

import ipaddress
import json
import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from urllib.parse import quote

import grpc

from penult.arguments.coerce import seconds
from penult.connection.beside import uploaded_beside
from penult.connection.patience import Call, Patience, PatientCall
from penult.connection.scope import SCOPE, held
from penult.errors import Busy, InvalidRequest, PenultError, Unavailable, from_kind, invalid, shown
from penult_proto import PROTOCOL
from penult_proto.errors import FALLBACK_KINDS, ErrorKind, said_by
from penult_proto.limits import MESSAGE_BYTES
from penult_proto.pieces.uploads import upload_call
from penult_proto.services import READ_METHODS, REQUEST_KEY
from penult_proto.v1 import (
    catalog_pb2_grpc,
    checkpoints_pb2_grpc,
    datasets_pb2_grpc,
    diagnostics_pb2_grpc,
    features_pb2_grpc,
    groupings_pb2_grpc,
    info_pb2_grpc,
    jobs_pb2_grpc,
    neighbours_pb2_grpc,
    progress_pb2_grpc,
    refits_pb2_grpc,
    runs_pb2_grpc,
    spectra_pb2_grpc,
    storage_pb2_grpc,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from penult_proto.pieces.uploads import UploadMessage
    from penult_proto.v1 import features_pb2

USER_VARIABLE = "PENULT_USER"
Q = TypeVar("Q", bound="Message")
R = TypeVar("R", bound="Message")
R_co = TypeVar("R_co", bound="Message", covariant=True)


class Answer(Protocol[R_co]):
    """An answer that is still to come."""

    def result(self) -> R_co:
        """Wait for it."""
        ...

    def cancel(self) -> object:
        """Give it up. May be called again."""
        ...


INCOMPLETE = ErrorKind.INCOMPLETE_UPLOAD.value
_RETRIES = {
    "methodConfig": [
        {
            # The only calls that gRPC repeats by itself.
            "name": [
                {"service": service, "method": method}
                for service, methods in READ_METHODS.items()
                for method in methods
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}
_OPTIONS: list[tuple[str, str | int]] = [
    # Refits of several wide heads exceed gRPC's 4 MiB.
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # Pings only while a call is open: finds a peer that vanished during a long watch.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.service_config", json.dumps(_RETRIES)),
    # A restarted server is found within seconds instead of gRPC's two minutes.
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def host_of(address: str) -> str:
    """The host of ``host:port`` or ``[host]:port``."""
    return address.rpartition(":")[0].strip("[]")


def is_loopback(address: str) -> bool:
    """Whether an address means this machine."""
    host = host_of(address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Stubs:
    """The services of one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
        self.checkpoints = checkpoints_pb2_grpc.CheckpointServiceStub(channel)
        self.datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
        self.features = features_pb2_grpc.FeatureServiceStub(channel)
        self.upload_features: grpc.StreamUnaryMultiCallable[Any, features_pb2.FeatureSet] = upload_call(channel)
        """`features.UploadFeatures`, which takes pieces as they go over the wire, too."""
        self.groupings = groupings_pb2_grpc.GroupingServiceStub(channel)
        self.info = info_pb2_grpc.InfoServiceStub(channel)
        self.jobs = jobs_pb2_grpc.JobServiceStub(channel)
        self.diagnostics = diagnostics_pb2_grpc.DiagnosticServiceStub(channel)
        self.neighbours = neighbours_pb2_grpc.NeighbourServiceStub(channel)
        self.progress = progress_pb2_grpc.ProgressServiceStub(channel)
        self.refits = refits_pb2_grpc.RefitServiceStub(channel)
        self.runs = runs_pb2_grpc.RunServiceStub(channel)
        self.spectra = spectra_pb2_grpc.SpectraServiceStub(channel)
        self.storage = storage_pb2_grpc.StorageServiceStub(channel)


class Connection:
    """A channel to one server, opened at the first call and opened anew in a forked child.

    Safe to share between threads.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: bool = False,
        tls_ca: str | Path | None = None,
        tls_pair: tuple[str | Path, str | Path] | None = None,
    ) -> None:
        """`tls_pair`: the client's own certificate and its key."""
        self.address = address
        self.tls, self.tls_ca, self.tls_pair = tls or tls_ca is not None or tls_pair is not None, tls_ca, tls_pair
        self.root: Path | None = None
        """Directory of the store, where this is a connection of `penult.local`."""
        self.may_stop = False
        """Whether an embedded server need not stay for the jobs that are asked for here."""
        self.has_said_may_stop = False
        self._metadata: tuple[tuple[str, str], ...] = (("penult-protocol", str(PROTOCOL)), ("penult-user", _user()))
        if token:
            self._metadata += (("authorization", f"Bearer {token}"),)
        self._open: Callable[[], grpc.Channel] = lambda: _channel(address, self.tls, tls_ca, tls_pair)
        self._may_meet = True
        """Whether the server of `root` may be able to connect to a socket there."""
        self._lock = threading.Lock()
        self._closed = False
        self._pid = 0
        # Channels of a parent process: closing one here would disturb the parent's, and so would losing it.
        self._inherited: list[grpc.Channel] = []
        self._held: list[Call[Message]] = []
        self._channel: grpc.Channel | None = None
        self._stubs: Stubs | None = None

    @property
    def stubs(self) -> Stubs:
        """The services. Raises `InvalidRequest` once closed."""
        with self._lock:
            if self._closed:
                raise invalid("this client is closed; make another with penult.connect() or penult.local()")
            if self._stubs is None or self._pid != os.getpid():
                if self._channel is not None:
                    self._inherited.append(self._channel)
                self._pid = os.getpid()
                self._channel = self._open()
                self._stubs = Stubs(self._channel)
            return self._stubs

    def _numbered(self, metadata: tuple[tuple[str, str], ...] = ()) -> tuple[tuple[str, str], ...]:
        """The metadata of one call, with its number: the same for all attempts at it, and in the server's log."""
        return (*self._metadata, *metadata, (REQUEST_KEY, os.urandom(8).hex()))

    def unary(self, method: "grpc.UnaryUnaryMultiCallable[Q, R]", request: Q, *, timeout: float) -> R:
        """One request, one answer, within `timeout` seconds. Raises `PenultError`."""
        metadata = self._numbered()

        def attempt(left: float | None) -> R:
            scope = SCOPE.get()
            if scope is not None:
                scope.check()
                return self._awaited(method.future(request, timeout=left, metadata=metadata))
            try:
                return method(request, timeout=left, metadata=metadata)
            except grpc.RpcError as error:
                failure = self.failure(error)
            raise failure

        return _repeated(timeout, attempt)

    def ask(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Q, R]",
        request: Q,
        *,
        timeout: float,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> R:
        """As `unary`, of a query that may take long: whatever ends the waiting, as Ctrl-C, cancels it there."""
        metadata = self._numbered(metadata)
        return _repeated(timeout, lambda left: self._awaited(method.future(request, timeout=left, metadata=metadata)))

    def _awaited(self, call: "Answer[R]") -> R:
        """The answer to a call; whatever else ends the waiting cancels it."""
        try:
            with held(call):
                return call.result()
        except (grpc.RpcError, grpc.FutureCancelledError):
            # The error of a call is the call itself.
            failure = self.failure(cast("grpc.RpcError", call))
        finally:
            call.cancel()
        raise failure

    def upload(
        self, method: "grpc.StreamUnaryMultiCallable[Q, R]", requests: Callable[[], Iterator[Q]], *, timeout: float
    ) -> R:
        """Many requests, one answer, within `timeout` seconds; Ctrl-C cancels it. Raises `PenultError`.

        `requests` is called once more when the server had no place.
        """
        metadata = self._numbered()
        return _repeated(
            timeout, lambda left: self._awaited(method.future(requests(), timeout=left, metadata=metadata))
        )

    def upload_arrays(
        self, requests: "Callable[[], Iterator[UploadMessage]]", *, timeout: float
    ) -> "features_pb2.FeatureSet":
        """As `upload`, of a feature set: past gRPC, where the server is of this machine and user."""
        method, metadata = self.stubs.upload_features, self._numbered()

        def attempt(left: float | None) -> "features_pb2.FeatureSet":
            def begin(messages: Iterator[Any]) -> Any:
                return method.future(messages, timeout=left, metadata=metadata)

            if self.root is not None and self._may_meet:
                with suppress(OSError):
                    call, is_met = uploaded_beside(self.root, requests(), begin)
                    try:
                        return self._awaited(call)
                    except InvalidRequest as error:
                        if is_met or not (error.kind == INCOMPLETE or error.metadata.get("field") == "beside"):
                            raise
                # Nobody came: the server is of an earlier version, or may not.
                self._may_meet = False
            return self._awaited(begin(requests()))

        return _repeated(timeout, attempt)

    @contextmanager
    def stream(
        self,
        method: "grpc.UnaryStreamMultiCallable[Q, R]",
        request: Q,
        *,
        timeout: float | None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> "Generator[Call[R]]":
        """Answers as they come; leaving the block ends the call. Raises `PenultError` out of the block."""
        metadata = self._numbered(metadata)
        call = PatientCall(
            lambda left: method(request, timeout=left, metadata=metadata), Patience(seconds(timeout)), self.failure
        )
        try:
            with held(call):
                yield call
        except grpc.RpcError as error:
            failure = self.failure(error)
        else:
            return
        finally:
            call.cancel()
        # Python notes the error of gRPC as the context; this keeps it out of the trace.
        raise failure from None

    def hold(self, method: "grpc.UnaryStreamMultiCallable[Q, R]", request: Q) -> "Call[R]":
        """A call that stays open until `close`."""
        call = method(request, metadata=self._numbered())
        self._held.append(call)
        return call

    def failure(self, error: grpc.RpcError) -> PenultError:
        """What a failed call means."""
        return translate(error, self.address)

    def close(self) -> None:
        """End every call and close the channel. May be called again."""
        with self._lock:
            self._closed = True
            for call in self._held:
                call.cancel()
            self._held.clear()
            if self._channel is not None and self._pid == os.getpid():
                self._channel.close()
            self._channel = self._stubs = None


def _repeated(timeout: float, attempt: Callable[[float | None], R]) -> R:
    """The answer to a call that is made again and again while the server is busy, within the time in seconds."""
    patience = Patience(seconds(timeout))
    while True:
        try:
            return attempt(patience.left)
        except Busy as failure:
            if not patience.outlasts(failure):
                raise


def _user() -> str:
    """Who asks, for people to find things by: PENULT_USER, or the name at login, percent-encoded; empty if unknown.

    A statement, not an identity: nothing is allowed or refused by it.
    """
    names = (os.environ.get(variable) for variable in (USER_VARIABLE, "LOGNAME", "USER"))
    name = next(filter(None, names), "")
    if not name:
        import getpass  # 25 ms, where the environment does not say it

        try:
            name = getpass.getuser()
        except (OSError, KeyError, ImportError):  # no entry for this process's user, or no such table
            name = ""
    return quote(name, safe="", errors="replace")


def _channel(
    address: str, tls: bool, tls_ca: str | Path | None, tls_pair: tuple[str | Path, str | Path] | None
) -> grpc.Channel:
    options = list(_OPTIONS)
    if is_loopback(address):
        # A proxy set for the internet would otherwise be asked for this machine.
        options.append(("grpc.enable_http_proxy", 0))
    if not tls:
        return grpc.insecure_channel(address, options)
    root = _certificates(tls_ca) if tls_ca is not None else None
    certificate, key = (None, None) if tls_pair is None else _pair(*tls_pair)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(root, key, certificate), options)


def _pair(tls_cert: str | Path, tls_key: str | Path) -> tuple[bytes, bytes]:
    import ssl  # few clients have a certificate

    try:
        # Empty: a key that asks for a password is refused instead of asking on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tls_cert, tls_key, password="")
        return Path(tls_cert).read_bytes(), Path(tls_key).read_bytes()
    except (OSError, ValueError) as error:
        raise invalid(
            f"tls_cert and tls_key must be files of a certificate and its key without a password, in PEM; got "
            f"{shown(str(tls_cert))} and {shown(str(tls_key))} ({error})"
        ) from None


def _certificates(tls_ca: str | Path) -> bytes:
    try:
        content = Path(tls_ca).read_bytes()
    except OSError as error:
        raise invalid(f"tls_ca must be a file of PEM certificates; got {shown(tls_ca)} ({error})") from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise invalid(f"tls_ca must be a file of PEM certificates; {shown(tls_ca)} holds none")
    return content


def translate(error: grpc.RpcError, address: str) -> PenultError:
    """The typed error of a failed call: from the details that the server sent, else from the status code."""
    trailers = [(entry.key, entry.value) for entry in error.trailing_metadata() or ()]
    # The number of the call, by which the server's log is searched; only a server that was reached sends it back.
    number = dict[str, str]()
    if isinstance(request_id := dict(trailers).get(REQUEST_KEY), str):
        number["request_id"] = request_id
    found = said_by(trailers)
    if found is not None:
        return from_kind(found.kind, found.message, {**found.metadata, **number}, found.retry_after)
    kind = FALLBACK_KINDS.get(error.code(), ErrorKind.INTERNAL)
    said = f"{error.code().name}: {error.details() or 'no details'}"
    if kind is ErrorKind.UNREACHABLE:
        return unreachable(address, said)
    if kind is ErrorKind.DEADLINE_EXCEEDED:
        said = f"the server at {address} had not answered in the time allowed; allow more with timeout="
    return from_kind(kind, said, {"address": address, **number})


def unreachable(address: str, said: str) -> PenultError:
    """Nobody answers at an address."""
    port = address.rpartition(":")[2]
    start = f"penult serve --root DIR --port {port}"
    return Unavailable(
        f"no penult server answers at {address} ({said}); start one with `{start}`, "
        "or work without one: penult.local('DIR')",
        kind=ErrorKind.UNREACHABLE,
        metadata={"address": address},
    )
