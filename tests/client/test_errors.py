"""From kinds to classes, and from real failed calls to typed errors."""

import importlib
import pickle
import pkgutil
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

import penult
import penult_proto.v1
from penult import errors
from penult.connection.rpc import READ_METHODS, Connection, is_loopback
from penult_proto import PROTOCOL
from penult_proto.errors import STATUS_CODES, ErrorKind
from penult_proto.v1 import info_pb2, info_pb2_grpc

CLASSES_BY_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: {errors.InvalidRequest, errors.Conflict},
    grpc.StatusCode.NOT_FOUND: {errors.NotFound},
    grpc.StatusCode.ALREADY_EXISTS: {errors.Conflict},
    grpc.StatusCode.FAILED_PRECONDITION: {errors.PreconditionFailed, errors.Conflict, errors.VersionMismatch},
    grpc.StatusCode.DATA_LOSS: {errors.StoreCorrupt},
    grpc.StatusCode.RESOURCE_EXHAUSTED: {errors.Busy},
    grpc.StatusCode.UNAVAILABLE: {errors.Unavailable},
    grpc.StatusCode.CANCELLED: {errors.Cancelled},
    grpc.StatusCode.DEADLINE_EXCEEDED: {errors.DeadlineExceeded},
    grpc.StatusCode.UNAUTHENTICATED: {errors.Unauthenticated},
    grpc.StatusCode.PERMISSION_DENIED: {errors.NotAllowed},
    grpc.StatusCode.INTERNAL: {errors.ServerBug},
}
Answer = Callable[[grpc.ServicerContext], info_pb2.Info]


@contextmanager
def info_server(answer: Answer) -> Iterator[str]:
    """A real server whose GetInfo is `answer`; gives its address."""

    class Servicer(info_pb2_grpc.InfoServiceServicer):
        def GetInfo(self, request: info_pb2.GetInfoRequest, context: grpc.ServicerContext) -> info_pb2.Info:
            return answer(context)

        def Attach(
            self, request: info_pb2.AttachRequest, context: grpc.ServicerContext
        ) -> Iterator[info_pb2.AttachEvent]:
            answer(context)
            yield info_pb2.AttachEvent()

    server = grpc.server(ThreadPoolExecutor(2))
    info_pb2_grpc.add_InfoServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def refuse(kind: ErrorKind, message: str, wait: int | None = None, **metadata: str) -> Answer:
    """An answer that fails the way the service does."""

    def answer(context: grpc.ServicerContext) -> info_pb2.Info:
        details = error_details_pb2.ErrorInfo(reason=kind.upper(), domain="penult", metadata=metadata)
        status = status_pb2.Status(code=STATUS_CODES[kind].value[0], message=message)
        status.details.add().Pack(details)
        if wait is not None:
            delay = duration_pb2.Duration(seconds=wait)
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(STATUS_CODES[kind], message)
        raise AssertionError("abort raises")

    return answer


def call(address: str, timeout: float = 5.0) -> info_pb2.Info:
    connection = Connection(address)
    try:
        return connection.unary(connection.stubs.info.GetInfo, info_pb2.GetInfoRequest(), timeout=timeout)
    finally:
        connection.close()


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_has_one_class_that_fits_its_status_code(kind: ErrorKind) -> None:
    error = errors.from_kind(kind, "said", {"key": "value"})
    assert type(error) in CLASSES_BY_CODE[STATUS_CODES[kind]]
    assert (error.kind, error.message, error.metadata) == (str(kind), "said", {"key": "value"})
    assert error.retryable == (STATUS_CODES[kind] in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED))


def test_no_class_is_without_a_kind() -> None:
    subclasses = set(errors.PenultError.__subclasses__())
    assert subclasses == set(errors.CLASSES.values())
    assert {error.__name__ for error in subclasses} <= set(penult.__all__)


def test_a_kind_of_a_newer_server_is_kept() -> None:
    error = errors.from_kind("too_wonderful", "said")
    assert type(error) is errors.PenultError
    assert error.kind == "too_wonderful"


def test_errors_survive_pickling() -> None:
    error = errors.from_kind(ErrorKind.QUEUE_FULL, "full", {"limit": "3"}, 2.5)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is errors.Busy
    assert (copy.kind, copy.message, copy.metadata, copy.retry_after) == ("queue_full", "full", {"limit": "3"}, 2.5)
    assert str(copy) == "full [queue_full]"


@pytest.mark.parametrize("kind", [ErrorKind.UNKNOWN_DATASET, ErrorKind.STORE_CORRUPT, ErrorKind.EMPTY_GROUP])
def test_a_failed_call_becomes_the_error_of_its_kind(kind: ErrorKind) -> None:
    with info_server(refuse(kind, "there is no 'x'", name="x")) as address, pytest.raises(errors.PenultError) as caught:
        call(address)
    assert type(caught.value) is errors.CLASSES[kind]
    assert (caught.value.message, caught.value.metadata) == ("there is no 'x'", {"name": "x"})
    assert caught.value.retry_after is None


