"""Readings that look right and are not: what is doubted is read again, within slot and budget, and never lost."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from etl.bingx.answers import parse_overview
from etl.clock import Clock
from etl.doubt import Doubter, WalletMemory, look, note
from etl.errors import (
    ClockSkew,
    KeyRefused,
    MalformedAnswer,
    RateLimited,
    RequestRefused,
    Unavailable,
    Unreachable,
)
from etl.extract.extract import Extraction
from etl.extract.limiter import SlidingWindow
from etl.extract.patience import MAX_ATTEMPTS, Plan
from etl.extract.workers import Threads
from etl.grid import slot_of
from etl.model import Fetched, Outcome, Reading, Reason
from etl.remembered import AccountMemory, Remembered
from etl.sandbox.rules import BALANCES
from etl.sandbox.server import SandboxServer
from etl.spool.spool import Draft, Spool
from etl.spool.spool_file import decode
from tests.cli.program import ROOT, Program, Ran, eventually
from tests.extract.test_extract import INTERVAL, World, read
from tests.trust.invariants import Left, Witness, check, check_drained
from tests.values import SLOT, body

FULL = {"sopt": "100.00", "USDTMPerp": "7.50"}
EMPTY = {"sopt": "0.00", "USDTMPerp": "7.50"}
GONE = {"USDTMPerp": "7.50"}
NAMELESS = {"sopt": None, "USDTMPerp": "7.50"}
DOUBTS: dict[str, Mapping[str, str | None]] = {"at 0": EMPTY, "missing": GONE, "without an amount": NAMELESS}


class Doubting(World):
    """The world of the extraction's tests with a real spool, and a doubter; slower, because a real disk is."""

    def __init__(self, tmp_path: Path, at: timedelta = timedelta(seconds=1), speed: float = 60.0) -> None:
        super().__init__(tmp_path, SLOT + at)
        self.speed = speed
        self.spool = Spool(tmp_path)
        self.spool.prepare()
        self.sent: list[bytes] = []

    def write(self, outcome: Outcome, *, unsettled_ms: int = 0, after: Draft | None = None) -> Draft:
        return self.spool.write(outcome, unsettled_ms=unsettled_ms, after=after)

    def keep(self, drafts: Sequence[Draft]) -> None:
        entries, refusal = self.spool.keep(drafts)
        assert refusal is None
        super().keep([replace(draft, outcome=entry.outcome) for draft, entry in zip(drafts, entries, strict=True)])

    def extraction(
        self,
        plan: Plan,
        clock: Clock,
        keep: Callable[[Sequence[Draft]], None] | None = None,
        threads: Threads | None = None,
    ) -> Extraction:
        return Extraction(
            self,
            self.remembered,
            plan,
            write=self.write,
            keep=keep or self.keep,
            set_aside=self.set_aside,
            stop=self.stop,
            doubter=Doubter(parse_overview),
            clock=clock,
            threads=threads,
        )

    def says(self, *answers: Mapping[str, str | None] | Exception, account: str = "main") -> None:
        """Answer so, in this order; the last one from then on."""
        before = self.attempts(account)

        def script(number: int) -> Fetched | Exception:
            answer = answers[min(number - before, len(answers)) - 1]
            if isinstance(answer, Exception):
                return answer
            now = self.now()
            self.sent.append(body(answer, now + timedelta(milliseconds=len(self.sent))))
            return Fetched(now, 0, self.sent[-1], now)

        self.scripts[account] = script

    def held_before(self, account: str = "main") -> None:
        """It is known what the account held, and whose it is."""
        wallets = WalletMemory(frozenset({"spot", "USDTMPerp"}))
        memory = AccountMemory({f"key-{account}": "1001"}, wallets=wallets)
        self.remembered.keep_account(account, memory)

    def pauses(self) -> list[float]:
        """Between requests, in seconds."""
        return [(later - at).total_seconds() for (_, at, _), (_, later, _) in pairwise(self.asked)]

    def files(self) -> list[Path]:
        """Everything in the spool's directory."""
        return sorted(self.spool.directory.iterdir())

    def only_outcome(self) -> Outcome:
        """What is in the spool, which is one file under its final name."""
        [path] = self.files()
        [entry] = self.spool.read(self.spool.names())
        assert entry.name == path.name
        return entry.outcome


