"""The exchange behind a real socket on loopback: one thread per connection, one write per answer."""

import selectors
import socket
from contextlib import suppress
from ipaddress import ip_address
from threading import Condition, Event, Lock, Thread
from types import TracebackType
from typing import Self

from etl.sandbox.control import PREFIX, control
from etl.sandbox.delivery import deliver
from etl.sandbox.exchange import Exchange, Request
from etl.sandbox.replies import TEXT, Reply
from etl.sandbox.wire import BadRequest, Incoming, RequestReader, bytes_of

BACKLOG = 1024
# While the server is to go down or come up the exchange's clock decides, which may be a test's: look again this often.
LOOK_AGAIN_SECONDS = 0.02
STOP_SECONDS = 5.0


class SandboxServer:
    """``with SandboxServer() as server: … server.url``. Stops its threads and closes every connection at the end.

    Port 0 takes a free one. Any other address than a loopback one is a ValueError.
    """

    def __init__(self, exchange: Exchange | None = None, *, port: int = 0, host: str = "127.0.0.1") -> None:
        if not ip_address(host).is_loopback:
            raise ValueError(f"the sandbox is for this machine only: {host} is not a loopback address")
        self.exchange = exchange or Exchange()
        self._address = (host, port)
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._stopping = Event()
        self._changed = Condition()
        self._changes = self._changes_seen = 0
        self._lock = Lock()
        self._control_lock = Lock()
        self._connections: dict[socket.socket, Thread] = {}
        self._acceptor: Thread | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, once it is started."""
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def port(self) -> int:
        """The port it listens on, once it is started."""
        return self._address[1]

    @property
    def requests(self) -> tuple[Request, ...]:
        """The last requests to the exchange, oldest first."""
        return self.exchange.requests

    def start(self) -> Self:
        """Listen and answer from now on; OSError where the port is taken."""
        listener = self._bind()
        listener.listen(BACKLOG)
        self._address = (self._address[0], listener.getsockname()[1])
        self._woken, self._waker = socket.socketpair()
        self._woken.settimeout(0)
        self._waker.settimeout(0)
        self.exchange.faults.watch(self._settle)
        self._acceptor = Thread(target=self._accept, args=(listener,), name="sandbox", daemon=True)
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Close everything; done twice it does nothing."""
        if self._acceptor is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._wake()
        self._acceptor.join(STOP_SECONDS)
        with self._lock:
            threads = list(self._connections.values())
        for thread in threads:
            thread.join(STOP_SECONDS)
        self._woken.close()
        self._waker.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _bind(self) -> socket.socket:
        listener = socket.socket(self._family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(self._address)
        except OSError:
            listener.close()
            raise
        return listener

    def _bind_again(self) -> socket.socket:
        """In between, some connection from this machine may have been given the port: it is waited for."""
        while True:
            try:
                return self._bind()
            except OSError:
                if self._stopping.wait(LOOK_AGAIN_SECONDS):
                    return socket.socket(self._family, socket.SOCK_STREAM)

    def _accept(self, listener: socket.socket) -> None:
        up = True
        while not self._stopping.is_set():
            changes = self._changes
            down, change_at = self.exchange.faults.down(self.exchange.now())
            went_down = up and down
            if went_down:
                # Bound but not listening: connections are refused, and nobody else takes the port meanwhile.
                listener.close()
                listener = self._bind_again()
            elif not up and not down:
                listener.listen(BACKLOG)
            up = not down
            with self._changed:
                self._changes_seen = changes
                self._changed.notify_all()
            if went_down:
                self._close_connections()
            if self._wait(listener if up else None, None if change_at is None else LOOK_AGAIN_SECONDS):
                try:
                    self._begin(*listener.accept())
                except OSError:  # it has gone again, or there are too many: whoever waits is taken later
                    self._stopping.wait(LOOK_AGAIN_SECONDS)
        listener.close()
        self._close_connections()

    def _wait(self, listener: socket.socket | None, seconds: float | None) -> bool:
        """Until somebody connects (True), the faults change, the server stops, or the time is over."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            if listener is not None:
                selector.register(listener, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select(seconds)}
        if self._woken in ready:
            self._woken.recv(4096)
        return listener in ready

    def _begin(self, connection: socket.socket, address: tuple[str, int]) -> None:
        thread = Thread(target=self._serve, args=(connection, address[0]), name="sandbox-connection", daemon=True)
        with self._lock:
            self._connections[connection] = thread
        thread.start()

    def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = RequestReader(connection)
            while (incoming := reader.next()) is not None and self._answer(connection, address, incoming):
                pass
        except BadRequest as error:
            with suppress(OSError):
                connection.sendall(bytes_of(Reply(str(error).encode(), 400, TEXT, (("Connection", "close"),))))
        except OSError:
            pass  # the peer has gone, or the server is told to
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            connection.close()

    def _answer(self, connection: socket.socket, address: str, incoming: Incoming) -> bool:
        if incoming.target.startswith(PREFIX):
            with self._control_lock:  # whoever sends the server down still gets the answer
                connection.sendall(bytes_of(control(self.exchange, incoming)))
            return incoming.keep_alive
        api_key = incoming.headers.get("x-bx-apikey") or None
        reply, delivery = self.exchange.answer(incoming.method, incoming.target, api_key, address)
        if delivery:
            return deliver(connection, reply, delivery, self._stopping) and incoming.keep_alive
        connection.sendall(bytes_of(reply))
        return incoming.keep_alive and incoming.method == "GET"

    def _settle(self) -> None:
        """The faults have changed: return when the server has gone down or come up accordingly."""
        with self._changed:
            self._changes += 1
            mine = self._changes
            self._wake()
            self._changed.wait_for(lambda: self._changes_seen >= mine or self._stopping.is_set(), STOP_SECONDS)

    def _wake(self) -> None:
        with suppress(OSError):
            self._waker.send(b".")

    def _close_connections(self) -> None:
        with self._control_lock, self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
