"""Real servers on loopback, a thread per connection, that answer with exactly the bytes a test wants."""

import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

READ_SECONDS = 5.0
OK = b'{"code":0,"timestamp":1700000000000,"data":[{"accountType":"sopt","usdtBalance":"100.00"}]}'


def http(body: bytes = OK, status: str = "200 OK", headers: str = "", *, length: int | None = None) -> bytes:
    """One whole answer; ``length`` may lie."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body


def read_head(connection: socket.socket) -> bytes:
    """A request up to its empty line; nothing where the client has gone."""
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        head += chunk
    return head


class RawServer:
    """``behave`` gets each connection accepted and may do with it what it likes; the rest is counted here."""

    def __init__(self, behave: Callable[["RawServer", socket.socket], None], tls: ssl.SSLContext | None = None) -> None:
        self._behave = behave
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self.heads: list[bytes] = []
        self.connections = 0
        self.stopping = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def answer(self, connection: socket.socket, *answers: bytes) -> None:
        """Read one request for each answer, remember it, answer it."""
        for each in answers:
            head = read_head(connection)
            if not head:
                return
            self.heads.append(head)
            connection.sendall(each)
            # What a server has not read when it closes makes the system take back its answer, too.
            connection.settimeout(READ_SECONDS)
            body = head.partition(b"\r\n\r\n")[2]
            length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)", head)
            left = int(length[1]) - len(body) if length else 0
            while left > 0 and (chunk := connection.recv(65536)):
                left -= len(chunk)
            connection.settimeout(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.append(connection)
        with suppress(OSError), connection:
            if self._tls is not None:
                with self._tls.wrap_socket(connection, server_side=True) as wrapped:
                    self._open.append(wrapped)
                    self._behave(self, wrapped)
            else:
                self._behave(self, connection)


def always(answer: bytes) -> Callable[[RawServer, socket.socket], None]:
    """Keep the connection alive and give the same answer to everything."""

    def behave(server: RawServer, connection: socket.socket) -> None:
        count = -1
        while len(server.heads) > count:
            count = len(server.heads)
            server.answer(connection, answer)

    return behave


def once(answer: bytes) -> Callable[[RawServer, socket.socket], None]:
    """Answer one request and close the connection."""
    return lambda server, connection: server.answer(connection, answer)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