@pytest.fixture
def world(tmp_path: Path) -> Doubting:
    """The world at the beginning of a slot, after one in which every wallet held something."""
    world = Doubting(tmp_path)
    world.held_before()
    return world


@pytest.mark.parametrize("what", DOUBTS)
def test_a_glitch_is_read_again_and_the_last_reading_is_the_outcome(world: Doubting, what: str) -> None:
    world.says(DOUBTS[what], FULL)
    outcome = read(world.run("main")["main"])
    assert outcome.bodies == tuple(world.sent)
    assert len(world.sent) == outcome.attempts == 2
    assert outcome.doubt == f"doubted: spot {what} (not so when read again)"
    assert (outcome.slot_at, outcome.requested_at >= world.asked[-1][1]) == (SLOT, True), "dated by the last reading"
    assert world.only_outcome() == outcome
    assert world.pauses()[0] >= 1
    assert world.remembered.account("main").wallets == WalletMemory(frozenset({"spot", "USDTMPerp"}))


@pytest.mark.parametrize("what", DOUBTS)
def test_what_stays_so_is_settled_after_two_further_readings_and_not_doubted_again(world: Doubting, what: str) -> None:
    world.says(DOUBTS[what])
    outcome = read(world.run("main")["main"])
    assert outcome.bodies == tuple(world.sent)
    assert len(world.sent) == outcome.attempts == 3
    assert outcome.doubt == f"doubted: spot {what} (confirmed)"
    assert world.only_outcome() == outcome
    first, second = world.pauses()
    assert first >= 1
    assert second >= 2
    for number in (1, 2):
        world.at_slot(number)
        outcome = read(world.run("main")["main"])
        assert (outcome.attempts, outcome.doubt) == (1, None)


def test_an_account_never_seen_is_not_doubted_but_for_a_missing_amount(tmp_path: Path) -> None:
    world = Doubting(tmp_path)
    world.says({"sopt": "0", "grid": "", "eran": "5"}, {"sopt": "0", "grid": "2", "eran": "5"})
    outcome = read(world.run("main")["main"])
    assert outcome.doubt == "doubted: grid without an amount (not so when read again)"
    assert world.remembered.account("main").wallets.held == {"grid", "eran"}


