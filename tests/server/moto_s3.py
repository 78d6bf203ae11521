"""An S3 in this process (moto), for tests of conditions and damage; a proxy that strips headers, or answers nobody.

Everything of moto is one process's memory: it says nothing about speed.
"""

import http.client
import http.server
import logging
import math
import secrets
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_REGION": "us-east-1"}


class MotoS3:
    """The service and its buckets."""

    def __init__(self) -> None:
        server = pytest.importorskip("moto.server", reason="needs moto[s3,server], of the extra dev")
        pytest.importorskip("obstore", reason="needs obstore, of the extra s3")
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.address = (host, port)
        self.endpoint = f"http://{host}:{port}"

    def bucket(self) -> str:
        """A new bucket; the address of a store in it."""
        name = f"penult-{secrets.token_hex(6)}"
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")).close()
        return f"s3://{name}/some/prefix"

    def stop(self) -> None:
        """End it, with all that it had."""
        self._server.stop()


class Outage:
    """While it lasts, a service answers nobody: 503, as S3 does when it is asked too much; `left` counts it down."""

    def __init__(self) -> None:
        self._left = 0.0
        self._lock = threading.Lock()
        self.n_refused = 0

    def begin(self, n_requests: float = math.inf) -> None:
        """From now on, for so many requests, or until its end."""
        self._left = n_requests

    def end(self) -> None:
        self._left = 0

    def refuses(self) -> bool:
        """Whether the request that has just come is refused."""
        with self._lock:
            refused = self._left > 0
            self._left -= refused
            self.n_refused += refused
            return refused


@contextmanager
def stripping(address: tuple[str, int], *headers: str, outage: Outage | None = None) -> Iterator[str]:
    """The address of a proxy that forgets some headers of requests, as a service does that does not know them."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if outage is not None and outage.refuses():
                self.answer(503, [], b"")
                return
            kept = {name: value for name, value in self.headers.items() if name.lower() not in headers}
            behind = http.client.HTTPConnection(*address)
            behind.request(self.command, self.path, body, kept)
            answer = behind.getresponse()
            self.answer(answer.status, answer.getheaders(), answer.read())
            behind.close()

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815

        def log_message(self, *arguments: object) -> None: ...

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
