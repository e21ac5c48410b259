"""SIGINT, SIGTERM and SIGHUP: the first asks to stop, the second stops."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """While its block runs, remembers the first signal that asks to stop; the next one has its ordinary effect."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, signal.Handlers] = {}

    def is_set(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it."""
        return 128 + (self.signal or 0)

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._stop)  # type: ignore[assignment] # never set from C here
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def leaving_in_order(leave: Callable[[], None]) -> Iterator[None]:
    """While its block runs, a signal that asks to stop ends the program, by way of ``leave``."""
    before = {number: signal.signal(number, _leave) for number in SIGNALS}
    try:
        yield
    except SystemExit:
        leave()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    sys.exit(128 + number)
