"""urllib3 under a deadline for the whole exchange, and its errors in words of our own.

``timeout`` of requests and urllib3 bounds each wait, not their sum: a dripped answer outlives it at will. So each
exchange keeps a duplicate of its socket, and a timer shuts that down: whatever is being waited for, be it a
handshake, a header or a body, ends at once. A duplicate has a number of its own, which cannot meanwhile
belong to another connection, and works below TLS, where the socket itself cannot be shut down from outside. Nothing
ends a look-up of a name, so a thread of its own waits for that, and the exchange no longer than its deadline.
"""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any, cast

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ProxyError
from urllib3.exceptions import TimeoutError as UrllibTimeout

from etl.bingx.alarms import Alarms
from etl.bingx.names import look_up


class Deadline:
    """The end of one exchange, in seconds from now. To be closed."""

    def __init__(self, seconds: float, monotonic: Callable[[], float], alarms: Alarms) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + seconds
        self._lock = threading.Lock()
        self._duplicates: list[socket.socket] = []
        self.passed = False
        self.connected_at: float | None = None
        self.meanwhile = ""
        self._alarm = alarms.set(seconds, self._pass)

    @property
    def watches(self) -> bool:
        """Whether a socket is known that can be shut down."""
        return bool(self._duplicates)

    def remaining(self) -> float:
        """Seconds left, never quite none: a timeout of 0 would mean something else."""
        return max(self._end - self._monotonic(), 0.001)

    def over(self) -> bool:
        """Whether the time is up, be it that the timer or that a wait of the socket's own has noticed it first."""
        return self.passed or self._monotonic() >= self._end

    def watch(self, descriptor: int) -> None:
        """Shut this socket down when the time has come, at once if it has."""
        duplicate = socket.socket(fileno=os.dup(descriptor))
        with self._lock:
            self._duplicates.append(duplicate)
            if self.passed:
                _shut(duplicate)

    def connected(self) -> None:
        """The connection stands: what is sent is sent from now on."""
        self.connected_at = self._monotonic()

    def close(self) -> None:
        """End of the exchange; after this, ``passed`` does not change any more."""
        self._alarm.cancel()
        with self._lock:
            for duplicate in self._duplicates:
                duplicate.close()
            self._duplicates.clear()

    def _pass(self) -> None:
        with self._lock:
            self.passed = True
            for duplicate in self._duplicates:
                _shut(duplicate)


class Line:
    """What the connections of one session share: the deadline of the exchange under way."""

    deadline: Deadline


class _Watched(HTTPConnection):
    line: Line

    def _new_conn(self) -> socket.socket:
        try:
            found = look_up(self._dns_host.strip("[]"), self.port or self.default_port, self.line.deadline.remaining())
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError:
            self.line.deadline.meanwhile = ", and the name is not resolved yet; look at DNS and network, or set proxy"
            raise
        failure: OSError | None = None
        for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            sock = None
            try:
                sock = socket.socket(family, kind, protocol)
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                # Each address gets its share of the time, so that a dead one does not use it up for the others.
                sock.settimeout(self.line.deadline.remaining() / left)
                sock.connect(address)
                sock.settimeout(self.line.deadline.remaining())
                self.line.deadline.watch(sock.fileno())
            except OSError as error:
                failure = error
                if sock is not None:
                    sock.close()
            else:
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, "no connection in time") from failure
        raise NewConnectionError(self, "no connection") from failure

    def connect(self) -> None:
        super().connect()
        self.line.deadline.connected()

    def request(self, *args: Any, **kwargs: Any) -> None:
        # A connection kept alive was made under another deadline.
        if self.sock is not None and not self.line.deadline.watches:
            self.line.deadline.watch(self.sock.fileno())
        super().request(*args, **kwargs)


class _WatchedTls(_Watched, HTTPSConnection):
    pass


class WatchedPool(HTTPConnectionPool):
    """Connections over plain HTTP that end at the line's deadline."""

    ConnectionCls = _Watched
    line: Line

    def _new_conn(self) -> _Watched:
        connection = cast("_Watched", super()._new_conn())
        connection.line = self.line
        return connection


class WatchedTlsPool(HTTPSConnectionPool):
    """Connections over TLS that end at the line's deadline."""

    ConnectionCls = _WatchedTls
    line: Line

    def _new_conn(self) -> _WatchedTls:
        connection = cast("_WatchedTls", super()._new_conn())
        connection.line = self.line
        return connection


POOLS = {"http": WatchedPool, "https": WatchedTlsPool}


LONGEST_CHAIN = 50


def words_for(error: BaseException) -> str:
    """What happened, in words of our own: the texts of these libraries quote the address with its signature."""
    chain = list(_chain(error))
    proxy = "the proxy: " if any(isinstance(link, ProxyError) for link in chain) else ""
    for kind, tell in WORDS:
        for link in chain:
            if isinstance(link, kind) and (words := tell(link)):
                return proxy + words
    return f"{proxy}the exchange failed ({type(error).__name__})"


def _certificate_words(error: BaseException) -> str:
    # X509_V_ERR_* of OpenSSL.
    match getattr(error, "verify_code", None):
        case 9:
            why = "it is not valid yet; is the clock right?"
        case 10:
            why = "it has expired; is the clock right?"
        case 62 | 64:
            why = "it belongs to another host"
        case 18 | 19 | 20 | 21:
            why = "nobody known has signed it; the setting ca_bundle can name an authority of your own"
        case _:
            why = "it fails verification"
    return f"certificate not trusted: {why}"


def _os_words(error: BaseException) -> str | None:
    number = getattr(error, "errno", None)
    return f"network failure ({os.strerror(number)})" if isinstance(number, int) else None


def _always(words: str) -> Callable[[BaseException], str]:
    return lambda _: words


# The first that is found anywhere in the chain of causes names it.
WORDS: tuple[tuple[type[BaseException], Callable[[BaseException], str | None]], ...] = (
    (ssl.SSLCertVerificationError, _certificate_words),
    (NameResolutionError, _always("name not resolved; look at DNS and network, or set proxy")),
    (socket.gaierror, _always("name not resolved")),
    (UnicodeError, _always("name not resolved")),
    (ConnectionRefusedError, _always("connection refused")),
    (RemoteDisconnected, _always("connection closed without an answer")),
    (ConnectionResetError, _always("connection reset")),
    (BrokenPipeError, _always("connection reset")),
    (TimeoutError, _always("no answer in time")),
    (IncompleteRead, _always("the answer broke off")),
    (HTTPException, _always("the answer is not HTTP")),
    (ssl.SSLError, _always("TLS failed")),
    (OSError, _os_words),
    (UrllibTimeout, _always("no answer in time")),
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    pending, seen = [error], set[int]()
    while pending and len(seen) < LONGEST_CHAIN:
        link = pending.pop(0)
        if id(link) not in seen:
            seen.add(id(link))
            yield link
            near = (*link.args, getattr(link, "reason", None), link.__cause__, link.__context__)
            pending += [other for other in near if isinstance(other, BaseException)]


def _shut(duplicate: socket.socket) -> None:
    with suppress(OSError):  # the other side was faster
        duplicate.shutdown(socket.SHUT_RDWR)
