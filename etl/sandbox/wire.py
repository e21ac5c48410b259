"""HTTP/1.1 as far as a sandbox needs it: requests read from a socket, answers as bytes."""

from http import HTTPStatus
from socket import socket
from typing import NamedTuple

from etl.sandbox.replies import Reply

LARGEST_HEAD = 65_536
LARGEST_BODY = 16 * 1024 * 1024
PHRASES = {status.value: status.phrase for status in HTTPStatus}


class BadRequest(Exception):
    """Not HTTP, or more of it than anybody needs."""


class Incoming(NamedTuple):
    """One request. Header names are in lower case; a header given twice is joined by a comma."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class RequestReader:
    """Reads one request after the other from a connection."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._buffer = b""

    def next(self) -> Incoming | None:
        """The next request; None where the peer has closed. Raises BadRequest and OSError."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > LARGEST_HEAD:
                raise BadRequest("head too large")
            if not self._receive():
                return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        method, _, rest = lines[0].partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            raise BadRequest("not a request line")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        keep_alive = version != "HTTP/1.0" and headers.get("connection", "").lower() != "close"
        return Incoming(method, target, headers, self._body(headers), keep_alive)

    def _body(self, headers: dict[str, str]) -> bytes:
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()) or int(length) > LARGEST_BODY:
            raise BadRequest("a body without a sane length")
        while len(self._buffer) < int(length):
            if not self._receive():
                raise BadRequest("body cut off")
        body, self._buffer = self._buffer[: int(length)], self._buffer[int(length) :]
        return body

    def _receive(self) -> bool:
        received = self._connection.recv(65_536)
        self._buffer += received
        return bool(received)


def head_of(reply: Reply, *framing: str) -> bytes:
    """Status line and headers of an answer up to the blank line, with these framing headers in place of a length."""
    lines = [f"HTTP/1.1 {reply.status} {PHRASES.get(reply.status, 'Unknown')}", f"Content-Type: {reply.content_type}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    lines += framing or (f"Content-Length: {len(reply.body)}",)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def bytes_of(reply: Reply) -> bytes:
    """A whole answer, to be sent by one write."""
    return head_of(reply) + reply.body
