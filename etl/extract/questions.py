"""What is asked besides balances, only once those are kept: whose key it is, and what time it is at the exchange."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from etl.clock import HostClock
from etl.errors import Trouble
from etl.extract.job import Job
from etl.extract.patience import Plan, held_off, refuse
from etl.extract.source import Source
from etl.remembered import AccountMemory, Remembered

log = logging.getLogger(__name__)

# After so many answers that were none, a UID is asked for less and less often, as a refused key is.
PATIENT_TIMES = 3


@dataclass(eq=False, frozen=True, slots=True)
class Question:
    """One request, and what to do with its answer or the exception that came instead."""

    ask: Callable[[], str | None]
    settle: Callable[[object], None]


class Questions:
    """The questions that a run still has. An answer that does not come costs nothing but another question."""

    def __init__(self, source: Source, host: HostClock, remembered: Remembered, plan: Plan) -> None:
        self._source = source
        self._host = host
        self._remembered = remembered
        self._plan = plan
        self._uids: deque[Job] = deque()
        self._clock_is_doubted = False
        self._clock_was_asked = False

    def __bool__(self) -> bool:
        return bool(self._uids) or self._clock_is_doubted

    def whose_key(self, job: Job) -> bool:
        """The UID behind the account's key is not known. Whether this run asks, and then remembers the account."""
        before = job.memory.uid_refusal
        if before is None or before.times < PATIENT_TIMES or held_off(before, job.fingerprint, job.slot_at) is None:
            self._uids.append(job)
            return True
        return False

    def what_time(self) -> None:
        """An answer's clock does not fit ours: measured once in a run."""
        self._clock_is_doubted = not self._clock_was_asked

    def drop(self) -> None:
        """Ask nothing more."""
        self._uids.clear()
        self._clock_is_doubted = False

    def next(self, now: float) -> Question | None:
        """What may be asked at this time of the monotonic clock."""
        if self._clock_is_doubted:
            self._clock_is_doubted, self._clock_was_asked = False, True
            return Question(partial(self._host.measure, now), self._settle_clock)
        if self._uids and self._uids[0].is_over():
            self._uids.clear()
        if self._uids and self._plan.uid_limiter.take(now) <= now:
            job = self._uids.popleft()
            return Question(
                partial(self._source.uid, job.account, self._host.offset_ms), partial(self._settle_uid, job)
            )
        return None

    def _settle_clock(self, value: object) -> None:
        if isinstance(value, Exception):
            log.warning("the clock offset could not be measured: %s", _words(value))

    def _settle_uid(self, job: Job, value: object) -> None:
        memory = job.memory
        if isinstance(value, str):
            memory = replace(memory, uids={**memory.uids, job.fingerprint: value}, uid_refusal=None)
        elif isinstance(value, Trouble):
            refusal = refuse(
                memory.uid_refusal,
                value,
                fingerprint=job.fingerprint,
                slot_at=job.slot_at,
                interval=timedelta(seconds=job.interval_seconds),
                now=self._host.clock.now(),
            )
            memory = replace(memory, uid_refusal=refusal)
        if not isinstance(value, str):
            log.warning("%s: the UID behind its key is not known yet (%s)", job.account, _words(value))
        self._keep(job, memory)

    def _keep(self, job: Job, memory: AccountMemory) -> None:
        job.memory = memory
        self._remembered.keep_account(job.account, memory)


def _words(value: object) -> str:
    return value.detail if isinstance(value, Trouble) else f"unexpected {type(value).__name__}"
