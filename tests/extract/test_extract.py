"""One slot, all accounts, exactly one outcome each."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from etl.clock import Clock
from etl.errors import ClockSkew, KeyRefused, MalformedAnswer, RateLimited, RequestRefused, Trouble, Unavailable
from etl.extract.asking import Answered
from etl.extract.extract import Extraction
from etl.extract.job import Job
from etl.extract.limiter import SlidingWindow
from etl.extract.patience import Plan
from etl.extract.questions import Question
from etl.extract.workers import Threads
from etl.grid import slot_of
from etl.model import Environment, Failure, Fetched, Outcome, Reading, Reason
from etl.remembered import HostMemory, Remembered
from etl.spool.spool import Draft
from tests.values import SLOT, body

INTERVAL = 300
Script = Callable[[int], Fetched | Exception]


class World:
    """A clock that runs two hundred times faster than the wall's, and a scripted exchange."""

    environment = Environment.SANDBOX
    speed = 200.0

    def __init__(self, tmp_path: Path, start: datetime = SLOT + timedelta(seconds=1)) -> None:
        self.start, self.began = start, time.monotonic()
        self.remembered = Remembered(tmp_path)
        self.request_timeout = 10.0
        self.scripts: dict[str, Script] = {}
        self.asked: list[tuple[str, datetime, int]] = []
        self.uids: dict[str, str | Exception] = {}
        self.uids_asked: list[str] = []
        self.offset: int | Exception = 0
        self.offsets_measured = 0
        self.kept: list[Outcome] = []
        self.groups: list[int] = []
        self.written: list[Outcome] = []
        self.aside: list[tuple[Outcome, str, str]] = []
        self.stop = threading.Event()
        self.fingerprints: dict[str, str] = {}

    def monotonic(self) -> float:
        return (time.monotonic() - self.began) * self.speed

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.monotonic())

    def balances(self, account: str, clock_offset_ms: int) -> Fetched:
        now = self.now()
        self.asked.append((account, now, clock_offset_ms))
        number = sum(name == account for name, _, _ in self.asked)
        result = self.scripts[account](number) if account in self.scripts else self.answer()
        if isinstance(result, Exception):
            raise result
        return result

    def answer(self, off: timedelta = timedelta(0)) -> Fetched:
        now = self.now()
        return Fetched(now, 0, body(at=now + off), now + off)

    def uid(self, account: str, clock_offset_ms: int) -> str:
        del clock_offset_ms
        self.uids_asked.append(account)
        uid = self.uids.get(account, f"uid-{account}")
        if isinstance(uid, Exception):
            raise uid
        return uid

    def clock_offset_ms(self) -> int:
        self.offsets_measured += 1
        if isinstance(self.offset, Exception):
            raise self.offset
        return self.offset

    def key_fingerprint(self, account: str) -> str:
        return self.fingerprints.get(account, f"key-{account}")

    def write(self, outcome: Outcome) -> Draft:
        self.written.append(outcome)
        return Draft(outcome, "name", None)

    def keep(self, drafts: Sequence[Draft]) -> None:
        self.groups.append(len(drafts))
        self.kept.extend(draft.outcome for draft in drafts)

    def set_aside(self, outcome: Outcome, reason: str, detail: str) -> None:
        self.aside.append((outcome, reason, detail))

    def run(
        self, *accounts: str, retry_for: float = 120, interval: int = INTERVAL, force: bool = False, limit: int = 1000
    ) -> dict[str, Outcome]:
        """Run a slot; the outcome of each account."""
        before = len(self.kept)
        windows = SlidingWindow(limit, 10), SlidingWindow(limit, 10)
        plan = Plan(interval, retry_for, self.request_timeout, *windows, ask_refused=force)
        clock = Clock(self.now, self.monotonic, lambda: 0.5, speed=self.speed)
        self.extraction(plan, clock).run(accounts)
        outcomes = {outcome.account: outcome for outcome in self.kept[before:]}
        assert len(outcomes) == len(self.kept) - before == len(accounts), "exactly one outcome each"
        return outcomes

    def extraction(
        self,
        plan: Plan,
        clock: Clock,
        keep: "Callable[[Sequence[Draft]], None] | None" = None,
        threads: Threads | None = None,
    ) -> Extraction:
        """The real thing, over this world."""
        return Extraction(
            self,
            self.remembered,
            plan,
            write=self.write,
            keep=keep or self.keep,
            set_aside=self.set_aside,
            stop=self.stop,
            clock=clock,
            threads=threads,
        )

    def plain_extraction(self, limiter: SlidingWindow, threads: Threads | None = None) -> Extraction:
        """That of a slot with a limiter and threads of the test's own."""
        plan = Plan(INTERVAL, 120, self.request_timeout, limiter, SlidingWindow(1000, 10))
        clock = Clock(self.now, self.monotonic, lambda: 0.5, speed=self.speed)
        return self.extraction(plan, clock, threads=threads)

    def at_slot(self, number: int) -> None:
        """Go on at the beginning of a later slot."""
        self.start = SLOT + timedelta(seconds=INTERVAL * number + 1)
        self.began = time.monotonic()

    def attempts(self, account: str = "main") -> int:
        return sum(name == account for name, _, _ in self.asked)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The world at the beginning of a slot."""
    return World(tmp_path)


def unwell(_: int = 0) -> Trouble:
    """BingX is unwell."""
    return Unavailable(Reason.UNAVAILABLE, "HTTP 503")


def refused(_: int = 0) -> Trouble:
    """The key is wrong."""
    return KeyRefused(Reason.KEY_REFUSED, "code 100413")


def failed(outcome: Outcome) -> Failure:
    """The outcome, which is a failure."""
    assert isinstance(outcome, Failure)
    return outcome


def read(outcome: Outcome) -> Reading:
    """The outcome, which is a reading."""
    assert isinstance(outcome, Reading)
    return outcome


def test_a_good_answer_is_one_reading_of_the_slot(world: World) -> None:
    outcome = read(world.run("main")["main"])
    assert (outcome.slot_at, outcome.attempts, outcome.interval_seconds) == (SLOT, 1, INTERVAL)
    assert len(world.asked) == 1


def test_the_uid_behind_a_key_is_asked_once_and_only_after_its_reading_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_when_asked: list[int] = []

    def uid(account: str, clock_offset_ms: int) -> str:
        del account, clock_offset_ms
        kept_when_asked.append(len(world.kept))
        return "1001"

    monkeypatch.setattr(world, "uid", uid)
    assert read(world.run("main")["main"]).uid is None
    assert kept_when_asked == [1]
    assert world.remembered.account("main").uids == {"key-main": "1001"}
    assert read(world.run("main")["main"]).uid == "1001"
    assert kept_when_asked == [1]
    world.fingerprints["main"] = "another"
    assert read(world.run("main")["main"]).uid is None
    assert len(kept_when_asked) == 2


def test_a_uid_that_cannot_be_had_costs_nothing_but_another_question(world: World) -> None:
    world.uids["main"] = unwell()
    assert read(world.run("main")["main"]).uid is None
    assert world.remembered.account("main").uids == {}


def test_what_is_unwell_is_asked_again_with_growing_pauses_until_it_answers(world: World) -> None:
    world.scripts["main"] = lambda n: unwell() if n < 5 else world.answer()
    assert read(world.run("main")["main"]).attempts == 5
    times = [at for _, at, _ in world.asked]
    pauses = [(later - at).total_seconds() for at, later in pairwise(times)]
    assert [wanted <= pause for wanted, pause in zip((0.75, 1.5, 3, 6), pauses, strict=True)] == [True] * 4


def test_retries_end_with_retry_for(world: World) -> None:
    world.scripts["main"] = unwell
    outcome = failed(world.run("main", retry_for=30)["main"])
    assert outcome.reason is Reason.UNAVAILABLE
    assert 2 <= outcome.attempts <= 6
    assert world.asked[-1][1] - world.asked[0][1] <= timedelta(seconds=60)


def test_no_retry_for_is_one_attempt(world: World) -> None:
    world.scripts["main"] = unwell
    assert failed(world.run("main", retry_for=0)["main"]).attempts == 1


def test_never_more_than_twelve_attempts(world: World) -> None:
    world.scripts["main"] = unwell
    assert failed(world.run("main", retry_for=80_000, interval=86_400)["main"]).attempts == 12


def test_retries_end_with_the_slot_and_its_failure_is_filed_under_it(tmp_path: Path) -> None:
    world = World(tmp_path, SLOT + timedelta(seconds=INTERVAL - 10))
    world.scripts["main"] = unwell
    outcome = failed(world.run("main")["main"])
    assert (outcome.slot_at, outcome.reason) == (SLOT, Reason.UNAVAILABLE)
    assert all(slot_of(at, INTERVAL) == SLOT for _, at, _ in world.asked)


def test_what_cannot_be_asked_again_within_its_slot_has_its_failure_at_once(tmp_path: Path) -> None:
    end = SLOT + timedelta(seconds=INTERVAL)
    world = World(tmp_path, end - timedelta(seconds=200))
    world.scripts["main"] = lambda _: RateLimited(Reason.RATE_LIMITED, "code 100410", end + timedelta(seconds=60))
    outcome = failed(world.run("main", retry_for=500)["main"])
    assert outcome.reason is Reason.RATE_LIMITED
    assert outcome.last_at < end, "there would be time left to retry, but no slot"


def test_whose_turn_comes_when_the_slot_is_over_is_not_asked(tmp_path: Path) -> None:
    world = World(tmp_path, SLOT + timedelta(seconds=INTERVAL - 8))
    world.speed = 20.0
    outcomes = world.run("main", "other", limit=1)
    assert len(world.asked) == 1
    [left_out] = [outcome for outcome in outcomes.values() if isinstance(outcome, Failure)]
    assert (left_out.slot_at, left_out.reason, left_out.attempts) == (SLOT, Reason.OVERRUN, 0)


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_request_that_leaves_when_the_slot_has_just_ended_is_filed_where_it_left(world: World, attempt: int) -> None:
    late = SLOT + timedelta(seconds=INTERVAL, milliseconds=1)
    world.scripts["main"] = lambda n: Fetched(late, 0, body(at=late), late) if n == attempt else unwell()
    clock = Clock(world.now, world.monotonic, lambda: 0.5, speed=world.speed)
    plan = Plan(INTERVAL, 120, 10, SlidingWindow(10, 10), SlidingWindow(10, 10))
    world.extraction(plan, clock).run(["main"])
    expected: list[tuple[type[Outcome], datetime]] = [(Reading, SLOT + timedelta(seconds=INTERVAL))]
    if attempt > 1:  # the run was still trying when its slot ended
        expected.append((Failure, SLOT))
    assert [(type(outcome), outcome.slot_at) for outcome in world.kept] == expected


@pytest.mark.parametrize("trouble", [refused(), RequestRefused(Reason.REQUEST_REFUSED, "code 100400")])
def test_what_a_person_must_mend_is_not_retried_in_the_slot(world: World, trouble: Trouble) -> None:
    world.scripts["main"] = lambda _: trouble
    assert failed(world.run("main")["main"]).attempts == 1


def test_and_is_asked_less_often_in_the_slots_after_until_it_works(world: World) -> None:
    world.scripts["main"] = refused
    asked_in = []
    for number in range(40):
        world.at_slot(number)
        before = world.attempts()
        outcome = failed(world.run("main")["main"])
        if world.attempts() > before:
            asked_in.append(number)
        else:
            assert outcome.reason is Reason.BACKING_OFF
            assert "key_refused" in outcome.detail
    assert asked_in == [0, 2, 6, 14, 26, 38]
    world.scripts["main"] = lambda _: world.answer()
    world.at_slot(50)
    read(world.run("main")["main"])
    assert world.remembered.account("main").refusal is None


def test_a_new_key_ends_the_waiting_and_so_does_a_person(world: World) -> None:
    world.scripts["main"] = refused
    world.run("main")
    world.at_slot(1)
    world.run("main")
    assert world.attempts() == 1
    world.run("main", force=True)
    assert world.attempts() == 2
    world.fingerprints["main"] = "another"
    world.run("main")
    assert world.attempts() == 3


def test_a_clock_set_back_does_not_keep_a_refused_key_waiting_for_ever(world: World) -> None:
    world.scripts["main"] = refused
    world.at_slot(10_000)
    world.run("main")
    world.at_slot(0)
    world.run("main")
    assert world.attempts() == 2


def test_a_rate_limit_is_waited_for_to_the_time_it_names(world: World) -> None:
    until = SLOT + timedelta(seconds=61)
    limited = RateLimited(Reason.RATE_LIMITED, "code 100410", until)
    world.scripts["main"] = lambda n: limited if n == 1 else world.answer()
    assert read(world.run("main")["main"]).attempts == 2
    assert until <= world.asked[1][1] <= until + timedelta(seconds=60)


def test_a_rate_limit_beyond_the_slot_is_a_failure_at_once_and_respected_by_the_next_run(world: World) -> None:
    until = SLOT + timedelta(minutes=12)
    world.scripts["main"] = lambda _: RateLimited(Reason.RATE_LIMITED, "code 100410", until)
    assert failed(world.run("main")["main"]).reason is Reason.RATE_LIMITED
    world.at_slot(1)
    outcome = failed(world.run("main")["main"])
    assert (outcome.reason, outcome.attempts) == (Reason.RATE_LIMITED, 0)
    world.at_slot(3)
    world.scripts["main"] = lambda _: world.answer()
    read(world.run("main")["main"])


def test_a_rate_limit_without_a_time_lasts_five_minutes(world: World) -> None:
    world.scripts["main"] = lambda _: RateLimited(Reason.RATE_LIMITED, "HTTP 429", None)
    world.run("main")
    block = world.remembered.account("main").block
    assert block is not None
    assert timedelta(seconds=299) < block.until - world.asked[0][1] < timedelta(seconds=305)


def test_a_limited_address_holds_up_every_account_and_a_limited_key_only_its_own(world: World) -> None:
    limited = RateLimited(Reason.RATE_LIMITED, "HTTP 418", None, whole_host=True)
    world.scripts["main"] = lambda _: limited
    world.run("main")
    assert failed(world.run("other")["other"]).attempts == 0
    world.at_slot(3)
    world.scripts["main"] = lambda _: replace_host(limited)
    world.run("main")
    read(world.run("other")["other"])


def replace_host(trouble: RateLimited) -> RateLimited:
    """The same for the key alone."""
    return RateLimited(trouble.reason, trouble.detail, trouble.until)


def test_a_refused_timestamp_is_mended_by_the_servers_time_once(world: World) -> None:
    world.offset = 7_000
    world.scripts["main"] = lambda n: (
        ClockSkew(Reason.CLOCK_SKEW, "code 100421") if n == 1 else world.answer(timedelta(seconds=7))
    )
    outcome = read(world.run("main")["main"])
    assert [offset for _, _, offset in world.asked] == [0, 7_000]
    assert (outcome.clock_offset_ms, outcome.slot_at) == (7_000, SLOT)
    assert world.remembered.host().clock_offset_ms == 7_000
    world.scripts["main"] = lambda _: ClockSkew(Reason.CLOCK_SKEW, "code 100421")
    outcome2 = failed(world.run("main")["main"])
    assert (outcome2.reason, outcome2.attempts) == (Reason.CLOCK_SKEW, 2)


def test_accounts_that_are_skewed_together_measure_once(world: World) -> None:
    world.offset = 7_000
    world.speed = 1.0
    together = threading.Barrier(20)

    def skewed(n: int) -> Fetched | Exception:
        if n > 1:
            return world.answer()
        together.wait(5)
        return ClockSkew(Reason.CLOCK_SKEW, "code 100421")

    names = [f"a{number}" for number in range(20)]
    for name in names:
        world.scripts[name] = skewed
    world.run(*names)
    assert world.offsets_measured == 1


def test_a_clock_that_is_far_off_does_not_decide_the_slot(tmp_path: Path) -> None:
    ten_years = timedelta(days=3650)
    world = World(tmp_path, SLOT - ten_years + timedelta(seconds=1))
    world.offset = round(ten_years.total_seconds() * 1000)
    world.scripts["main"] = lambda n: ClockSkew(Reason.CLOCK_SKEW, "x") if n == 1 else world.answer(ten_years)
    assert read(world.run("main")["main"]).slot_at == SLOT


def test_a_lenient_exchange_mends_a_clock_that_is_far_off_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = timedelta(hours=1)
    world = World(tmp_path, SLOT - hour + timedelta(seconds=1))
    world.offset = 3_600_000
    world.scripts["main"] = lambda _: world.answer(hour)
    measured_with: list[int] = []
    measure = world.clock_offset_ms

    def watched() -> int:
        measured_with.append(len(world.kept))
        return measure()

    monkeypatch.setattr(world, "clock_offset_ms", watched)
    first = read(world.run("main")["main"])
    assert measured_with == [1], "the reading is kept before the clock is asked for"
    assert first.clock_offset_ms is None
    assert world.remembered.host().offset_near(first.requested_at) == 3_600_000, "by which load will file it"
    assert read(world.run("main")["main"]).slot_at == SLOT


def test_an_offset_remembered_from_a_clock_that_was_mended_since_is_measured_anew(world: World) -> None:
    world.remembered.keep_host(HostMemory(clock_offset_ms=-3_600_000))
    world.scripts["bad"] = refused
    outcomes = world.run("main", "bad")
    assert {outcome.slot_at for outcome in outcomes.values()} == {SLOT}, "it is not believed before it is confirmed"
    assert world.remembered.host().clock_offset_ms == 0


def test_an_answer_that_is_none_is_asked_again_and_filed_as_it_came_at_last(world: World) -> None:
    def html(_: int) -> Trouble:
        return MalformedAnswer(Reason.MALFORMED, "HTML", b"<html>", requested_at=world.now(), latency_ms=5)

    world.scripts["main"] = lambda n: html(n) if n < 3 else world.answer()
    assert read(world.run("main")["main"]).attempts == 3
    world.scripts["other"] = html
    outcome = read(world.run("other")["other"])
    assert outcome.bodies == (b"<html>",)
    assert outcome.attempts > 2


def test_an_unexpected_error_is_one_accounts_failure_and_shows_no_more_than_its_name(world: World) -> None:
    world.scripts["main"] = lambda _: ZeroDivisionError("with a secret")
    outcomes = world.run("main", "other")
    assert (failed(outcomes["main"]).reason, failed(outcomes["main"]).detail) == (
        Reason.DEFECT,
        "unexpected ZeroDivisionError",
    )
    read(outcomes["other"])


def test_one_accounts_trouble_delays_no_other(world: World) -> None:
    release = threading.Event()

    def hang(_: int) -> Fetched:
        release.wait(10)
        return world.answer()

    names = [f"a{number}" for number in range(30)]
    for name in names[:15]:
        world.scripts[name] = hang
    done_early: list[int] = []

    def keep(drafts: Sequence[Draft]) -> None:
        world.keep(drafts)
        if len(world.kept) >= 15 and not done_early:
            done_early.append(len(world.kept))
            release.set()

    plan = Plan(INTERVAL, 120, 10_000, SlidingWindow(1000, 10), SlidingWindow(1000, 10))
    clock = Clock(world.now, world.monotonic, lambda: 0.5, speed=world.speed)
    world.extraction(plan, clock, keep).run(names)
    assert done_early, "the quick ones were kept while the others hung"
    assert len(world.kept) == 30


def test_a_call_that_never_comes_back_is_given_up(world: World) -> None:
    release = threading.Event()

    def hang(_: int) -> Fetched:
        release.wait(30)
        return world.answer()

    world.scripts["main"] = hang
    began = time.monotonic()
    outcome = failed(world.run("main", retry_for=30)["main"])
    release.set()
    assert outcome.reason is Reason.UNREACHABLE
    assert time.monotonic() - began < 10


def test_told_to_stop_it_keeps_what_arrives_and_fails_the_rest(world: World) -> None:
    world.stop.set()
    outcome = failed(world.run("main")["main"])
    assert (outcome.reason, outcome.attempts) == (Reason.STOPPED, 0)


def test_an_answer_that_is_none_in_the_last_moment_of_a_stop_leaves_nobody_without_an_outcome(world: World) -> None:
    """It would be asked again, and there is no time left for that."""
    world.speed, world.scripts["main"] = 20.0, unwell
    extraction = world.plain_extraction(SlidingWindow(1000, 10))
    wait = extraction._asking.wait

    def held_back(timeout: float) -> list[tuple[Job | Question, Answered | str | Exception | None]]:
        """Nothing comes back before the grace is over."""
        if timeout:
            world.stop.set()
            time.sleep(0.001)
            return []
        while not world.asked:
            time.sleep(0.001)
        return wait(1000.0)

    extraction._asking.wait = held_back  # type: ignore[method-assign]
    extraction.run(["main"])
    assert [(failed(outcome).reason, outcome.attempts) for outcome in world.kept] == [(Reason.STOPPED, 1)]


class Few(Threads):
    """Of a system that has few of them."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most
        self.refused = threading.Event()

    def run(self, call: Callable[[], None]) -> None:
        if not self._idle and not self.left:
            self.refused.set()
            raise RuntimeError("can't start new thread")
        self.left -= not self._idle
        super().run(call)


