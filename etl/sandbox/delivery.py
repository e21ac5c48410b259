"""Sending an answer badly: late, slowly, in part, for ever, or never."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from itertools import count
from socket import SO_LINGER, SOL_SOCKET, socket
from struct import pack
from threading import Event

from etl.sandbox.faults import Fault
from etl.sandbox.replies import Reply
from etl.sandbox.wire import bytes_of, head_of

MEGABYTE = 1024 * 1024
# A drip is one byte at a time up to this many writes in a second, then several bytes at a time.
DRIPS_PER_SECOND = 50


def deliver(connection: socket, reply: Reply, faults: Sequence[Fault], stopping: Event) -> bool:
    """Send an answer as the faults say: all delays, then the first of the others. True where the connection lives on.

    Raises OSError where the peer has had enough.
    """
    for fault in faults:
        if fault.kind == "delay" and stopping.wait(fault.options["seconds"]):
            return False
    for fault in faults:
        if fault.kind != "delay":
            return _misbehave(connection, reply, fault, stopping)
    connection.sendall(bytes_of(reply))
    return True


def _abort(connection: socket) -> None:
    """Close by a TCP reset, throwing away what is not yet sent."""
    connection.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
    connection.close()


def _misbehave(connection: socket, reply: Reply, fault: Fault, stopping: Event) -> bool:
    options = fault.options
    if fault.kind in ("hang", "reset", "close", "truncate"):
        _break_off(connection, reply, fault)
        return False
    if fault.kind == "drip":
        return _drip(connection, bytes_of(reply), options["bytes_per_second"], stopping)
    if fault.kind == "gzip":
        packed = gzip.compress(reply.body)
        framing = (f"Content-Length: {len(packed)}", "Content-Encoding: gzip")
        connection.sendall(head_of(reply, *framing) + packed)
        return True
    for piece in _pieces(reply, fault):
        connection.sendall(piece)
        if stopping.wait(options["pause_seconds"]) if "pause_seconds" in options else stopping.is_set():
            return False
    return fault.kind == "chunked"


def _break_off(connection: socket, reply: Reply, fault: Fault) -> None:
    options = fault.options
    if fault.kind == "hang":
        _hang(connection, options.get("seconds"))
    elif fault.kind == "truncate":
        connection.sendall(head_of(reply) + reply.body[: options.get("bytes", len(reply.body) // 2)])
    else:
        connection.sendall(bytes_of(reply)[: options.get("after_bytes", 0)])
        if fault.kind == "reset":
            _abort(connection)


def _hang(connection: socket, seconds: float | None) -> None:
    """Wait until the time is over, or the peer or the server closes; what the peer still sends is not read."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        pass


def _drip(connection: socket, content: bytes, bytes_per_second: float, stopping: Event) -> bool:
    step = max(1, round(bytes_per_second / DRIPS_PER_SECOND))
    for start in range(0, len(content), step):
        connection.sendall(content[start : start + step])
        if stopping.wait(step / bytes_per_second):
            return False
    return True


def _pieces(reply: Reply, fault: Fault) -> Iterator[bytes]:
    options = fault.options
    if fault.kind == "chunked":
        yield head_of(reply, "Transfer-Encoding: chunked")
        size = options.get("bytes", 64)
        for start in range(0, len(reply.body), size):
            chunk = reply.body[start : start + size]
            yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
        yield b"0\r\n\r\n"
    elif fault.kind == "endless_headers":
        yield head_of(reply).removesuffix(b"\r\n")
        for number in count():
            yield b"X-Endless-%d: %b\r\n" % (number, b"a" * 200)
    elif fault.kind == "flood":
        megabytes = options.get("megabytes", 1024)
        yield head_of(reply, f"Content-Length: {megabytes * MEGABYTE + len(reply.body)}")
        for _ in range(megabytes):
            yield b" " * MEGABYTE
        yield reply.body
    else:
        yield head_of(reply, "Content-Encoding: gzip", "Connection: close")
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        for _ in range(options.get("megabytes", 1024)):
            yield packer.compress(b" " * MEGABYTE)
        yield packer.compress(reply.body) + packer.flush()
