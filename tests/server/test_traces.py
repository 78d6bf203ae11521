"""Traces by OpenTelemetry: a span of each call, of its parts inside it, and the way into the compute worker."""

import asyncio

import grpc
import pytest

from penult_server.front.observed.call import waited_for
from penult_server.front.observed.interceptor import Observer
from penult_server.logs import traces

trace = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra `otel` is not installed")
pytest.importorskip("opentelemetry.instrumentation.grpc", reason="the extra `otel` is not installed")
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


@pytest.fixture(scope="module")
def provider():
    from opentelemetry import trace as api

    made = trace.TracerProvider()
    # The instrumentation asks for the process's own provider, which can be set once.
    api.set_tracer_provider(made)
    return made


@pytest.fixture
def spans(provider, monkeypatch):
    monkeypatch.delenv(traces.ENDPOINT, raising=False)
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    provider.add_span_processor(processor)
    assert traces.start(provider)
    yield lambda: exporter.get_finished_spans()
    traces.stop()
    processor.shutdown()


class Handlers(grpc.GenericRpcHandler):
    def service(self, handler_call_details):
        async def answer() -> bytes:
            async with waited_for(asyncio.Semaphore(1)):
                with traces.span("compute"):
                    return dict(traces.carried())["traceparent"].encode()

        async def unary_unary(request, context):
            return await answer()

        async def unary_stream(request, context):
            yield await answer()

        async def stream_unary(requests, context):
            return [await answer() async for _ in requests][-1]

        async def stream_stream(requests, context):
            async for _ in requests:
                yield await answer()

        shape = handler_call_details.method.rpartition("/")[2]
        return getattr(grpc, f"{shape}_rpc_method_handler")(locals()[shape])


async def ask(shape: str) -> bytes:
    server = grpc.aio.server(interceptors=[Observer(), *traces.of_front()])
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            given = iter([b"x"]) if shape.startswith("stream") else b"x"
            made = getattr(channel, shape)(f"/penult.Test/{shape}")(given, timeout=20)
            return [one async for one in made][-1] if shape.endswith("stream") else await made
    finally:
        await server.stop(None)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_call_of_every_shape_is_a_trace_with_its_parts(spans, shape):
    carried = asyncio.run(ask(shape)).decode()
    found = {one.name: one for one in spans()}
    assert set(found) == {f"/penult.Test/{shape}", "wait", "compute"}
    call = found[f"/penult.Test/{shape}"]
    assert {found[name].parent.span_id for name in ("wait", "compute")} == {call.context.span_id}
    assert len({one.context.trace_id for one in spans()}) == 1
    # What the compute worker is told continues this trace, below the span in which it is called.
    assert carried.split("-")[1:3] == [f"{call.context.trace_id:032x}", f"{found['compute'].context.span_id:016x}"]


def test_without_an_endpoint_nothing_is_traced(monkeypatch):
    monkeypatch.delenv(traces.ENDPOINT, raising=False)
    assert traces.of_front() == traces.of_worker() == []
    assert traces.carried() == ()
    with traces.span("compute") as made:
        assert made is None
