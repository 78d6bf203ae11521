"""Traces by OpenTelemetry: on where the extra `otel` is installed and OTEL_EXPORTER_OTLP_ENDPOINT is set."""

# The instrumentation has no types of its own.
# pyright: reportMissingTypeStubs=false, reportMissingImports=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import logging
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import grpc

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
EXPORT_SECONDS = 2
log = logging.getLogger("penult.traces")
_tracer: Any = None


def is_on() -> bool:
    """Whether this process traces; the first question starts it."""
    return _tracer is not None or (bool(os.environ.get(ENDPOINT)) and start())


def of_front() -> list[grpc.aio.ServerInterceptor]:
    """What makes a span of every call; none where traces are off."""
    if not is_on():
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    return [aio_server_interceptor(filter_=filters.negate(filters.health_check()))]


def of_worker() -> list[grpc.ServerInterceptor]:
    """What makes a span of every call of the front, in the trace that the front names; none where traces are off."""
    if not is_on():
        return []
    from opentelemetry.instrumentation.grpc import server_interceptor

    return [server_interceptor()]


def carried() -> tuple[tuple[str, str], ...]:
    """The metadata by which another process continues the trace of the call that runs."""
    if _tracer is None:
        return ()
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return tuple(carrier.items())


def start(provider: Any = None) -> bool:
    """Trace from now on, to the endpoint of the environment or to a given provider; false without the packages."""
    global _tracer
    try:
        from opentelemetry import trace

        if provider is None:
            provider = _exporting()
            trace.set_tracer_provider(provider)
    except ImportError as error:
        log.warning("%s is set, but there are no traces (%s): pip install '.[otel]' from a checkout", ENDPOINT, error)
        return False
    _tracer = provider.get_tracer("penult")
    return True


def stop() -> None:
    """Trace no more."""
    global _tracer
    _tracer = None


def span(name: str) -> AbstractContextManager[Any]:
    """A part of the call that runs, as a span of its trace; nothing where traces are off."""
    return nullcontext() if _tracer is None else _tracer.start_as_current_span(name)


def _exporting() -> Any:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "penult"}))
    # A collector that does not answer must not hold up the end of the server.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=EXPORT_SECONDS)))
    return provider
