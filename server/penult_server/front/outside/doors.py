"""The doors of one server: opened and closed with it."""

import asyncio
import logging
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

import grpc
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from penult_server.front.observed.interceptor import Observer
from penult_server.front.observed.metrics import COUNTED
from penult_server.front.outside.gauges import FactsOfServer, Gauges
from penult_server.front.outside.http import Page, PageServer
from penult_server.front.outside.notify import notify
from penult_server.front.outside.readiness import ReadinessProbe
from penult_server.front.registry_thread import Registry
from penult_server.front.workers.compute_workers import ComputeWorkers
from penult_server.logs import traces
from penult_server.settings import Settings

PATIENCE = 5.0
"""Seconds in which the server must tell its pages how it stands."""
T = TypeVar("T")
log = logging.getLogger("penult.outside")


class Doors:
    """Metrics, `/healthz` and systemd, for one server."""

    def __init__(self, settings: Settings, registry: Registry, compute: ComputeWorkers) -> None:
        self._settings = settings
        self._facts = FactsOfServer(settings.root, registry, compute)
        self._probe = ReadinessProbe(registry, compute)
        self._pages: PageServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def interceptors(self) -> list[grpc.aio.ServerInterceptor]:
        """What stands before the guard."""
        return [Observer(by_user=self._settings.metrics_by_user), *traces.of_front()]

    @property
    def address(self) -> str:
        """Where the pages are, such as "127.0.0.1:9100"; empty without them."""
        return f"{self._pages.server_name}:{self._pages.server_port}" if self._pages else ""

    def open(self) -> None:
        """Open the port of the pages, if one is wanted. Raises ServiceError (INVALID_ARGUMENT)."""
        self._loop = asyncio.get_running_loop()
        if self._settings.metrics_port is None:
            return
        pages = {"/metrics": self._metrics, "/healthz": self._health}
        self._pages = PageServer(self._settings.metrics_host, self._settings.metrics_port, pages)
        self._pages.start()
        log.info("metrics and health at http://%s/metrics and /healthz", self.address)

    def say_ready(self) -> None:
        """Calls are answered from now on."""
        notify(f"READY=1\nSTATUS=serves {self._settings.root}")

    def say_stopping(self) -> None:
        """Calls are answered no more."""
        notify("STOPPING=1")

    async def close(self) -> None:
        """Close the port."""
        if self._pages:
            await asyncio.to_thread(self._pages.stop)

    def _metrics(self) -> Page:
        facts = self._ask(self._facts.ask())
        asked = CollectorRegistry()
        asked.register(Gauges(facts, by_user=self._settings.metrics_by_user))
        return Page(HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(COUNTED) + generate_latest(asked))

    def _health(self) -> Page:
        found = self._ask(self._probe.look())
        status = HTTPStatus.OK if found.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Page(status, "text/plain; charset=utf-8", str(found).encode())

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        """The answer of the server's loop, from a thread of the pages."""
        if self._loop is None:
            raise RuntimeError("the pages are asked before they are open")
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(PATIENCE)
