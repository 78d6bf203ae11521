"""An HTTP port of its own, in threads of its own, with two pages: `/metrics` and `/healthz`."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from penult_proto.errors import ErrorKind
from penult_server.errors import ServiceError

READ_SECONDS = 5.0
"""A peer that does not send its request or take its answer for so long is left."""
MOST_AT_ONCE = 8
"""Peers at a time; others are left at once."""
log = logging.getLogger("penult.outside")


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    status: HTTPStatus
    kind: str
    """Its Content-Type."""
    content: bytes


Pages = dict[str, Callable[[], Page]]


class PageServer(ThreadingHTTPServer):
    """Serves pages until it is closed. What makes a page runs in a thread of its own and may take its time."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        """Raises ServiceError (INVALID_ARGUMENT) when the port cannot be had."""
        self.pages = pages
        self._slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ServiceError(
                ErrorKind.INVALID_ARGUMENT,
                f"cannot listen on {host}:{port} for metrics ({error}); choose another --metrics-port, or 0 for a "
                "free one",
            ) from error
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    def server_bind(self) -> None:
        """Bind without looking the host's name up, which may take seconds and is not used."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if one is free."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """What the thread does."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes in the middle is no news."""
        log.debug("a request for a page ended early", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride]  it is only read
    timeout = READ_SECONDS
    server_version, sys_version = "penult", ""

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def _answer(self, *, with_content: bool) -> None:
        make = self.server.pages.get(self.path.partition("?")[0], _not_found)
        try:
            page = make()
        except Exception:  # the seam: a page must not end the server that it tells of
            log.exception("a page could not be made")
            page = Page(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", b"this page could not be made; see the log\n")
        self.send_response(page.status)
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(page.content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_content:
            self.wfile.write(page.content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: probes come every second."""


def _not_found() -> Page:
    return Page(HTTPStatus.NOT_FOUND, "text/plain", b"there are two pages: /metrics and /healthz\n")