def test_with_fewer_threads_than_accounts_each_is_asked_once_and_in_its_turn(world: World) -> None:
    """As in a container, or for a user, who may have so many of them and no more."""
    world.speed = 20.0
    threads, limiter = Few(3), SlidingWindow(1000, 10)

    def when_there_are_no_more(_: int) -> Fetched:
        assert threads.refused.wait(10)
        return world.answer()

    names = [f"a{number}" for number in range(12)]
    world.scripts = dict.fromkeys(names, when_there_are_no_more)
    world.plain_extraction(limiter, threads).run(names)
    assert sorted(outcome.account for outcome in world.kept) == sorted(names)
    assert all(isinstance(outcome, Reading) and outcome.attempts == 1 for outcome in world.kept)
    assert len(world.asked) == 12
    assert not limiter._under_way, "what was never sent takes nobody's place"


def test_without_any_thread_an_account_has_its_failure_and_the_next_slot_its_reading(world: World) -> None:
    limiter = SlidingWindow(1000, 10)
    world.plain_extraction(limiter, Few(0)).run(["main"])
    assert failed(world.kept[0]).reason is Reason.UNREACHABLE
    assert failed(world.kept[0]).detail == "this system has no thread to ask with"
    assert not limiter._under_way
    world.at_slot(1)
    world.plain_extraction(limiter, Few(1)).run(["main"])
    assert isinstance(world.kept[1], Reading)


