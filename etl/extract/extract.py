"""One slot, all accounts, exactly one outcome each. Knows a Source, not BingX.

The thread that calls :meth:`Extraction.run` takes every decision; the workers only wait for the network. A retry is a
time in a queue and not a sleeping thread, so a failing account holds up no other.
"""

import heapq
import itertools
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from etl.clock import Clock, HostClock
from etl.doubt import Doubter, Look
from etl.errors import ClockSkew, KeyRefused, RateLimited, RequestRefused, Trouble, Unreachable
from etl.extract.asking import Answered, Asker
from etl.extract.job import Doubted, Job
from etl.extract.patience import MAX_ATTEMPTS, Plan, held_off, pause_seconds, refuse, still_blocked, unblocked_at
from etl.extract.questions import Question, Questions
from etl.extract.source import Source, Stop
from etl.extract.workers import Lost, NoThread, Threads, Workers
from etl.grid import instant_text
from etl.model import Outcome, Reason
from etl.remembered import AccountMemory, Block, Remembered
from etl.spool.spool import Draft

log = logging.getLogger(__name__)

MAX_WORKERS = 64
# With more accounts, what is tried again is no news any more: a slot in which BingX is down would fill the log.
FEW_ACCOUNTS = 10
# What is in flight when the program is told to stop gets this long to arrive.
STOP_GRACE_SECONDS = 3.0
NO_ANSWER = {Lost: "no answer, and no end of waiting for one", NoThread: "this system has no thread to ask with"}
# How often a stop is looked for while waiting.
TICK_SECONDS = 0.2


