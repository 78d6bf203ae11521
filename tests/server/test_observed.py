"""Every call is counted, timed and told once, whatever its shape and however it ends; labels come from a table."""

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from penult_proto.errors import ErrorKind, said_by
from penult_proto.roles import Role
from penult_proto.services import REQUEST_KEY, SERVICES, WAITED_KEY
from penult_server.compute.observed import Requests, tell_waited
from penult_server.compute.turns import Turns
from penult_server.errors import ServiceError
from penult_server.front.caller import CALLER, Caller
from penult_server.front.observed.call import CallRecord, begin, current, waited, waited_for
from penult_server.front.observed.interceptor import Observer, number_of
from penult_server.front.observed.methods import ENDLESS, METHODS
from penult_server.front.observed.metrics import COUNTED, REFUSALS
from penult_server.front.observed.slowness import FEWEST_CALLS, Slowness
from penult_server.status import abort, translate

SHAPES = {
    "unary_unary": "/penult.v1.InfoService/GetInfo",
    "unary_stream": "/penult.v1.RefitService/ComputeRefits",
    "stream_unary": "/penult.v1.FeatureService/UploadFeatures",
    "stream_stream": "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}
ENDINGS = {
    "answer": ("OK", ""),
    "refuse": ("RESOURCE_EXHAUSTED", "busy"),
    "fail": ("UNKNOWN", "internal"),
    "deadline": ("DEADLINE_EXCEEDED", "deadline_exceeded"),
    "leave": ("CANCELLED", "cancelled"),
}
"""What a handler is asked to do, or its caller does; the status and the kind that are counted."""


async def do(what: bytes, context) -> bytes:
    CALLER.set(Caller(user="ada", role=Role.READER))
    if what == b"refuse":
        await abort(context, ServiceError(ErrorKind.BUSY, "too much at once"))
    if what == b"bug":
        await abort(context, translate(ValueError("a mistake")))
    if what == b"fail":
        raise ValueError("a mistake")
    if what in (b"deadline", b"leave"):
        await asyncio.Event().wait()
    return what


class Handlers(grpc.GenericRpcHandler):
    """One method of each shape; the last request says what it does."""

    def service(self, handler_call_details):
        async def unary_unary(request, context):
            return await do(request, context)

        async def unary_stream(request, context):
            yield b"first"
            yield await do(request, context)

        async def stream_unary(requests, context):
            return await do([one async for one in requests][-1], context)

        async def stream_stream(requests, context):
            async for request in requests:
                yield b"first"
                yield await do(request, context)

        for shape, method in SHAPES.items():
            if method == handler_call_details.method:
                return getattr(grpc, f"{shape}_rpc_method_handler")(locals()[shape])
        return None


@contextlib.asynccontextmanager
async def serving(**options):
    server = grpc.aio.server(interceptors=[Observer(**options)])
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await channel.channel_ready()  # a deadline counts from the call, not from the connection
            yield channel
    finally:
        await server.stop(None)


async def call(channel, shape: str, ending: str, metadata=()):
    """Make one call and end it; the call, whose status and trailers can be asked."""
    content = ending.encode()
    given = iter([content]) if shape.startswith("stream") else content
    timeout = 0.3 if ending == "deadline" else 20
    made = getattr(channel, shape)(SHAPES[shape])(given, timeout=timeout, metadata=metadata)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        if shape.endswith("stream"):
            async for _ in made:
                if ending == "leave":
                    made.cancel()
        elif ending == "leave":
            await until(lambda: in_flight(METHODS[SHAPES[shape]]) == 1)
            made.cancel()
            await made
        else:
            await made
    return made


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def counted(method: str) -> dict[tuple[str, str], float]:
    """How many calls of a method ended how."""
    return {
        (sample.labels["code"], sample.labels["kind"]): sample.value
        for family in COUNTED.collect()
        for sample in family.samples
        if sample.name == "penult_requests_total" and sample.labels["method"] == method
    }


def counted_since(before: dict[tuple[str, str], float], method: str) -> dict[tuple[str, str], float]:
    """How many more: counters are of the process, and other files count, too."""
    now = counted(method)
    return {key: now[key] - before.get(key, 0) for key in now if now[key] != before.get(key, 0)}


def in_flight(method: str) -> float:
    return COUNTED.get_sample_value("penult_requests_in_flight", {"method": method}) or 0.0


def timed(method: str) -> float:
    return COUNTED.get_sample_value("penult_request_seconds_count", {"method": method}) or 0.0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_call_of_every_shape_is_counted_once_however_it_ends(shape, ending, caplog):
    caplog.set_level(logging.INFO, "penult.access")
    method = METHODS[SHAPES[shape]]
    before, n_timed = counted(method), timed(method)

    async def scenario():
        async with serving() as channel:
            made = await call(channel, shape, ending, ((REQUEST_KEY, "abc-1"),))
            # The server may still be at it when its caller has gone.
            await until(lambda: timed(method) == n_timed + 1)
            if ending in ("answer", "refuse"):
                assert dict(await made.trailing_metadata())[REQUEST_KEY] == "abc-1"
            if ending == "refuse":
                assert said_by(await made.trailing_metadata()).kind == "busy"

    asyncio.run(scenario())
    assert counted_since(before, method) == {ENDINGS[ending]: 1}
    assert in_flight(method) == 0
    (line,) = [one for one in caplog.records if one.name == "penult.access"]
    assert (line.method, line.code, line.kind, line.request_id) == (method, *ENDINGS[ending], "abc-1")
    refused = ending in ("refuse", "fail")
    assert line.levelno == (logging.WARNING if refused else logging.INFO)


def test_a_mistake_names_the_call_whose_trace_is_in_the_log():
    async def scenario():
        async with serving() as channel:
            made = await call(channel, "unary_unary", "bug", ((REQUEST_KEY, "abc-1"),))
            return said_by(await made.trailing_metadata())

    said = asyncio.run(scenario())
    assert said.kind == "internal"
    assert said.message.endswith("its log has the trace, request abc-1")


def test_the_compute_worker_s_threads_know_the_number_of_their_call():
    requests = Requests()

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method == "/x/one":
                return grpc.unary_unary_rpc_method_handler(lambda request, context: requests.current().encode())
            return grpc.unary_stream_rpc_method_handler(self.several)

        def several(self, request, context):
            tell_waited(context, 1.5)
            yield requests.current().encode()

    server = grpc.server(ThreadPoolExecutor(2), interceptors=[requests])
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for number in ("abc-1", "abc-2"):
                metadata = ((REQUEST_KEY, number),)
                assert channel.unary_unary("/x/one")(b"", metadata=metadata, timeout=20) == number.encode()
                stream = channel.unary_stream("/x/several")(b"", metadata=metadata, timeout=20)
                assert list(stream) == [number.encode()]
                assert dict(stream.initial_metadata())[WAITED_KEY] == "1.500000"
            assert channel.unary_unary("/x/one")(b"", timeout=20) == b""
    finally:
        server.stop(None).wait()


def test_a_device_adds_up_for_how_long_it_was_held():
    device = Turns()
    assert device.used_seconds() == 0
    with device.held():
        while device.used_seconds() < 0.01:
            pass
    held = device.used_seconds()
    assert held >= 0.01
    assert device.used_seconds() == held


def test_a_refusal_is_counted_by_its_reason():
    before = REFUSALS.labels("busy")._value.get()

    async def scenario():
        async with serving() as channel:
            await call(channel, "unary_unary", "refuse")

    asyncio.run(scenario())
    assert REFUSALS.labels("busy")._value.get() == before + 1


def test_unknown_methods_are_one_label():
    """What a caller makes up becomes no label."""
    before = counted("unknown")

    async def scenario():
        async with serving() as channel:
            for name in ("/penult.v1.InfoService/Nothing", "/made.Up/Method", "/penult.v1.InfoService/GetInfo2"):
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary(name)(b"answer", timeout=20)

    asyncio.run(scenario())
    assert counted_since(before, "unknown") == {("UNIMPLEMENTED", "version_mismatch"): 3}
    labels = {
        sample.labels["method"]
        for family in COUNTED.collect()
        for sample in family.samples
        if "method" in sample.labels
    }
    assert labels <= {*METHODS.values(), "unknown"}


def test_the_table_has_every_method_of_the_protocol():
    ours = {f"/{name}/{method.name}" for name, service in SERVICES.items() for method in service.methods}
    assert ours <= METHODS.keys()
    assert len(set(METHODS.values())) == len(METHODS)
    assert set(METHODS.values()) >= ENDLESS


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "line\nbreak", 'quote"'])
def test_what_is_no_number_is_replaced(given):
    made = number_of(((REQUEST_KEY, given),))
    assert made != given
    assert number_of(((REQUEST_KEY, made),)) == made
    assert number_of(()) != number_of(())


