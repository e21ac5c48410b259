"""Stdout and stderr that never stop a command in the middle of its work.

What a command does matters more than who listens: a reading must be stored also when the log's disk is full, when the
reader of a pipe has gone, or when cron has closed what it does not use. So a stream that refuses is written to no more,
and what it said is looked at when the work is done.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO


class Descriptor(io.RawIOBase):
    """Writes to a file descriptor; from its first refusal on it takes everything and writes nothing."""

    def __init__(self, number: int, *, closed: bool = False) -> None:
        """``closed``: there was no such descriptor when the program began."""
        self._number = number
        self._closed = OSError(errno.EBADF, os.strerror(errno.EBADF)) if closed else None
        self.refusal: OSError | None = None

    def write(self, data: object) -> int:
        """How many bytes are dealt with."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type] # what a BufferedWriter passes is a buffer
        if self._closed is not None:
            self.refusal = self._closed
        if self.refusal is None:
            try:
                return os.write(self._number, view)
            except OSError as error:
                self.refusal = error
        return len(view)

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._number

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        return self._closed is None and os.isatty(self._number)


@dataclass(frozen=True, slots=True)
class Streams:
    """The two, while the program runs."""

    stdout: Descriptor
    stderr: Descriptor

    def unwritten(self) -> OSError | None:
        """Why what was meant for stdout did not get there. A reader who has read enough is no reason."""
        return None if isinstance(self.stdout.refusal, BrokenPipeError) else self.stdout.refusal


@contextmanager
def patient_streams() -> Iterator[Streams]:
    """In its block, sys.stdout and sys.stderr are such streams; after it they stay so, flushed."""
    _occupy_standard_descriptors()
    out, err = Descriptor(1, closed=sys.stdout is None), Descriptor(2, closed=sys.stderr is None)
    sys.stdout, sys.stderr = _text(out, sys.stdout), _text(err, sys.stderr)
    try:
        yield Streams(out, err)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _text(descriptor: Descriptor, before: TextIO | None) -> TextIO:
    encoding = before.encoding if before is not None else "utf-8"
    is_terminal = descriptor.isatty()
    # A wallet may have a name that the encoding of an old terminal does not know.
    return io.TextIOWrapper(
        io.BufferedWriter(descriptor),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=is_terminal or descriptor.fileno() == 2,  # noqa: PLR2004 - stderr, as Python has it
    )


def _occupy_standard_descriptors() -> None:
    """Where one of them is closed, the next file to be opened would get its number, and what is meant for stderr."""
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:  # noqa: PLR2004 - stdin, stdout and stderr
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
