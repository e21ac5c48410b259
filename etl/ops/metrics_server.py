"""``GET /metrics`` on loopback, for any number of readers, of whom none can hold up anything.

A thread per connection, few of them, and each for some seconds only: a reader that never reads, or never says what it
wants, is cut off. The threads end with the process, whatever they are doing.
"""

import contextlib
import logging
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TypeAlias, cast

from etl.ops.exposition import OPENMETRICS, TEXT

log = logging.getLogger(__name__)

Request: TypeAlias = socket.socket | tuple[bytes, socket.socket]  # the latter is never one of TCP's
PATH = "/metrics"
MOST_CONNECTIONS = 32
CONNECTION_SECONDS = 10.0


def prefers_openmetrics(accept: str) -> bool:
    """Whether an Accept header asks for OpenMetrics at least as much as for plain text."""
    wanted = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for each in accept.lower().split(","):
        media, *parameters = (part.strip() for part in each.split(";"))
        if media in wanted:
            wanted[media] = max(wanted[media], _quality(parameters))
    openmetrics, plain = wanted.values()
    return openmetrics > 0 and openmetrics >= plain


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if match := re.fullmatch(r"q\s*=\s*([01](?:\.[0-9]{0,3})?)", parameter):
            return float(match[1])
    return 1.0


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"
    server_version = "bingx-etl"
    sys_version = ""
    timeout = CONNECTION_SECONDS / 2

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"the metrics are at /metrics\n")
            return
        openmetrics = prefers_openmetrics(",".join(self.headers.get_all("Accept", [])))
        content = self.server.render(openmetrics)
        self._answer(HTTPStatus.OK, OPENMETRICS if openmetrics else TEXT, content)

    def _refuse(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", b"")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815 - the library's names

    def _answer(self, status: HTTPStatus, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Who asks, or knocks, is nobody's news."""


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Not http.server's: that asks for the machine's own name, by a look-up that may hang."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], render: Callable[[bool], bytes]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.render = render
        self._begun: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def verify_request(self, request: Request, client_address: object) -> bool:
        """Whether there is a thread for it; if not, the library closes it."""
        del client_address
        connection = cast("socket.socket", request)
        with self._lock:
            if len(self._begun) >= MOST_CONNECTIONS:
                return False
            self._begun[connection] = time.monotonic()
        return True

    def shutdown_request(self, request: Request) -> None:
        """The last that happens to a connection, whatever became of it."""
        with self._lock:
            self._begun.pop(cast("socket.socket", request), None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Between two connections, and twice a second."""
        late = time.monotonic() - CONNECTION_SECONDS
        with self._lock:
            for request in [request for request, begun in self._begun.items() if begun < late]:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def finish_request(self, request: Request, client_address: object) -> None:
        """Answer it. Who goes away in the middle is nobody's news."""
        try:
            super().finish_request(request, client_address)
        except OSError:
            pass
        except Exception:
            log.exception("a defect of the metrics: recording goes on")

    def handle_error(self, request: object, client_address: object) -> None:
        """No thread could be had; the reader will come again."""


class MetricsServer:
    """Listens from the beginning on; raises OSError where it cannot.

    ``render`` gives the metrics, as OpenMetrics where it is told True.
    """

    def __init__(self, address: tuple[str, int], render: Callable[[bool], bytes]) -> None:
        self._server = _Server(address, render)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="metrics")
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}{PATH}"

    def close(self) -> None:
        """Listen no more. Connections that are open end by themselves."""
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)  # where that wakes the thread, it need not be waited for
        self._server.shutdown()
        self._server.server_close()