def test_what_is_remembered_is_written_only_when_it_changes(world: Doubting, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[WalletMemory] = []

    def keep(_: Remembered, __: str, memory: AccountMemory) -> None:
        written.append(memory.wallets)
        original(world.remembered, "main", memory)

    original = Remembered.keep_account
    monkeypatch.setattr(Remembered, "keep_account", keep)
    for number, wallets in enumerate([FULL, FULL, FULL, EMPTY, EMPTY, EMPTY]):
        world.at_slot(number)
        world.says(wallets)
        world.run("main")
    assert written == [WalletMemory(frozenset({"USDTMPerp"}))]


def test_a_new_account_is_remembered_in_one_go_with_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Doubting(tmp_path)
    written: list[AccountMemory] = []
    monkeypatch.setattr(world.remembered, "keep_account", lambda _, memory: written.append(memory))
    world.says(FULL)
    world.run("main")
    [memory] = written
    assert memory.uids == {"key-main": "uid-main"}
    assert memory.wallets.held == {"spot", "USDTMPerp"}


# Within the budget


def test_it_counts_as_an_attempt(world: Doubting) -> None:
    unwell = [Unavailable(Reason.UNAVAILABLE, "HTTP 503")] * (MAX_ATTEMPTS - 2)
    world.says(*unwell, EMPTY)
    outcome = read(world.run("main", retry_for=80_000, interval=86_400)["main"])
    assert (outcome.attempts, len(outcome.bodies)) == (MAX_ATTEMPTS, 2)
    assert outcome.doubt == "doubted: spot at 0 (confirmed)"


def test_without_retries_nothing_is_read_again_and_that_is_said(world: Doubting) -> None:
    world.says(EMPTY)
    outcome = read(world.run("main", retry_for=0)["main"])
    assert (outcome.attempts, outcome.doubt) == (1, "doubted: spot at 0 (not read again)")
    assert world.only_outcome() == outcome


def test_it_keeps_to_the_limit_of_the_address(tmp_path: Path) -> None:
    world = Doubting(tmp_path, speed=20)
    names = [f"a{number}" for number in range(4)]
    for name in names:
        world.held_before(name)
        world.says(EMPTY, account=name)
    outcomes = world.run(*names, limit=5)
    assert {outcome.attempts for outcome in outcomes.values()} == {3}
    times = sorted(at for _, at, _ in world.asked)
    assert all(later - first >= timedelta(seconds=8) for first, later in zip(times, times[5:], strict=False))


def test_the_pause_holds_up_no_other_account(tmp_path: Path) -> None:
    world = Doubting(tmp_path, speed=20)
    names = [f"a{number}" for number in range(20)]
    world.held_before("a0")
    world.says(EMPTY, account="a0")
    world.run(*names)
    times = {name: at for name, at, _ in world.asked if name != "a0"}
    [_, second, third] = [at for name, at, _ in world.asked if name == "a0"]
    assert max(times.values()) < second < third


# Within the slot


def test_no_further_reading_is_sent_after_the_slot(tmp_path: Path) -> None:
    for left in (0.2, 0.9, 1.2, 2.9):
        world = Doubting(tmp_path / str(left), timedelta(seconds=INTERVAL - left), speed=1.0)
        world.held_before()
        world.says(EMPTY)
        outcome = read(world.run("main")["main"])
        assert all(slot_of(at, INTERVAL) == SLOT for _, at, _ in world.asked)
        assert outcome.slot_at == SLOT
        assert len(outcome.bodies) == (1 if left < 1.25 else 2), left
        assert world.only_outcome() == outcome


def test_no_further_reading_whose_turn_comes_only_after_the_slot_is_sent(tmp_path: Path) -> None:
    world = Doubting(tmp_path, timedelta(seconds=INTERVAL - 5), speed=10)
    world.held_before()
    world.says(EMPTY)
    outcome = read(world.run("main", limit=1)["main"])
    assert (outcome.slot_at, outcome.doubt) == (SLOT, "doubted: spot at 0 (not read again)")
    assert [slot_of(at, INTERVAL) for _, at, _ in world.asked] == [SLOT]


def test_a_further_reading_that_left_late_stands_for_its_own_slot(world: Doubting) -> None:
    late = SLOT + timedelta(seconds=INTERVAL, milliseconds=1)
    world.scripts["main"] = lambda n: Fetched(
        world.now() if n == 1 else late, 0, body(EMPTY, world.now() if n == 1 else late), None
    )
    plan = Plan(INTERVAL, 120, 10, SlidingWindow(100, 10), SlidingWindow(100, 10))
    world.extraction(plan, Clock(world.now, world.monotonic, lambda: 0.5, speed=world.speed)).run(["main"])
    waiting = [entry.outcome for entry in world.spool.read(world.spool.names())]
    assert [outcome.slot_at for outcome in waiting] == [SLOT, SLOT + timedelta(seconds=INTERVAL)]
    assert [(len(read(outcome).bodies), read(outcome).doubt) for outcome in waiting] == [
        (1, "doubted: spot at 0 (not read again)")
    ] * 2
    assert len(world.files()) == 2


# What can come in between


def refusal() -> dict[str, Exception]:
    """Everything that may come instead of a further reading."""
    return {
        "unwell": Unavailable(Reason.UNAVAILABLE, "HTTP 503"),
        "unreachable": Unreachable(Reason.UNREACHABLE, "no answer"),
        "refused": KeyRefused(Reason.KEY_REFUSED, "code 100413"),
        "wrong": RequestRefused(Reason.REQUEST_REFUSED, "code 100400"),
        "skewed": ClockSkew(Reason.CLOCK_SKEW, "code 100421"),
        "limited": RateLimited(Reason.RATE_LIMITED, "code 100410", SLOT + timedelta(seconds=20)),
        "malformed": MalformedAnswer(Reason.MALFORMED, "HTML", b"<html>", requested_at=SLOT, latency_ms=1),
        "a defect": ZeroDivisionError(),
    }


@pytest.mark.parametrize("why", refusal())
def test_when_the_further_reading_fails_the_doubted_one_is_the_outcome(world: Doubting, why: str) -> None:
    world.says(EMPTY, refusal()[why])
    outcome = read(world.run("main")["main"])
    assert (outcome.bodies, outcome.attempts) == (tuple(world.sent), 1)
    assert outcome.doubt == "doubted: spot at 0 (not read again)"
    assert world.only_outcome() == outcome
    memory = world.remembered.account("main")
    assert (memory.refusal is not None) == (why in {"refused", "wrong"})
    assert (memory.block is not None) == (why == "limited")
    assert memory.wallets.held == {"spot", "USDTMPerp"}, "nothing has answered the doubt: the next slot has it again"


def test_when_only_the_last_reading_fails_the_one_before_it_is_the_outcome(world: Doubting) -> None:
    world.says(EMPTY, EMPTY, refusal()["unwell"])
    outcome = read(world.run("main")["main"])
    assert (outcome.bodies, outcome.attempts) == (tuple(world.sent), 2)
    assert outcome.doubt == "doubted: spot at 0 (confirmed)"
    assert world.only_outcome() == outcome


def test_a_further_reading_that_never_comes_back_is_given_up(world: Doubting) -> None:
    release = threading.Event()

    def script(number: int) -> Fetched:
        if number > 1:
            release.wait(30)
        now = world.now()
        return Fetched(now, 0, body(EMPTY, now), now)

    world.scripts["main"] = script
    try:
        outcome = read(world.run("main")["main"])
    finally:
        release.set()
    assert (len(outcome.bodies), outcome.doubt) == (1, "doubted: spot at 0 (not read again)")


def test_a_further_answer_that_cannot_be_understood_is_set_aside_and_the_doubted_one_is_the_outcome(
    world: Doubting,
) -> None:
    world.says(EMPTY, {"sopt": "1,000.5"})
    outcome = read(world.run("main")["main"])
    assert outcome.bodies == tuple(world.sent[:1])
    [(aside, reason, _)] = world.aside
    assert isinstance(aside, Reading)
    assert (aside.bodies, reason) == (tuple(world.sent[1:]), "malformed")


def test_told_to_stop_in_between_the_doubted_reading_is_the_outcome(world: Doubting) -> None:
    def script(_: int) -> Fetched:
        world.stop.set()
        now = world.now()
        return Fetched(now, 0, body(EMPTY, now), now)

    world.scripts["main"] = script
    outcome = read(world.run("main")["main"])
    assert (outcome.attempts, outcome.doubt) == (1, "doubted: spot at 0 (not read again)")
    assert world.only_outcome() == outcome


def test_while_it_is_read_again_the_doubted_one_is_on_the_disk_and_nobody_stores_it(world: Doubting) -> None:
    seen: list[tuple[bytes, list[str], int]] = []
    original = world.balances

    def balances(account: str, clock_offset_ms: int) -> Fetched:
        if world.asked:
            other = Spool(world.spool.directory.parent)
            *_, last = [decode(path.read_bytes()) for path in reversed(world.files())]
            seen.append((read(last).bodies[-1], other.names(), other.depth()))
        return original(account, clock_offset_ms)

    world.balances = balances  # type: ignore[method-assign]
    world.says(EMPTY)
    world.run("main")
    assert [(names, depth > 0) for _, names, depth in seen] == [([], True)] * 2
    assert seen[0][0] == world.sent[0]


def test_where_the_disk_refuses_the_doubted_reading_it_is_settled_at_once(world: Doubting) -> None:
    kept: list[Draft] = []

    def write(outcome: Outcome, *, unsettled_ms: int = 0, after: Draft | None = None) -> Draft:
        assert unsettled_ms
        return Draft(outcome, "name", OSError(28, "No space left on device"), ".name.unfinished", after)

    world.write = write  # type: ignore[method-assign]
    world.says(EMPTY)
    plan = Plan(INTERVAL, 120, 10, SlidingWindow(100, 10), SlidingWindow(100, 10))
    clock = Clock(world.now, world.monotonic, lambda: 0.5, speed=world.speed)
    world.extraction(plan, clock, kept.extend).run(["main"])
    [draft] = kept
    assert draft.refusal is not None
    assert read(draft.outcome).doubt == "doubted: spot at 0 (not read again)"


# Anything in any order

TROUBLES = (
    lambda: Unavailable(Reason.UNAVAILABLE, "HTTP 503"),
    lambda: Unreachable(Reason.UNREACHABLE, "no answer"),
    lambda: MalformedAnswer(Reason.MALFORMED, "HTML", b"<html>", requested_at=SLOT, latency_ms=1),
)


def test_whatever_the_answers_each_slot_has_what_a_simple_model_of_it_says(
    tmp_path: Path, long_seconds: float, tally: Callable[..., None]
) -> None:
    seed = random.randrange(2**32) if long_seconds else 4
    chance, until = random.Random(seed), time.monotonic() + long_seconds
    number = 0
    while number < 25 or time.monotonic() < until:
        world = Doubting(tmp_path / str(number), speed=200)
        world.request_timeout = 1000.0  # of this hurried world: a busy machine needs some of it
        number += 1
        memory = WalletMemory()
        for slot in range(5):
            world.at_slot(slot)
            script = [
                chance.choice(TROUBLES)()
                if chance.random() < 0.2
                else {
                    name: chance.choice(["5", "5", "0", "0.5", None])
                    for name in ("sopt", "grid")
                    if chance.random() < 0.8
                }
                for _ in range(3)
            ]
            before = len(world.sent)
            world.says(*script)
            outcome = world.run("main", interval=86_400, retry_for=80_000)["main"]
            answers, memory = expected(script, world.sent[before:], memory)
            bodies, doubt, attempts = answers
            found = (outcome.bodies, outcome.doubt) if isinstance(outcome, Reading) and bodies else ((), None)
            assert (found, outcome.attempts) == ((bodies, doubt), attempts), (seed, script)
            assert world.remembered.account("main").wallets == memory, (seed, script)
            tally("states explored")


def expected(
    script: Sequence[Mapping[str, str | None] | Exception], sent: Sequence[bytes], memory: WalletMemory
) -> tuple[tuple[tuple[bytes, ...], str | None, int], WalletMemory]:
    """What a slot comes to: bodies, doubt and attempts; and what is remembered after it."""
    doubts: list[tuple[str, ...]] = []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        if isinstance(script[min(attempt, len(script)) - 1], Exception):
            if doubts:
                return (tuple(sent), note(doubts), attempt - 1), memory
            continue
        seen = look(parse_overview(sent[len(doubts)]), memory, Decimal(1))
        doubts.append(seen.doubts)
        if not seen.doubts or len(doubts) == 3 or attempt == MAX_ATTEMPTS:
            return (tuple(sent), note(doubts), attempt), seen.wallets
    return ((), None, MAX_ATTEMPTS), memory


# Killed at every step

KILLED = """
import json, os, signal, sys
from pathlib import Path
from tests.trust.test_doubt import Doubting, EMPTY, FULL

answers = {"glitch": [EMPTY, FULL], "withdrawal": [EMPTY]}[sys.argv[2]]
number = 0
while True:
    number += 1
    state = Path(sys.argv[1]) / str(number)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        print(number, flush=True)
        if (state / "survived").exists():
            break
        continue
    world = Doubting(state)
    world.held_before()
    left, log = [number], os.open(state / "written", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def dying(call):
        def step(*given, **options):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*given, **options)
        return step

    write, spool_write = os.write, world.spool.write

    def noting(*given, **options):
        draft = spool_write(*given, **options)
        write(log, draft.outcome.bodies[-1] + b"\\n")
        return draft

    world.spool.write = noting
    for name in ("write", "fsync", "rename", "unlink"):
        setattr(os, name, dying(getattr(os, name)))
    world.says(*answers)
    world.run("main")
    os.open(state / "survived", os.O_CREAT)
    os._exit(0)
"""


@pytest.mark.parametrize(("what", "readings"), [("glitch", 2), ("withdrawal", 3)])
def test_killed_at_any_step_the_last_reading_that_was_written_wins_with_all_before_it(
    tmp_path: Path, what: str, readings: int, tally: Callable[..., None]
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), what], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert ran.returncode == 0, ran.stderr
    runs = int(ran.stdout.split()[-1])
    outcomes: list[Reading] = []
    bodies: tuple[bytes, ...] = ()
    assert runs > 4 * readings, "a write, a flush and a flush of the directory each, and what settles it"
    for number in range(1, runs + 1):
        spool = Spool(tmp_path / str(number))
        for path in spool.directory.glob(".*"):
            os.utime(path, (1, 1))  # the slot is over
        written = (tmp_path / str(number) / "written").read_bytes().splitlines()
        outcomes = [read(entry.outcome) for entry in spool.read(spool.names())]
        bodies = outcomes[0].bodies if outcomes else ()
        assert list(bodies[: len(written)]) == written, number
        assert {outcome.bodies for outcome in outcomes} <= {bodies[:length] for length in range(1, 4)}, number
        assert all(not path.name.startswith(".") for path in spool.directory.iterdir()), number
    assert len(bodies) == readings
    assert len(outcomes) == 1
    tally("faults injected", runs - 1)


