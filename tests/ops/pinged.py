"""A service that is pinged: it keeps what came, and answers as a test wants."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.bingx.servers import RawServer, http

ID = "canary-1b2c3d4e-check-id"
ROOM = 65536


@dataclass(frozen=True, slots=True)
class Ping:
    """One that came whole."""

    method: str
    path: str
    run: str
    headers: dict[str, str]
    text: str


class Service:
    """Where ``url`` leads. ``behave`` does with a connection, whose ping has been read, what it likes."""

    def __init__(
        self,
        behave: Callable[[RawServer, socket.socket], None] | None = None,
        notice: Callable[[Ping], None] | None = None,
    ) -> None:
        self.pings: list[Ping] = []
        self.at_once = self.most_at_once = 0
        self._behave = behave or (lambda _, connection: connection.sendall(http(b"OK")))
        self._notice = notice
        self._lock = threading.Lock()
        self.server = RawServer(self._serve)

    @property
    def url(self) -> str:
        """What the setting ``ping_url`` is."""
        return f"{self.server.url}/{ID}"

    @property
    def paths(self) -> list[str]:
        """What was pinged, in order, without the id."""
        return [ping.path for ping in self.pings]

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.__exit__(kind, error, trace)

    def _serve(self, server: RawServer, connection: socket.socket) -> None:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            ping = _read(connection)
            if ping is not None:
                if self._notice is not None:
                    self._notice(ping)
                self.pings.append(ping)
                self._behave(server, connection)
        finally:
            with self._lock:
                self.at_once -= 1


def _read(connection: socket.socket) -> Ping | None:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (chunk := connection.recv(ROOM)):
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(ROOM)
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    assert path.startswith(f"/{ID}"), path
    return Ping(method, path.removeprefix(f"/{ID}"), query.removeprefix("rid="), headers, body.decode())


def hang(server: RawServer, _: socket.socket) -> None:
    """Answer nothing until the end."""
    server.stopping.wait(60)


def drip(server: RawServer, connection: socket.socket) -> None:
    """A header that never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not server.stopping.wait(0.05):
        connection.sendall(b"x")


def pour(server: RawServer, connection: socket.socket) -> None:
    """A body that never ends, which says that it is compressed."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08")
    while not server.stopping.is_set():
        connection.sendall(b"\0" * ROOM)
