"""Threads that wait for the network, and end with the program whatever they wait for."""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from etl.clock import Clock

Key = TypeVar("Key")
Value = TypeVar("Value")


class Lost(Exception):
    """A call did not come back in its time. Its thread is counted on no more, and its answer would be passed over."""


class Workers(Generic[Key, Value]):
    """Calls under way, each in a daemon thread and each with a time at which it is given up.

    The standard library's pool will not do: it is waited for at exit, and a name that never resolves cannot be
    interrupted. Only one thread may submit and wait.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._todo: queue.SimpleQueue[tuple[int, Callable[[], Value]] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, Value | Exception]] = queue.SimpleQueue()
        self._under_way: dict[int, tuple[Key, float]] = {}
        self._threads = 0
        self._lost: set[int] = set()
        self._tickets = 0

    def __len__(self) -> int:
        return len(self._under_way)

    def under_way(self) -> list[Key]:
        """What is under way."""
        return [key for key, _ in self._under_way.values()]

    def submit(self, key: Key, call: Callable[[], Value], give_up_at: float) -> None:
        """Have a thread make the call, a new one if all are busy."""
        self._tickets += 1
        self._under_way[self._tickets] = (key, give_up_at)
        self._todo.put((self._tickets, call))
        if len(self._under_way) > self._threads:
            self._threads += 1
            threading.Thread(target=self._run, daemon=True, name="worker").start()

    def wait(self, timeout: float) -> list[tuple[Key, Value | Exception]]:
        """What came back, or is given up as Lost: at once if there is anything, after the timeout if not."""
        back: list[tuple[Key, Value | Exception]] = []
        try:
            finished = self._done.get(timeout=max(0.0, timeout) / self._clock.speed)
            while True:
                ticket, value = finished
                if ticket in self._under_way:
                    back.append((self._under_way.pop(ticket)[0], value))
                finished = self._done.get_nowait()
        except queue.Empty:
            pass
        now = self._clock.monotonic()
        for ticket, (key, give_up_at) in list(self._under_way.items()):
            if give_up_at <= now:
                del self._under_way[ticket]
                self._lost.add(ticket)
                self._threads -= 1
                back.append((key, Lost()))
        return back

    def dismiss(self) -> None:
        """Let the threads end as they become idle."""
        for _ in range(self._threads):
            self._todo.put(None)

    def _run(self) -> None:
        while (item := self._todo.get()) is not None:
            ticket, call = item
            try:
                value: Value | Exception = call()
            except Exception as error:  # noqa: BLE001 - it travels to the thread that decides
                value = error
            if ticket in self._lost:
                return
            self._done.put((ticket, value))
