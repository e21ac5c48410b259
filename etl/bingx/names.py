"""Looking up a host's addresses, which nobody can interrupt, in no more than a given time."""

import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

Addresses: TypeAlias = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]

# Whoever asks for a name joins the look-up that is under way, so that a resolver that hangs holds one thread and not
# one for each request. After this long, which is more than resolvers take to give up, that one is counted on no more.
COUNTED_ON_SECONDS = 60.0


def look_up(host: str, port: int, seconds: float) -> Addresses:
    """The addresses of a host; gaierror or UnicodeError where it has none, TimeoutError where that takes longer."""
    if _is_address(host):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    with _lock:
        under_way = _under_way.get((host, port))
        if under_way is None or time.monotonic() - under_way.began_at > COUNTED_ON_SECONDS:
            under_way = _begun(host, port)
    if under_way is None:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not under_way.is_over.wait(seconds):
        raise TimeoutError
    if under_way.error is not None:
        raise type(under_way.error)(*under_way.error.args)
    return under_way.found


class _LookUp:
    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.began_at = time.monotonic()
        self.is_over = threading.Event()
        self.found: Addresses = ()
        self.error: OSError | UnicodeError | None = None

    def run(self) -> None:
        try:
            self.found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self.error = error
        with _lock:
            if _under_way.get((self._host, self._port)) is self:
                del _under_way[self._host, self._port]
        self.is_over.set()


def _begun(host: str, port: int) -> _LookUp | None:
    """A look-up of its own; None where the system has no thread for it, and who asks has to wait by himself."""
    look_up = _LookUp(host, port)
    try:
        threading.Thread(target=look_up.run, name="look-up", daemon=True).start()
    except RuntimeError:
        return None
    _under_way[host, port] = look_up
    return look_up


_lock = threading.Lock()
_under_way: dict[tuple[str, int], _LookUp] = {}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