# The whole program

SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
def exchange() -> Witness:
    """An exchange that keeps what it answered."""
    return Witness(3, 7)


@pytest.fixture
def site(tmp_path: Path, exchange: Witness, database_url: str) -> Iterator[Program]:
    """The program with a database of either kind, three accounts that all held something before, and retries."""
    with SandboxServer(exchange) as server:
        home = tmp_path / "home"
        home.mkdir()
        program = Program(home, server, database_url)
        program.environ["BINGX_ETL_RETRY_FOR"] = "60s"
        for name in ("BINGX_API_KEY", "BINGX_API_SECRET"):
            program.environ.pop(name, None)
        text = ""
        for account in exchange.accounts:
            text += f'[accounts.{account.name}]\napi_key = "{account.api_key}"\napi_secret = "{account.api_secret}"\n'
            held = {name for name, amount in exchange.wallets(account.name, now_ms()) if Decimal(amount) > 1}
            held = {"spot" if name == "sopt" else name for name in held}
            Remembered(program.state).keep_account(account.name, AccountMemory(wallets=WalletMemory(frozenset(held))))
        config = home / "accounts.toml"
        config.write_text(text)
        config.chmod(0o600)
        program.environ["BINGX_ETL_CONFIG"] = str(config)
        yield program


def now_ms() -> int:
    """The present in Unix milliseconds."""
    return round(time.time() * 1000)