def test_retry_info_says_how_long_to_wait() -> None:
    with info_server(refuse(ErrorKind.QUEUE_FULL, "full", wait=7)) as address, pytest.raises(errors.Busy) as caught:
        call(address)
    assert caught.value.retry_after == 7


def test_grpc_is_hidden_from_the_trace() -> None:
    with info_server(refuse(ErrorKind.UNKNOWN_JOB, "none")) as address, pytest.raises(errors.NotFound) as caught:
        call(address)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_streams_fail_with_the_same_errors() -> None:
    with info_server(refuse(ErrorKind.SHUTTING_DOWN, "leaving", wait=2)) as address:
        connection = Connection(address)
        attach = connection.stubs.info.Attach
        with (
            pytest.raises(errors.Unavailable) as caught,
            connection.stream(attach, info_pb2.AttachRequest(), timeout=5) as events,
        ):
            next(events)
        connection.close()
    assert (caught.value.kind, caught.value.retry_after) == ("shutting_down", 2)
    assert caught.value.__suppress_context__


def test_an_error_without_details_is_read_from_its_code() -> None:
    def answer(context: grpc.ServicerContext) -> info_pb2.Info:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "what?")
        raise AssertionError("abort raises")

    with info_server(answer) as address, pytest.raises(errors.VersionMismatch, match=r"what\?"):
        call(address)


def test_details_that_cannot_be_read_do_not_hide_the_failure() -> None:
    def answer(context: grpc.ServicerContext) -> info_pb2.Info:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff\xff"),))
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad width")
        raise AssertionError("abort raises")

    with info_server(answer) as address, pytest.raises(errors.InvalidRequest, match="bad width"):
        call(address)


def test_every_call_carries_protocol_and_token() -> None:
    seen: dict[str, object] = {}

    def answer(context: grpc.ServicerContext) -> info_pb2.Info:
        seen.update(dict(context.invocation_metadata()))
        return info_pb2.Info(protocol=PROTOCOL, chunk_bytes=1024)

    with info_server(answer) as address, penult.connect(address, token="secret"):
        pass
    assert seen["penult-protocol"] == str(PROTOCOL)
    assert seen["authorization"] == "Bearer secret"


def test_another_protocol_is_refused_with_both_numbers() -> None:
    def answer(context: grpc.ServicerContext) -> info_pb2.Info:
        return info_pb2.Info(protocol=PROTOCOL + 1, version="9.9")

    with info_server(answer) as address, pytest.raises(errors.VersionMismatch) as caught:
        penult.connect(address)
    assert caught.value.metadata == {"server": str(PROTOCOL + 1), "client": str(PROTOCOL)}


def test_nobody_there_is_said_quickly_with_the_address_and_what_to_do() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(errors.Unavailable) as caught:
            penult.connect(address)
    assert time.monotonic() - started < 5
    assert caught.value.kind == "unreachable"
    assert address in caught.value.message
    assert "penult serve" in caught.value.message


def test_a_silent_host_counts_as_unreachable() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(errors.Unavailable, match="no answer within"):
            penult.connect(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.5)


def test_a_slow_answer_is_a_deadline() -> None:
    def answer(context: grpc.ServicerContext) -> info_pb2.Info:
        while context.is_active():
            pass
        return info_pb2.Info()

    with info_server(answer) as address, pytest.raises(errors.DeadlineExceeded, match="timeout="):
        call(address, timeout=0.3)


def test_a_closed_client_says_so() -> None:
    with info_server(lambda context: info_pb2.Info(protocol=PROTOCOL)) as address:
        client = penult.connect(address)
        client.close()
        client.close()
        with pytest.raises(errors.InvalidRequest, match="closed"):
            client.info()


@pytest.mark.parametrize("address", ["", "nowhere", "host:", ":7711", "host:port", "host:0", "host:70000"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="host:port"):
        penult.connect(address)


def test_loopback_addresses() -> None:
    assert all(is_loopback(address) for address in ("localhost:1", "127.0.0.1:1", "127.8.0.1:1", "[::1]:1"))
    assert not any(is_loopback(address) for address in ("gpu-box:1", "10.0.0.1:1", "127.com:1"))


def test_reads_and_only_reads_are_repeated() -> None:
    names = [one.name for one in pkgutil.iter_modules(penult_proto.v1.__path__) if one.name.endswith("_pb2")]
    modules = [importlib.import_module(f"penult_proto.v1.{name}") for name in names]
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    reads = {
        (service.full_name, method.name)
        for service in services
        for method in service.methods
        if method.name.startswith(("Get", "List"))
    }
    assert reads == {(service, method) for service, methods in READ_METHODS.items() for method in methods}