def test_the_limit_of_the_address_is_kept(world: World) -> None:
    world.speed = 20.0
    names = [f"a{number}" for number in range(25)]
    world.run(*names, limit=10)
    times = sorted(at for _, at, _ in world.asked)
    assert all(later - first >= timedelta(seconds=9) for first, later in zip(times, times[10:], strict=False))


def test_accounts_are_not_always_asked_in_the_same_order(world: World) -> None:
    names = [f"a{number}" for number in range(10)]
    orders = set()
    for _ in range(5):
        before = len(world.asked)
        world.run(*names, limit=5)
        orders.add(tuple(sorted(name for name, _, _ in world.asked[before : before + 5])))
    assert len(orders) > 1


def test_outcomes_that_come_together_are_kept_together(world: World) -> None:
    barrier = threading.Barrier(8)

    def together(_: int) -> Fetched:
        barrier.wait(5)
        return world.answer()

    names = [f"a{number}" for number in range(8)]
    for name in names:
        world.scripts[name] = together
    world.run(*names)
    assert len([size for size in world.groups if size]) < 8


def test_an_answer_is_written_down_by_whoever_received_it(world: World) -> None:
    writers: set[str] = set()
    write = world.write

    def watched(outcome: Outcome) -> Draft:
        if isinstance(outcome, Reading):
            writers.add(threading.current_thread().name)
        return write(outcome)

    world.write = watched  # type: ignore[method-assign]
    read(world.run("main")["main"])
    assert writers == {"worker"}


