"""Pings in the manner of healthchecks.io: a slot begins, all of it is stored, or with which exit code it is not.

A ping tells a service of the user's that somebody was there; the service raises the alarm when nobody was. Pings are
sent by a thread of their own, one at a time. Whatever the service does, recording neither waits for it nor notices.
"""

import logging
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from etl.grid import slot_text
from etl.recorder import Recorded, Slot, Stored
from etl.watchers import Watcher

log = logging.getLogger(__name__)

# For one ping, tries included: the two of a run take no more than twice that.
PING_SECONDS = 5.0
# healthchecks.io takes five pings a minute. Of shorter slots not each is told, but every change at once.
PACE_SECONDS = 25.0
DATABASE_WAITS = 75
BUG = 70

Post: TypeAlias = Callable[[str, str, float], str]
"""Sends a text to an address within so many seconds; what went wrong in words, none where it arrived."""


class _Ping(NamedTuple):
    path: str
    text: str
    run: str


class Pings(Watcher):
    """Told of slots, it pings ``/start``, and then the address itself where the exit code is 0, else ``/CODE``."""

    def __init__(
        self,
        address: Callable[[], str | None],
        post: Post,
        code_of: Callable[[Sequence[Slot], Stored], int],
        *,
        patience_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``address`` gives the URL, or None where nobody is to be pinged; ``patience_seconds`` is for the end."""
        self._address = address
        self._post = post
        self._code_of = code_of
        self._patience_seconds = patience_seconds
        self._monotonic = monotonic
        self._waiting: deque[_Ping] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._run = ""
        self._began_at = self._ended_at = float("-inf")
        self._code: int | None = None
        self._waits_for_database = False
        self._trouble = ""

    def begins(self) -> None:
        """Ping the start, unless an earlier ping still waits, or the last start was just now."""
        now = self._monotonic()
        with self._changed:
            if self._address() is None or self._waiting or now - self._began_at < PACE_SECONDS:
                return
            self._began_at = now
            self._run = str(uuid.uuid4())
            self._add(_Ping("/start", "", self._run))

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        """Ping the exit code of the slots; or, when at last they are stored, that nothing is wrong any more."""
        code = int(self._code_of(slots, stored))
        if slots:
            self._waits_for_database = code == DATABASE_WAITS and all(
                each.failure is None for slot in slots for each in slot.recorded
            )
        elif not self._waits_for_database or code:
            return
        else:
            self._waits_for_database = False
        self._end(code, _text(slots, code))

    def fails(self, error: Exception) -> None:
        """Ping that nothing was recorded at all."""
        code = int(getattr(error, "exit_code", BUG))
        self._end(code, f"nothing was recorded: {type(error).__name__}, exit code {code}")

    def finish(self) -> None:
        """Wait for what is under way and what waits; not for longer than is good."""
        end = self._monotonic() + self._patience_seconds
        with self._changed:
            while self._thread is not None and (left := end - self._monotonic()) > 0:
                self._changed.wait(left)

    def _end(self, code: int, text: str) -> None:
        now = self._monotonic()
        with self._changed:
            if self._address() is None or (code == self._code and now - self._ended_at < PACE_SECONDS):
                return
            self._code, self._ended_at = code, now
            # What an earlier slot came to, and nobody has been told yet, is of no interest any more.
            starts = [ping for ping in self._waiting if ping.path == "/start"]
            self._waiting.clear()
            self._waiting.extend(starts)
            self._add(_Ping(f"/{code}" if code else "", text, self._run))
            self._run = ""

    def _add(self, ping: _Ping) -> None:
        self._waiting.append(ping)
        if self._thread is None:
            thread = threading.Thread(target=self._send_all, name="pings", daemon=True)
            thread.start()  # raises where the system has none: the next one tries again
            self._thread = thread

    def _send_all(self) -> None:
        """Until nothing waits; then the thread ends, for a day may pass before the next."""
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                ping = self._waiting.popleft()
            try:
                self._send(ping)
            except Exception:
                log.exception("a defect while pinging: recording goes on")

    def _send(self, ping: _Ping) -> None:
        address = self._address()
        if address is None:
            return
        trouble = self._post(address_of(address, ping.path, ping.run), ping.text, PING_SECONDS)
        if trouble and trouble != self._trouble:
            log.warning("a ping did not arrive: %s", trouble)
        elif self._trouble and not trouble:
            log.info("pings arrive again")
        self._trouble = trouble


def address_of(url: str, path: str, run: str) -> str:
    """Where to send a ping; ``run`` ties the start of a run to its end."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, run and f"rid={run}")))
    return parts._replace(path=parts.path.rstrip("/") + path, query=query).geturl()


def _text(slots: Sequence[Slot], code: int) -> str:
    """What became of the accounts, in numbers: neither names nor amounts, for it leaves the house."""
    recorded = [each for slot in slots for each in slot.recorded]
    if not recorded:
        return "what had waited is stored"
    counts = Counter(_outcome(each) for each in recorded)
    slot_at = slot_text(max(each.outcome.slot_at for each in recorded))
    stored = sum(each.stored for each in recorded)
    told = ", ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items()))
    return f"slot {slot_at}, accounts {len(recorded)}: {told}; stored {stored}; exit code {code}"


def _outcome(recorded: Recorded) -> str:
    if recorded.failure is not None:
        return recorded.failure.reason.value
    return "unknown" if recorded.snapshot is None else recorded.snapshot.status.value
