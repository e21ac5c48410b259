"""What a worker does: ask for one account, look at the answer, write it down before anything else can happen to it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from etl.clock import HostClock
from etl.doubt import Doubter, Look
from etl.errors import ClockSkew, MalformedAnswer, Trouble
from etl.extract.job import Job
from etl.extract.source import Source
from etl.model import Fetched, Reading, Reason
from etl.spool.spool import Draft

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Answered:
    """A reading, written down. ``clock_agrees``: the answer's clock fits ours, as far as both are known.

    ``seen`` is None where nobody looked, or where the answer could not be understood. ``pause``, in seconds, is for a
    further reading, until which this one is not settled; None where it is.
    """

    draft: Draft
    reading: Reading
    seen: Look | None
    clock_agrees: bool
    pause: float | None = None


class Asker:
    """Asks the source. Every method may be called from several threads at once."""

    def __init__(
        self, source: Source, host: HostClock, write: Callable[..., Draft], doubter: Doubter | None = None
    ) -> None:
        """``write`` takes the reading, for how long it is not settled, and the draft whose place it takes."""
        self._source = source
        self._host = host
        self._write = write
        self._doubter = doubter

    def ask(self, job: Job) -> Answered:
        """The account's answer; raises Trouble."""
        began = self._host.clock.monotonic()
        try:
            fetched = self._source.balances(job.account, self._host.offset_ms)
        except ClockSkew as skew:
            try:
                self._host.measure(began)
            except Trouble as trouble:
                raise ClockSkew(skew.reason, f"{skew.detail}; the server's time: {trouble.detail}") from None
            raise
        agrees = fetched.exchange_at is None or self._host.agrees(fetched.exchange_at, fetched.middle_at)
        seen = self._doubter.look(fetched.body, job.memory.wallets) if self._doubter else None
        if seen is None and job.doubted is not None:
            raise _not_understood(fetched)
        reading, after = job.composed(fetched, seen)
        # Before anything else happens to it, be it only waiting for the deciding thread.
        pause = job.pause_to_read_again(after) if seen and seen.doubts else None
        if pause is None and after is None:
            return Answered(self._write(reading), reading, seen, agrees)
        unsettled_ms = 0 if pause is None else job.left() // MILLISECOND
        return Answered(self._write(reading, unsettled_ms=unsettled_ms, after=after), reading, seen, agrees, pause)


def _not_understood(fetched: Fetched) -> MalformedAnswer:
    """A further reading that is none: the one before it, which was understood, stays what the slot has."""
    trouble = MalformedAnswer(
        Reason.MALFORMED,
        "not understood when read again",
        fetched.body,
        requested_at=fetched.requested_at,
        latency_ms=fetched.latency_ms,
    )
    trouble.aside = (fetched.requested_at, fetched.latency_ms, fetched.body)
    return trouble
