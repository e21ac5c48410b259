"""Processes of the program that find its libraries imported: most of the work of a short run is to import them.

Each is a process of its own, forked from one that has done nothing else, and becomes ``python -m etl`` with its own
environment, working directory and descriptors; it imports the program's modules itself, and it ends as any other.
"""

import atexit
import gc
import importlib
import io
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# What is not here is imported by each process itself.
LIBRARIES = (
    *("alembic.autogenerate", "alembic.config", "click", "jinja2", "msgspec", "platformdirs", "psycopg", "requests"),
    *("rich.console", "rich.progress", "rich.table", "secrets", "sqlalchemy.dialects.postgresql.psycopg", "sqlite3"),
    *("sqlalchemy.dialects.sqlite.pysqlite", "concurrent.futures.thread", "csv", "hashlib", "random", "ssl", "tomllib"),
)
# What an interpreter or a library reads when it begins is not read again: with such a variable a process begins cold.
READ_AT_THE_BEGINNING = ("PYTHON", "LD_", "DYLD_", "LC_", "LANG", "FAKETIME", "MALLOC_", "OPENSSL_")
LENGTH_BYTES = 8
PASSED = 3  # stdout, stderr, and where it is told how it ended


def is_all_the_same(environ: Mapping[str, str]) -> bool:
    """Whether nothing in this environment would be passed over."""
    others = {name: value for name, value in environ.items() if (name, value) != ("PYTHONPATH", str(ROOT))}
    return not any(name.startswith(READ_AT_THE_BEGINNING) for name in others)


def run(arguments: Sequence[str], environ: Mapping[str, str], cwd: Path, within: float) -> tuple[int, str, str]:
    """Its exit code, what it wrote to stdout, and to stderr. ``subprocess.TimeoutExpired`` after it was killed."""
    asked = json.dumps({"arguments": [*arguments], "environ": {**environ}, "cwd": str(cwd)}).encode()
    pipes = [os.pipe() for _ in range(PASSED)]
    out, err, told = (os.fdopen(mine, "rb", buffering=0) for mine, _ in pipes)
    with out, err, told:
        _origin().fork(asked, [theirs for _, theirs in pipes])
        for _, theirs in pipes:
            os.close(theirs)
        pid = int(told.read(LENGTH_BYTES))
        try:
            said = _read(out, err, within)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            told.read(LENGTH_BYTES)  # it has ended
            raise subprocess.TimeoutExpired([*arguments], within) from None
        code = int(told.read(LENGTH_BYTES))
    wrote, complained = (io.TextIOWrapper(io.BytesIO(data), "utf-8").read() for data in said)
    return code, wrote, complained


def _read(out: io.FileIO, err: io.FileIO, within: float) -> tuple[bytes, bytes]:
    ends = time.monotonic() + within
    said = {out: b"", err: b""}
    with selectors.DefaultSelector() as waiting:
        for stream in said:
            waiting.register(stream, selectors.EVENT_READ, stream)
        while waiting.get_map():
            ready = waiting.select(max(0.0, ends - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                if data := os.read(key.fd, 1 << 16):
                    said[key.data] += data
                else:
                    waiting.unregister(key.fileobj)
    return said[out], said[err]


class Origin:
    """The process that they are forked from; it ends when this one closes the socket, or itself ends."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cli.warm", str(theirs.fileno())],
                env={"PATH": os.environ["PATH"], "HOME": os.devnull, "PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def fork(self, asked: bytes, descriptors: list[int]) -> None:
        """Have one forked, with these as its descriptors."""
        with self._lock:
            socket.send_fds(self._socket, [len(asked).to_bytes(LENGTH_BYTES)], descriptors)
            self._socket.sendall(asked)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def _origin() -> Origin:
    origin = Origin()
    atexit.register(origin.close)
    return origin


# --- in the process that they are forked from -----------------------------------------------------------------------


def main(number: int) -> None:
    """Fork one for each request; returns when there are no more. In each of them, become the program."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is shared stays shared
    ended, wake = socket.socketpair()
    with socket.socket(fileno=number) as asking, ended, wake:
        wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno())
        forked = _serve(asking, ended)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if forked is not None:
        _become(*forked)


def _serve(asking: socket.socket, ended: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """None when there are no more requests; what is asked, and its descriptors, in a process that was forked for it."""
    told: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([asking, ended], [], [])
        if ended in ready:
            ended.recv(1 << 12)
            _tell(told)
        if asking in ready:
            length, descriptors, _, _ = socket.recv_fds(asking, LENGTH_BYTES, PASSED)
            if not length:
                return None
            asked = json.loads(_exactly(asking, int.from_bytes(length)))
            if not (pid := os.fork()):
                for each in told.values():
                    os.close(each)
                return asked, descriptors
            told[pid] = descriptors.pop()
            with suppress(BrokenPipeError):
                os.write(told[pid], str(pid).ljust(LENGTH_BYTES).encode())
            for each in descriptors:
                os.close(each)


def _tell(told: dict[int, int]) -> None:
    while told:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        descriptor = told.pop(pid)
        with suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(descriptor, str(os.waitstatus_to_exitcode(status)).ljust(LENGTH_BYTES).encode())
        os.close(descriptor)


def _exactly(stream: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += stream.recv(length - len(data))
    return data


def _become(asked: dict[str, Any], descriptors: list[int]) -> None:
    out, err, told = descriptors
    os.dup2(out, 1)
    os.dup2(err, 2)
    for each in (out, err, told):
        os.close(each)
    os.environ.clear()
    os.environ.update(asked["environ"])
    time.tzset()
    os.chdir(asked["cwd"])
    sys.path[0] = asked["cwd"]
    sys.argv = ["", *asked["arguments"]]
    runpy.run_module("etl", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
