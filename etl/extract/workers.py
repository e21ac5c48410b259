"""Threads that wait for the network, and end with the program whatever they wait for."""

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from etl.clock import Clock

IDLE_SECONDS = 20.0
Key = TypeVar("Key")
Value = TypeVar("Value")


class Lost(Exception):
    """A call did not come back in its time. Its thread is counted on no more, and its answer would be passed over."""


class NoThread(Exception):
    """The system has no thread for a call, which was not made. ``beside``: so many others were under way."""

    def __init__(self, beside: int) -> None:
        super().__init__()
        self.beside = beside


class Threads:
    """Threads that make calls, any number at once, and wait for more. They end with the program, or when long idle."""

    def __init__(self) -> None:
        self._idle: list[queue.SimpleQueue[Callable[[], None]]] = []

    def run(self, call: Callable[[], None]) -> None:
        """Make the call, which must not raise, in a thread: one that is idle, or a new one.

        Raises RuntimeError where the system has none: a limit of processes, or of memory.
        """
        try:
            calls = self._idle.pop()
        except IndexError:
            calls = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(calls,), daemon=True, name="worker").start()
        calls.put(call)

    def _serve(self, calls: "queue.SimpleQueue[Callable[[], None]]") -> None:
        while True:
            try:
                call = calls.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                try:
                    self._idle.remove(calls)
                except ValueError:
                    continue  # it was called for at this moment
                return
            call()
            self._idle.append(calls)


class Workers(Generic[Key, Value]):
    """Calls under way, each in a daemon thread and each with a time at which it is given up.

    The standard library's pool will not do: it is waited for at exit, and a name that never resolves cannot be
    interrupted. Only one thread may submit and wait.
    """

    def __init__(self, clock: Clock, threads: Threads) -> None:
        self._clock = clock
        self._threads = threads
        self._done: queue.SimpleQueue[tuple[int, Value | Exception]] = queue.SimpleQueue()
        self._under_way: dict[int, tuple[Key, float]] = {}
        self._tickets = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def under_way(self) -> list[Key]:
        """What is under way."""
        return [key for key, _ in self._under_way.values()]

    def submit(self, key: Key, call: Callable[[], Value], give_up_at: float) -> None:
        """Have a thread make the call. Where there is none for it, NoThread comes back."""
        self._tickets += 1
        self._under_way[self._tickets] = (key, give_up_at)
        try:
            self._threads.run(partial(self._make, self._tickets, call))
        except RuntimeError:
            self._done.put((self._tickets, NoThread(len(self._under_way) - 1)))

    def wait(self, timeout: float) -> list[tuple[Key, Value | Exception]]:
        """What came back, or is given up as Lost: at once if there is anything, after the timeout if not."""
        back: list[tuple[Key, Value | Exception]] = []
        try:
            finished = self._done.get(timeout=max(0.0, timeout) / self._clock.speed)
            while True:
                ticket, value = finished
                if ticket in self._under_way:  # else it was given up, and its answer is nobody's
                    back.append((self._under_way.pop(ticket)[0], value))
                finished = self._done.get_nowait()
        except queue.Empty:
            pass
        now = self._clock.monotonic()
        for ticket, (key, give_up_at) in list(self._under_way.items()):
            if give_up_at <= now:
                del self._under_way[ticket]
                back.append((key, Lost()))
        return back

    def _make(self, ticket: int, call: Callable[[], Value]) -> None:
        try:
            value: Value | Exception = call()
        except Exception as error:  # noqa: BLE001 - it travels to the thread that decides
            value = error
        self._done.put((ticket, value))