def stored(program: Program) -> dict[str, tuple[str, str | None, int, int]]:
    """Of each account its one snapshot: status, reason, attempts, number of bodies."""
    found = program.rows(
        "SELECT a.name, s.status, s.reason, s.attempts, (SELECT count(*) FROM payload p WHERE p.snapshot_id = s.id)"
        " FROM snapshot s JOIN account a ON a.id = s.account_id"
    )
    assert len(found) == len({row[0] for row in found})
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in found}


def unsettled(program: Program) -> list[Path]:
    """The files of readings that are being read again."""
    return sorted((program.state / "spool").glob(".*.unsettled"))


def over(program: Program) -> None:
    """Let the slot of what is unsettled be over."""
    for path in unsettled(program):
        os.utime(path, (1, 1))


def test_a_glitch_a_withdrawal_and_a_wallet_that_vanishes_in_one_slot(
    site: Program, exchange: Witness, tally: Callable[..., None]
) -> None:
    exchange.faults.add("balances", account="main", set={"sopt": "0"}, times=1)
    exchange.faults.add("balances", account="account-2", set={"sopt": "0.00"})
    exchange.faults.add("balances", account="account-3", drop=["sopt"], null=["USDTMPerp"])
    ran = site.run("snapshot", "--json")
    assert ran.code == 0, ran.err
    assert stored(site) == {
        "main": ("complete", "doubted: spot at 0 (not so when read again)", 2, 2),
        "account-2": ("complete", "doubted: spot at 0 (confirmed)", 3, 3),
        "account-3": (
            "partial",
            "no amount: USDTMPerp; doubted: spot missing (confirmed), USDTMPerp without an amount (confirmed)",
            3,
            3,
        ),
    }
    assert ran.err.count(" level=warning ") == 3, ran.err
    assert exchange.counts[BALANCES, "ok"] + exchange.counts[BALANCES, "fault balances"] == 8
    left = Left(site.state, site.database_url)
    check(exchange, left)
    check_drained(left)
    status = site.run("status")
    assert status.code == 0
    assert status.err.count("compare with BingX: ") == 3
    assert "account-2" in status.err
    tally("faults injected", 8)


