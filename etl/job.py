"""One account in one slot: what has been tried so far, and the outcome it comes to."""

from dataclasses import dataclass, field
from datetime import datetime

from etl.clock import HostClock
from etl.errors import MalformedAnswer, Trouble
from etl.grid import slot_end, slot_of
from etl.model import Environment, Failure, Outcome, Reading, Reason
from etl.remembered import AccountMemory


@dataclass(eq=False, slots=True)
class Job:
    """An account to be asked. ``give_up_at`` is of the monotonic clock; ``trouble`` is the last one."""

    account: str
    fingerprint: str
    environment: Environment
    interval_seconds: int
    host: HostClock
    memory: AccountMemory
    give_up_at: float
    started_at: datetime = field(init=False)
    attempts: int = 0
    skewed: bool = False
    first_at: datetime | None = None
    trouble: Trouble | None = None
    limited: bool = False

    def __post_init__(self) -> None:
        self.started_at = self.host.clock.now()

    @property
    def slot_at(self) -> datetime:
        """The slot in which it was begun, as far as the clocks are known by now."""
        return slot_of(self.host.believed(self.started_at), self.interval_seconds)

    @property
    def ends_at(self) -> datetime:
        """The end of its slot, in the time of :meth:`etl.clock.HostClock.believed`."""
        return slot_end(self.slot_at, self.interval_seconds)

    def is_over(self) -> bool:
        """Whether its slot has ended."""
        return self.host.believed(self.host.clock.now()) >= self.ends_at

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

    def given_up(self) -> Outcome:
        """Its outcome when it is not asked any more in this slot."""
        if isinstance(self.trouble, MalformedAnswer):
            # Filed like a reading: load will not understand it either, and puts body and failure where they belong.
            return self.reading(self.trouble.requested_at, self.trouble.latency_ms, self.trouble.body)
        if self.trouble is None:
            return self.failure(Reason.OVERRUN, "the slot ended before it could be asked")
        return self.failure(Reason(self.trouble.reason), self.trouble.detail)