def test_users_are_labels_only_where_that_was_asked_for():
    def of_users():
        return [
            sample
            for family in COUNTED.collect()
            for sample in family.samples
            if sample.name == "penult_user_requests_total"
        ]

    async def scenario(**options):
        async with serving(**options) as channel:
            await call(channel, "unary_unary", "answer")

    before = of_users()
    asyncio.run(scenario())
    assert of_users() == before
    asyncio.run(scenario(by_user=True))
    (made,) = [one for one in of_users() if one not in before]
    assert (made.labels, made.value) == ({"user": "ada", "code": "OK"}, 1)


def test_waiting_for_a_slot_counts_as_waiting():
    async def scenario():
        record = CallRecord("InfoService/GetInfo")
        begin(record)
        slot = asyncio.Semaphore(1)
        await slot.acquire()
        asyncio.get_running_loop().call_later(0.02, slot.release)
        async with waited_for(slot):
            assert slot.locked()
        waited(1)
        return record.waited

    assert 1.015 < asyncio.run(scenario()) < 3
    assert current().method == "unknown"


def test_slow_is_many_times_the_median_and_not_short():
    slowness = Slowness()
    assert not slowness.is_slow("RefitService/ComputeRefits", 100)  # nothing is known of it yet
    for _ in range(FEWEST_CALLS):
        assert not slowness.is_slow("RefitService/ComputeRefits", 0.05)
    assert not slowness.is_slow("RefitService/ComputeRefits", 0.9)
    assert slowness.is_slow("RefitService/ComputeRefits", 1.1)
    for _ in range(FEWEST_CALLS):
        slowness.is_slow("JobService/WatchJob", 0.05)
    assert not slowness.is_slow("JobService/WatchJob", 1000)