@SQLITE
def test_after_a_withdrawal_the_next_run_doubts_nothing(site: Program, exchange: Witness) -> None:
    exchange.faults.add("balances", set={"sopt": "0"})
    [first] = site.run("snapshot", "--json", "--account", "main").lines
    [second] = site.run("snapshot", "--json", "--account", "main").lines
    assert (first["reason"], first["attempts"]) == ("doubted: spot at 0 (confirmed)", 3)
    assert (second.get("reason"), second["attempts"], second["duplicate"]) == (None, 1, True)
    check(exchange, Left(site.state, site.database_url))


def test_with_the_database_down_it_is_read_again_all_the_same(site: Program, exchange: Witness) -> None:
    exchange.faults.add("balances", set={"sopt": "0"}, times=1)
    down = "postgresql://nobody@127.0.0.1:1/nothing"
    ran = site.run("snapshot", "--json", "--account", "main", BINGX_ETL_DATABASE_URL=down)
    assert ran.code == 75
    [line] = ran.lines
    assert (line["stored"], line["reason"]) == (False, "doubted: spot at 0 (not so when read again)")
    assert (len(site.spooled()), unsettled(site)) == (1, [])
    assert site.run("spool", "load").code == 0
    assert stored(site)["main"][3] == 2
    check(exchange, Left(site.state, site.database_url))


