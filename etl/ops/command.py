"""A command of the user's: run beside the work, with a deadline, told in three ways and given no secret."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple, cast

# What a command says goes to the log, up to here; the rest is read and thrown away, so that it is not held up by it.
MOST_OUTPUT = 4096
TICK_SECONDS = 0.1
CHUNK = 65536
# What was killed is waited for so long; it may hang in the kernel.
DYING_SECONDS = 2.0


class Ran(NamedTuple):
    """How it went: an exit code (negative: ended by that signal), or None with the ``trouble`` there was."""

    code: int | None
    output: str
    trouble: str = ""

    @property
    def is_done(self) -> bool:
        """Whether it has succeeded."""
        return self.code == 0


class Command:
    """One that runs, in a session and group of its own, so that it can be ended with whatever it has started."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> None:
        """Start it; raises OSError where it cannot be, ValueError where an argument has a NUL."""
        self._unsaid = stdin
        self._output = bytearray()
        self._process = subprocess.Popen(  # noqa: S603 - it is the user's own, and no shell sees it
            arguments,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self, seconds: float) -> Ran:
        """Until it ends, or is ended when its time is up. What it has left running in the background is left alone."""
        end = time.monotonic() + seconds
        process = self._process
        pipes = cast("tuple[IO[bytes], IO[bytes]]", (process.stdin, process.stdout))
        with pipes[0] as stdin, pipes[1] as stdout, selectors.DefaultSelector() as selector:
            os.set_blocking(stdin.fileno(), False)
            os.set_blocking(stdout.fileno(), False)
            selector.register(stdin, selectors.EVENT_WRITE)
            selector.register(stdout, selectors.EVENT_READ)
            while process.poll() is None:
                if time.monotonic() >= end:
                    self.kill()
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(DYING_SECONDS)
                    return Ran(None, self._said, f"ended after {seconds:g} s")
                for key, _ in selector.select(TICK_SECONDS):
                    if not (self._say(stdin.fileno()) if key.fileobj is stdin else self._hear(stdout.fileno())):
                        selector.unregister(key.fileobj)
                if not selector.get_map():
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(min(TICK_SECONDS, max(0.0, end - time.monotonic())))
            while len(self._output) < MOST_OUTPUT and self._hear(stdout.fileno(), at_end=True):
                pass
            with suppress(OSError):  # what it did not read is nobody's any more
                stdin.close()
        return Ran(process.returncode, self._said)

    def kill(self) -> None:
        """End it with its group, without waiting for that."""
        if self._process.poll() is None:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def _said(self) -> str:
        return bytes(self._output[:MOST_OUTPUT]).decode(errors="replace").strip()

    def _say(self, descriptor: int) -> bool:
        """Go on with stdin; False when that is over."""
        try:
            self._unsaid = self._unsaid[os.write(descriptor, self._unsaid[:CHUNK]) :]
        except BlockingIOError:
            return True
        except OSError:
            self._unsaid = b""  # it does not want to know
        if not self._unsaid and self._process.stdin is not None:
            self._process.stdin.close()
        return bool(self._unsaid)

    def _hear(self, descriptor: int, *, at_end: bool = False) -> bool:
        """Go on with its output; False when that is over, or at the end when there is nothing at the moment."""
        try:
            piece = os.read(descriptor, CHUNK)
        except BlockingIOError:
            return not at_end
        except OSError:
            return False
        self._output += piece[: max(0, MOST_OUTPUT - len(self._output))]
        return bool(piece)
