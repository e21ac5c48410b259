"""One account in one slot: what has been tried so far, and the outcome it comes to."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from etl.clock import TRUSTED_SKEW, HostClock
from etl.doubt import PAUSES_SECONDS, Look, note
from etl.errors import MalformedAnswer, Trouble
from etl.extract.patience import MAX_ATTEMPTS
from etl.grid import slot_end, slot_of
from etl.model import Environment, Failure, Fetched, Outcome, Reading, Reason
from etl.remembered import AccountMemory
from etl.spool.spool import Draft

# A doubted reading is not read again when so little of its slot is left: that request might leave after it.
TOO_LATE = timedelta(milliseconds=250)


@dataclass(frozen=True, slots=True)
class Doubted:
    """A reading that is written down, and read again before it is settled.

    ``said`` is what was doubted in each of its bodies.
    """

    draft: Draft
    reading: Reading
    said: tuple[tuple[str, ...], ...]


@dataclass(eq=False, slots=True)
class Job:
    """An account to be asked. ``give_up_at`` is of the monotonic clock; ``trouble`` is the last one.

    ``doubted`` is the outcome unless a further reading takes its place.
    """

    account: str
    fingerprint: str
    environment: Environment
    interval_seconds: int
    host: HostClock
    memory: AccountMemory
    give_up_at: float
    started_at: datetime = field(init=False)
    _started: float = field(init=False)
    attempts: int = 0
    counted_at: float = 0.0  # by the limiter, of the monotonic clock
    skewed: bool = False
    first_at: datetime | None = None
    trouble: Trouble | None = None
    limited: bool = False
    doubted: Doubted | None = None

    def __post_init__(self) -> None:
        self.started_at = self.host.clock.now()
        self._started = self.host.clock.elapsed()

    @property
    def slot_at(self) -> datetime:
        """The slot in which it was begun, as far as the clocks are known by now."""
        clock = self.host.clock
        begun = self.host.believed(self.started_at)
        measured = self.host.believed(clock.now()) - timedelta(seconds=clock.elapsed() - self._started)
        # Where the clock was set since, what it said before cannot be understood by what is known of it now.
        return slot_of(measured if abs(measured - begun) > TRUSTED_SKEW else begun, self.interval_seconds)

    @property
    def ends_at(self) -> datetime:
        """The end of its slot, in the time of :meth:`etl.clock.HostClock.believed`."""
        return slot_end(self.slot_at, self.interval_seconds)

    def left(self) -> timedelta:
        """How much of its slot is left."""
        return self.ends_at - self.host.believed(self.host.clock.now())

    def is_over(self) -> bool:
        """Whether its slot has ended, or will have before a further reading of it could be sent."""
        return self.left() <= (TOO_LATE if self.doubted else timedelta(0))

    def reading(self, requested_at: datetime, latency_ms: int, body: bytes) -> Reading:
        """An answer, filed under the slot in which its request was sent."""
        return Reading(
            account=self.account,
            environment=self.environment,
            slot_at=slot_of(self.host.believed(requested_at), self.interval_seconds),
            interval_seconds=self.interval_seconds,
            requested_at=requested_at,
            latency_ms=latency_ms,
            clock_offset_ms=self.host.memory.clock_offset_ms,
            attempts=self.attempts,
            key_fingerprint=self.fingerprint,
            uid=self.memory.uids.get(self.fingerprint),
            bodies=(body,),
        )

    def composed(self, fetched: Fetched, seen: Look | None) -> tuple[Reading, Draft | None]:
        """An answer as a reading, with the doubted ones before it, and the draft whose place it takes.

        One that was sent when the slot had just ended stands for itself.
        """
        reading = self.reading(fetched.requested_at, fetched.latency_ms, fetched.body)
        doubts = seen.doubts if seen else ()
        before = self.doubted
        if before is None or reading.slot_at != slot_of(
            self.host.believed(before.reading.requested_at), self.interval_seconds
        ):
            return replace(reading, doubt=note([doubts])), None
        bodies = (*before.reading.bodies, fetched.body)
        return replace(reading, bodies=bodies, doubt=note([*before.said, doubts])), before.draft

    def pause_to_read_again(self, after: Draft | None) -> float | None:
        """How long to wait for a further reading of what is doubted now; None where none fits into budget and slot."""
        number = len(self.doubted.said) if self.doubted else 0
        if self.attempts >= MAX_ATTEMPTS or number >= len(PAUSES_SECONDS) or (self.doubted and after is None):
            return None
        pause = PAUSES_SECONDS[number]
        in_time = self.host.clock.monotonic() + pause < self.give_up_at
        return pause if in_time and self.left() - timedelta(seconds=pause) > TOO_LATE else None

    def failure(self, reason: Reason, detail: str) -> Failure:
        """Why its slot has no snapshot."""
        return Failure(
            account=self.account,
            environment=self.environment,
            slot_at=self.slot_at,
            interval_seconds=self.interval_seconds,
            reason=reason,
            detail=detail,
            attempts=self.attempts,
            first_at=self.first_at or self.started_at,
            last_at=self.host.clock.now(),
        )

    def ended(self, reason: Reason, detail: str) -> Outcome | Draft:
        """Its outcome when it is not asked any more: the last reading, though it was doubted, or else a failure."""
        return self.doubted.draft if self.doubted else self.failure(reason, detail)

    def given_up(self) -> Outcome | Draft:
        """The same, when that is because of its trouble, or of the time."""
        if self.doubted:
            return self.doubted.draft
        if isinstance(self.trouble, MalformedAnswer):
            # Filed like a reading: load will not understand it either, and puts body and failure where they belong.
            return self.reading(self.trouble.requested_at, self.trouble.latency_ms, self.trouble.body)
        if self.trouble is None:
            return self.failure(Reason.OVERRUN, "the slot ended before it could be asked")
        return self.failure(Reason(self.trouble.reason), self.trouble.detail)