class Extraction:
    """One run over one slot."""

    def __init__(
        self,
        source: Source,
        remembered: Remembered,
        plan: Plan,
        *,
        write: Callable[..., Draft],
        keep: Callable[[Sequence[Draft]], None],
        set_aside: Callable[[Outcome, str, str], None],
        stop: Stop,
        doubter: Doubter | None = None,
        clock: Clock | None = None,
        threads: Threads | None = None,
    ) -> None:
        """``write`` writes an outcome down at once, in any thread; ``keep`` has a group on the disk when it returns.

        ``write`` may be told for how long what it writes is not settled, and the draft whose place it takes.
        ``set_aside`` quarantines an answer that must not be believed, with reason and detail. ``doubter`` None believes
        every answer.
        """
        self._source = source
        self._remembered = remembered
        self._plan = plan
        self._write = write
        self._keep = keep
        self._set_aside = set_aside
        self._stop = stop
        self._clock = clock or Clock()
        self._host = HostClock(self._clock, remembered, source.clock_offset_ms)
        self._asker = Asker(source, self._host, write, doubter)
        self._waiting: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._asking: Workers[Job | Question, Answered | str | None] = Workers(self._clock, threads or Threads())
        self._questions = Questions(source, self._host, remembered, plan)
        self._most_at_once = MAX_WORKERS
        self._free_at = 0.0
        self._aside = logging.INFO

    def run(self, accounts: Iterable[str]) -> None:
        """Ask for every account until each has its outcome."""
        try:
            self._run(list(accounts))
        finally:
            self._let_go(self._asking.under_way())

    def _run(self, names: list[str]) -> None:
        self._aside = logging.INFO if len(names) <= FEW_ACCOUNTS else logging.DEBUG
        random.shuffle(names)  # so that a slot too short for all does not always miss the same ones
        self._keep_all(outcome for name in names if (outcome := self._admit(name)))
        stopping_at: float | None = None
        while self._waiting or self._asking or self._questions:
            now = self._clock.monotonic()
            if stopping_at is None and self._stop.is_set():
                stopping_at = now + STOP_GRACE_SECONDS
            if stopping_at is not None:
                self._questions.drop()
                waiting, self._waiting = self._waiting, []
                self._keep_all(job.ended(Reason.STOPPED, "told to stop") for _, _, job in waiting)
                if now >= stopping_at:
                    self._keep_all(self._wait(now, 0.0))
                    unfinished = [key for key in self._asking.under_way() if isinstance(key, Job)]
                    unfinished += [job for _, _, job in self._waiting]  # whose answer, just now, was no outcome
                    self._keep_all(job.ended(Reason.STOPPED, "told to stop") for job in unfinished)
                    break
            self._keep_all(self._dispatch(now))
            self._keep_all(self._wait(now, TICK_SECONDS * self._clock.speed))
            self._ask_questions(self._clock.monotonic())

    # What is asked, and when

    def _admit(self, account: str) -> Outcome | None:
        """Queue an account; or its failure, where it is known that it must not be asked now."""
        job = Job(
            account=account,
            fingerprint=self._source.key_fingerprint(account),
            environment=self._source.environment,
            interval_seconds=self._plan.interval_seconds,
            host=self._host,
            memory=self._remembered.account(account),
            give_up_at=self._clock.monotonic() + self._plan.retry_for_seconds,
        )
        why = held_off(job.memory.refusal, job.fingerprint, job.slot_at)
        if why and not self._plan.ask_refused:
            return job.failure(Reason.BACKING_OFF, why)
        heapq.heappush(self._waiting, (self._clock.monotonic(), next(self._order), job))
        return None

    def _dispatch(self, now: float) -> Iterable[Outcome | Draft]:
        """Send what is due. Yields the outcomes of those whose time is over before they could be sent."""
        due: list[tuple[float, int, Job]] = []
        while self._waiting and self._waiting[0][0] <= now and len(self._asking) + len(due) < self._most_at_once:
            entry = heapq.heappop(self._waiting)
            job = entry[2]
            if job.is_over():
                yield job.given_up()
                continue
            blocked = still_blocked(self._clock.now(), self._host.memory.block, job.memory.block)
            if blocked is not None:
                trouble = RateLimited(Reason.RATE_LIMITED, f"limited until {instant_text(blocked)}", blocked)
                yield from self._again(job, trouble, (blocked - self._clock.now()).total_seconds())
                continue
            due.append(entry)
        if not due:
            return
        counted_at = self._clock.monotonic()
        free, self._free_at = self._plan.limiter.take_some(counted_at, len(due))
        for entry in due[free:]:
            heapq.heappush(self._waiting, entry)
        for _, _, job in due[:free]:
            job.attempts += 1
            job.counted_at = counted_at
            job.first_at = job.first_at or self._clock.now()
            self._send(job, now, partial(self._asker.ask, job))

    def _ask_questions(self, now: float) -> None:
        while len(self._asking) < self._most_at_once and (question := self._questions.next(now)) is not None:
            self._send(question, now, question.ask)

    def _send(self, key: Job | Question, now: float, call: Callable[[], "Answered | str | None"]) -> None:
        self._asking.submit(key, call, now + self._plan.longest_call_seconds)

    def _wait(self, now: float, timeout: float) -> Iterable[Outcome | Draft]:
        """What the next answers to arrive come to."""
        self._plan.limiter.wait(now)
        if self._waiting and len(self._asking) < self._most_at_once:
            timeout = min(timeout, max(self._waiting[0][0], self._free_at) - now)
        answers = self._asking.wait(timeout)
        self._let_go(key for key, _ in answers)
        for key, value in answers:
            if isinstance(key, Question):
                key.settle(value)
            else:
                yield from self._settle(key, value)

    def _let_go(self, keys: Iterable[Job | Question]) -> None:
        """Nobody waits for their answers any more: the limiter is told."""
        if counted := [key.counted_at for key in keys if isinstance(key, Job)]:
            self._plan.limiter.answered(counted, self._clock.monotonic())

    # What it means

    def _settle(self, job: Job, value: object) -> Iterable[Outcome | Draft]:
        if isinstance(value, Trouble) and value.aside is not None:
            self._set_aside(job.reading(*value.aside), value.reason, f"code 0 all the same: {value.detail}")
        if isinstance(value, Answered):
            yield from self._settle_reading(job, value)
        elif isinstance(value, KeyRefused | RequestRefused):
            interval = timedelta(seconds=self._plan.interval_seconds)
            refusal = refuse(
                job.memory.refusal,
                value,
                fingerprint=job.fingerprint,
                slot_at=job.slot_at,
                interval=interval,
                now=self._clock.now(),
            )
            self._remember(job, replace(job.memory, refusal=refusal))
            job.trouble = value
            yield job.given_up()
        elif isinstance(value, RateLimited):
            now = self._clock.now()
            until = unblocked_at(value, now, self._clock.chance(), again=job.limited)
            job.limited = True
            self._remember_block(job, value, Block(now, until))
            yield from self._again(job, value, (until - now).total_seconds())
        elif isinstance(value, ClockSkew):
            if job.skewed:
                job.trouble = value
                yield job.given_up()
            else:
                job.skewed = True
                yield from self._again(job, value, 0.0)
        elif isinstance(value, NoThread) and value.beside:
            self._most_at_once = min(self._most_at_once, value.beside)  # it goes when one of those has come back
            job.attempts -= 1
            heapq.heappush(self._waiting, (self._clock.monotonic(), next(self._order), job))
        elif isinstance(value, Trouble | Lost | NoThread):
            trouble = value if isinstance(value, Trouble) else Unreachable(Reason.UNREACHABLE, NO_ANSWER[type(value)])
            yield from self._again(job, trouble, pause_seconds(job.attempts, self._clock.chance()))
        else:
            trace = value if isinstance(value, Exception) else None
            log.error("%s: unexpected %s", job.account, type(value).__name__, exc_info=trace)
            yield job.ended(Reason.DEFECT, f"unexpected {type(value).__name__}")

    def _again(self, job: Job, trouble: Trouble, pause: float) -> Iterable[Outcome | Draft]:
        """Queue the job again after the pause, where its attempts, its time and its slot allow that.

        Not where there is a reading already, which was only doubted.
        """
        job.trouble = trouble
        due = self._clock.monotonic() + pause
        in_slot = self._host.believed(self._clock.now()) + timedelta(seconds=pause) < job.ends_at
        if job.attempts < MAX_ATTEMPTS and due < job.give_up_at and in_slot and job.doubted is None:
            log.log(self._aside, "%s: %s (%s), again in %.1f s", job.account, trouble.reason, trouble.detail, pause)
            heapq.heappush(self._waiting, (due, next(self._order), job))
        else:
            yield job.given_up()

    def _read_again(self, job: Job, answered: Answered, seen: Look, pause: float) -> None:
        said = (*(job.doubted.said if job.doubted else ()), seen.doubts)
        job.doubted = Doubted(answered.draft, answered.reading, said)
        log.log(self._aside, "%s: doubted: %s; read again in %.1f s", job.account, ", ".join(seen.doubts), pause)
        heapq.heappush(self._waiting, (self._clock.monotonic() + pause, next(self._order), job))

    def _settle_reading(self, job: Job, answered: Answered) -> Iterable[Outcome | Draft]:
        if job.memory.refusal or job.memory.block:
            self._remember(job, replace(job.memory, refusal=None, block=None))
        seen, reading = answered.seen, answered.reading
        if seen is not None and answered.pause is not None and answered.draft.refusal is None:
            self._read_again(job, answered, seen, answered.pause)  # it is safe until then, and so not settled yet
            return
        yield answered.draft
        if job.doubted and answered.draft.after is None:  # the request left when the slot had just ended
            yield job.doubted.draft
            return
        # A run's slot is that of its first request: one that left just after a boundary has not overrun anything.
        if reading.slot_at != job.slot_at and job.attempts > 1:
            yield job.failure(Reason.OVERRUN, "the request left when the slot had just ended")
        if not answered.clock_agrees:
            self._questions.what_time()
        is_asked = job.fingerprint not in job.memory.uids and self._questions.whose_key(job)
        if seen is not None and seen.wallets != job.memory.wallets:
            # Read anew, since this is rare, and the file may know more by now. A question writes it once for both.
            memory = replace(self._remembered.account(job.account), wallets=seen.wallets)
            if is_asked:
                job.memory = memory
            else:
                self._remember(job, memory)

    def _remember(self, job: Job, memory: AccountMemory) -> None:
        job.memory = memory
        self._remembered.keep_account(job.account, memory)

    def _remember_block(self, job: Job, trouble: RateLimited, block: Block) -> None:
        if trouble.whole_host:
            self._host.block(block)
        else:
            self._remember(job, replace(job.memory, block=block))

    def _keep_all(self, outcomes: Iterable[Outcome | Draft]) -> None:
        group = [each if isinstance(each, Draft) else self._write(each) for each in outcomes]
        if group:
            self._keep(group)