def test_a_success_under_a_status_that_denies_it_is_set_aside(world: World) -> None:
    trouble = unwell()
    trouble.aside = (world.now(), 5, body())
    world.scripts["main"] = lambda n: trouble if n == 1 else world.answer()
    read(world.run("main")["main"])
    [(outcome, reason, detail)] = world.aside
    assert isinstance(outcome, Reading)
    assert outcome.bodies == (body(),)
    assert (reason, "code 0" in detail) == ("unavailable", True)


def test_a_limit_whose_time_is_over_is_not_asked_again_and_again(world: World) -> None:
    over = SLOT - timedelta(hours=1)
    world.scripts["main"] = lambda _: RateLimited(Reason.RATE_LIMITED, "code 100410", over)
    assert failed(world.run("main")["main"]).attempts == 2


def test_the_uid_endpoint_is_asked_less_often_while_it_answers_errors(world: World) -> None:
    world.uids["main"] = unwell()
    for number in range(20):
        world.at_slot(number)
        world.run("main")
    assert 3 <= len(world.uids_asked) < 10


@pytest.mark.parametrize(("accounts", "lines"), [(10, 10), (11, 0)])
def test_a_fleet_that_is_tried_again_does_not_fill_the_log(
    world: World, caplog: pytest.LogCaptureFixture, accounts: int, lines: int
) -> None:
    caplog.set_level(logging.INFO)
    names = [f"account-{number}" for number in range(accounts)]
    for name in names:
        world.scripts[name] = lambda n: unwell() if n == 1 else world.answer()
    world.run(*names)
    assert sum("again in" in record.message for record in caplog.records) == lines