def interrupted(site: Program, number: int) -> Ran:
    """A run that got a signal after its first reading and before the next one."""
    with site.start("snapshot", "--account", "main") as process:
        eventually(lambda: unsettled(site))
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    return Ran(process.returncode, out, err)


@SQLITE
def test_told_to_stop_between_two_readings_it_keeps_the_doubted_one(site: Program, exchange: Witness) -> None:
    exchange.faults.add("balances", set={"sopt": "0"})
    assert interrupted(site, signal.SIGTERM).code == 143
    assert (len(site.spooled()), unsettled(site)) == (1, [])
    assert site.run("spool", "load").code == 0
    assert stored(site)["main"] == ("complete", "doubted: spot at 0 (not read again)", 1, 1)
    left = Left(site.state, site.database_url)
    check(exchange, left)
    check_drained(left)


@SQLITE
def test_killed_between_two_readings_the_doubted_one_waits_for_the_end_of_its_slot(
    site: Program, exchange: Witness
) -> None:
    exchange.faults.add("balances", set={"sopt": "0"})
    assert interrupted(site, signal.SIGKILL).code == -signal.SIGKILL
    assert (site.spooled(), len(unsettled(site))) == ([], 1)
    assert site.run("spool", "load").code == 0
    assert stored(site) == {}
    assert '"spool":1' in site.run("status", "--json").out
    assert "doubted" in site.run("spool", "list").err
    over(site)
    assert site.run("spool", "load").code == 0
    assert stored(site)["main"] == ("complete", "doubted: spot at 0 (not read again)", 1, 1)
    left = Left(site.state, site.database_url)
    check(exchange, left)
    check_drained(left)


@SQLITE
def test_killed_between_two_readings_a_run_in_the_same_slot_knows_better(site: Program, exchange: Witness) -> None:
    exchange.faults.add("balances", set={"sopt": "0"}, times=2)
    interrupted(site, signal.SIGKILL)
    assert site.run("snapshot", "--account", "main").code == 0
    assert stored(site)["main"] == ("complete", "doubted: spot at 0 (not so when read again)", 2, 2)
    over(site)
    assert site.run("spool", "load").code == 0
    assert stored(site)["main"] == ("complete", "doubted: spot at 0 (not so when read again)", 2, 2)
    left = Left(site.state, site.database_url)
    # The killed run settled nothing, so the first outcome of the slot is the other's, and this answer its duplicate.
    check(exchange, left, lost=[exchange.answered[0].body])
    check_drained(left)


@SQLITE
def test_the_threshold_is_a_setting(site: Program, exchange: Witness) -> None:
    Remembered(site.state).forget("main")
    assert site.run("snapshot", "--account", "main", BINGX_ETL_DOUBT_ABOVE="1000000000").code == 0
    assert Remembered(site.state).account("main").wallets == WalletMemory()
