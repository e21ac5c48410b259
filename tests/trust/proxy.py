"""A way to a PostgreSQL that breaks where a test wants it to: between two questions, or before an answer arrives.

It reads the protocol of PostgreSQL (version 3), so that "the third question" and "the answer to COMMIT" are exact.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

from sqlalchemy import make_url

COMMIT = b"COMMIT\0"
# What a client says before it waits: Query, Sync and CopyDone. The parts of a question are held until it is whole.
_ENDS_QUESTION = frozenset({b"Q", b"S", b"c"})
_PARTS_OF_QUESTION = frozenset({b"P", b"B", b"D", b"E", b"C"})
# What a server says when it waits: ReadyForQuery and CopyInResponse.
_ENDS_ANSWER = frozenset({b"Z", b"G"})


class Place(Enum):
    """Where a fault strikes."""

    QUESTION = "the question never reaches the server"
    ANSWER = "the server has answered, and the answer never reaches the client"


@dataclass(eq=False)
class Link:
    """One connection through the proxy."""

    client: socket.socket
    server: socket.socket
    questions: int = 0
    stalled: bool = False
    swallows_answer: bool = False
    strike: Callable[["Link"], None] = field(default=lambda _: None)

    def cut(self) -> None:
        """Both ends learn that it is over."""
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it was over already

    def stall(self) -> None:
        """Nothing moves any more, and neither end learns of it, not even that the other one has gone."""
        self.stalled = True


class Proxy:
    """Passes everything on, until :meth:`fail` or :meth:`refuse` says otherwise; :meth:`heal` makes it whole again."""

    def __init__(self, url: str) -> None:
        self._to = make_url(url)
        self._links: list[Link] = []
        self._lock = threading.Lock()
        self._fault: tuple[Place, int | bytes, Callable[[Link], None]] | None = None
        self.struck = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = int(self._listener.getsockname()[1])
        self._accepting()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()

    @property
    def direct(self) -> str:
        """The URL past the proxy."""
        return self._to.render_as_string(hide_password=False)

    @property
    def url(self) -> str:
        """The URL through the proxy, which reads along and so wants plain text."""
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        through = self._to.set(host="127.0.0.1", port=self._port).update_query_dict(plain)
        return through.render_as_string(hide_password=False)

    def fail(self, place: Place, at: int | bytes, strike: Callable[[Link], None]) -> None:
        """Let it strike once: at a connection's n-th question, or at the first one with these bytes in it."""
        self.struck = False
        self._fault = (place, at, strike)

    def refuse(self) -> None:
        """The server is down: nobody gets in, and whoever was in is out."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # to close it would let in who comes while it is waited on
        except OSError:
            pass  # not on this system, or done before
        self._listener.close()
        self.forget()

    def forget(self) -> None:
        """End every connection at both ends, stalled ones too, as keep-alives do in the end."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.cut()
            link.client.close()
            link.server.close()

    def heal(self) -> None:
        """Pass everything on again, and let in whoever comes. Stalled connections stay so."""
        self._fault = None
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self._port))
            self._accepting()

    def _accepting(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection((str(self._to.host), self._to.port or 5432))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(client, server)
            with self._lock:
                self._links.append(link)
            for pump in (self._pass_questions, self._pass_answers):
                threading.Thread(target=pump, args=(link,), daemon=True).start()

    def _pass_questions(self, link: Link) -> None:
        question = b""
        try:
            for message in _messages(link.client, typed=False):
                if link.stalled:
                    return
                question += message
                if message[:1] in _PARTS_OF_QUESTION:
                    continue
                if message[:1] in _ENDS_QUESTION and self._meets_fault(link, question):
                    return
                link.server.sendall(question)
                question = b""
        except OSError:
            pass  # an end has gone
        if not link.stalled:
            link.cut()

    def _meets_fault(self, link: Link, question: bytes) -> bool:
        """Whether the question is not to be passed on."""
        link.questions += 1
        if self._fault is None:
            return False
        place, at, strike = self._fault
        if at != link.questions if isinstance(at, int) else at not in question:
            return False
        self._fault = None
        if place is Place.ANSWER:
            link.strike, link.swallows_answer = strike, True
            return False
        self._strike(link, strike)
        return True

    def _strike(self, link: Link, strike: Callable[[Link], None]) -> None:
        self.struck = True  # before it does: whoever it strikes may ask at once
        strike(link)

    def _pass_answers(self, link: Link) -> None:
        try:
            for message in _messages(link.server, typed=True):
                if link.stalled:
                    return
                if not link.swallows_answer:
                    link.client.sendall(message)
                elif message[:1] in _ENDS_ANSWER:
                    self._strike(link, link.strike)
                    return
        except OSError:
            pass  # an end has gone
        if not link.stalled:
            link.cut()


def _messages(source: socket.socket, *, typed: bool) -> Iterator[bytes]:
    """Whole messages as they come: a letter, four bytes of length, the rest. A client's first one has no letter."""
    letter, buffer = int(typed), b""
    while data := source.recv(65536):
        buffer += data
        while len(buffer) >= letter + 4:
            end = letter + int.from_bytes(buffer[letter : letter + 4], "big")
            if len(buffer) < end:
                break
            yield buffer[:end]
            letter, buffer = 1, buffer[end:]
