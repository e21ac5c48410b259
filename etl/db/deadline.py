"""A hard end for a connection whose peer is alive but silent, which no timeout of PostgreSQL's ends."""

import os
import socket
import threading


class SocketDeadline:
    """Shuts a connection's socket down after so many seconds, so that whoever waits for it gets an error.

    It holds a duplicate of the descriptor: should the connection be closed meanwhile, the number may be somebody
    else's, but the duplicate still is what it was.
    """

    def __init__(self, descriptor: int, seconds: float) -> None:
        self.passed = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = socket.socket(fileno=os.dup(descriptor))
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """The connection is done with. May be called twice."""
        self._timer.cancel()
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _end(self) -> None:
        with self._lock:
            if self._socket is not None:
                self.passed = True
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the peer was faster
                self._socket.close()
                self._socket = None