# --- the clock is set within a run -----------------------------------------------------------------------------------

TEN_YEARS = timedelta(days=3650)
MS = timedelta(milliseconds=1)


@pytest.mark.parametrize("jump", [TEN_YEARS, -TEN_YEARS])
def test_a_clock_that_is_set_between_the_beginning_of_a_run_and_its_request_names_no_slot(
    tmp_path: Path, jump: timedelta
) -> None:
    world = World(tmp_path)
    world.offset = -(jump // MS)

    def script(number: int) -> Fetched | Exception:
        if number == 1:
            world.start += jump
            return ClockSkew(Reason.CLOCK_SKEW, "code 100421")
        return world.answer(-jump)

    world.scripts["main"] = script
    run_once(world)
    assert {outcome.slot_at for outcome in world.kept} == {SLOT}, [type(o).__name__ for o in world.kept]


@pytest.mark.parametrize("wrong_by", [TEN_YEARS, -TEN_YEARS])
def test_a_clock_that_is_mended_between_the_beginning_of_a_run_and_its_request_names_no_slot(
    tmp_path: Path, wrong_by: timedelta
) -> None:
    world = World(tmp_path)
    world.start += wrong_by
    world.remembered.keep_host(HostMemory(-(wrong_by // MS)))
    world.offset = 0

    def script(number: int) -> Fetched | Exception:
        if number == 1:
            world.start -= wrong_by
            return ClockSkew(Reason.CLOCK_SKEW, "code 100421")
        return world.answer()

    world.scripts["main"] = script
    run_once(world)
    assert {outcome.slot_at for outcome in world.kept} == {SLOT}, [type(o).__name__ for o in world.kept]


def run_once(world: World) -> None:
    plan = Plan(INTERVAL, 120, 10, SlidingWindow(100, 10), SlidingWindow(100, 10))
    world.extraction(plan, Clock(world.now, world.monotonic, lambda: 0.5, speed=world.speed)).run(["main"])


def test_a_slot_that_breaks_off_leaves_none_of_the_limit_taken(world: World) -> None:
    """Whoever waits for its answers no more says so, or they would count for ever."""
    release = threading.Event()

    def hang(number: int) -> Fetched:
        release.wait(30)
        return world.answer()

    def refuse(drafts: Sequence[Draft]) -> None:
        raise RuntimeError(f"{len(drafts)} cannot be kept")

    world.scripts["hangs"] = hang
    window = SlidingWindow(2, 10)
    plan = Plan(INTERVAL, 120, world.request_timeout, window, SlidingWindow(2, 10))
    clock = Clock(world.now, world.monotonic, lambda: 0.5, speed=world.speed)
    with pytest.raises(RuntimeError):
        world.extraction(plan, clock, keep=refuse).run(["hangs", "answers"])
    release.set()
    assert window.take_some(world.monotonic() + 3600, 2)[0] == 2
