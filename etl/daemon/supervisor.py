"""Whoever started the daemon and wants to know how it does: systemd, by datagrams to ``$NOTIFY_SOCKET`` (sd_notify(3)).

Fifteen lines of a published protocol, for which the libraries there are bring C or have been left alone for years.
"""

import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from etl.errors import EtlError
from etl.grid import slot_text
from etl.recorder import Recorded, Slot, Stored
from etl.watchers import Watcher

log = logging.getLogger(__name__)

# A supervisor that does not take a datagram for so long is not waited for: recording comes first.
PATIENCE_SECONDS = 0.5
# What it did not take is said again before the next thing, in order, as far back as this.
MOST_OWED = 8


class Supervisor:
    """Told in which state the daemon is. Where nobody asked for it, nothing is said. Safe to use from several threads.

    ``wants_life_every``: after so many seconds without :meth:`alive` the daemon is ended and started anew; None: never.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._is_there = name.startswith(("/", "@"))
        self.wants_life_every = _watchdog_seconds(environ) if self._is_there else None
        self._lock = threading.Lock()
        self._owed: list[str] = []

    def ready(self, status: str = "") -> None:
        """Recording has begun, or goes on after :meth:`reloading`."""
        self._say("\n".join(["READY=1", *([_status(status)] if status else [])]))

    def reloading(self) -> None:
        """Settings are being read again; :meth:`ready` follows."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._say("STOPPING=1")

    def status(self, text: str) -> None:
        """For people, in one line."""
        self._say(_status(text))

    def alive(self) -> None:
        """Only to be said of work that gets on. What is not taken is not said later: it may not be true any more."""
        with self._lock:
            self._pay()
            if not self._owed:
                self._is_taken("WATCHDOG=1")

    def _say(self, message: str) -> None:
        with self._lock:
            self._owed = [*self._owed, message][-MOST_OWED:]
            self._pay()

    def _pay(self) -> None:
        while self._owed and self._is_taken(self._owed[0]):
            del self._owed[0]

    def _is_taken(self, message: str) -> bool:
        if not self._is_there:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.settimeout(PATIENCE_SECONDS)
                datagrams.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            log.debug("the service manager was not told: %s", error)
            return False
        return True


class Reporter(Watcher):
    """Tells the supervisor, in words and without amounts, what became of the last slot."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._last = self._said = ""

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        """The last slot of those that were read, and whether it is stored."""
        recorded = [each for slot in slots for each in slot.recorded]
        if recorded:
            slot_at = max(each.outcome.slot_at for each in recorded)
            outcomes = Counter(_words(each) for each in recorded if each.outcome.slot_at == slot_at)
            counted = ", ".join(f"{number} {words}" for words, number in outcomes.most_common())
            self._last = f"slot {slot_text(slot_at)}: {counted}"
        if self._last:
            self._say(self._last + ("" if stored.trouble is None else "; not stored yet, and tried again"))

    def fails(self, error: Exception) -> None:
        """No account could even be asked."""
        self._last = f"a slot could not be read: {error if isinstance(error, EtlError) else type(error).__name__}"
        self._say(self._last)

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._supervisor.status(text)


def _words(recorded: Recorded) -> str:
    if recorded.snapshot is not None:
        return recorded.snapshot.status.value
    return f"failed ({recorded.failure.reason.value})" if recorded.failure is not None else "failed"


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"  # a second line would be a second message


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """As sd_watchdog_enabled(3) has it."""
    microseconds, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds)) or process != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000
