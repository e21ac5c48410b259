"""The real program, killed at its N-th write, fsync, rename, unlink and word to the database, or refused it.

The short form takes a few of the points, others every time; the long form takes every one, then breaks the house again
while it recovers, for as long as it may. A red test names the fault: ``run_traced(program, …, fault=…)`` repeats it.
"""

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from etl.sandbox.server import SandboxServer
from tests.cli.program import Program, eventually
from tests.trust.house import KILL, House
from tests.trust.invariants import check, check_drained
from tests.trust.tracing import CHANGES, TALK, Traced, daemon_traced, need_strace, run_traced
from tests.trust.witness import Witness

DISK = tuple(f"error={name}" for name in ("EIO", "ENOSPC", "EROFS"))
SOCKET = ("error=ECONNRESET", "error=ETIMEDOUT")
RECORD, LOAD = ("snapshot", "--json"), ("spool", "load")
SLOTS = 3
Tally = Callable[..., None]
# Every point of one program on one database: some two hundred, of a second or three each, however short the long form.
if "BINGX_TEST_LONG_SECONDS" in os.environ:
    pytestmark = pytest.mark.timeout(float(os.environ["BINGX_TEST_LONG_SECONDS"]) + 3600)


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[House]:
    """The program with a database of either kind, in slots of a second, that has recorded before."""
    need_strace()
    with ExitStack() as stack:
        house = settle(stack, tmp_path / "home", database_url)
        house.recover()
        yield house


def settle(stack: ExitStack, home: Path, database_url: str) -> House:
    """A house with an exchange of its own."""
    home.mkdir()
    witness = Witness(1, 7)
    program = Program(home, stack.enter_context(SandboxServer(witness)), database_url)
    program.environ["BINGX_ETL_INTERVAL"] = "1s"
    return House(program, witness)


def errors(call: str) -> tuple[str, ...]:
    """What the system may say instead.

    Nothing of sending: while the connection really lives, libpq waits after that until our deadline, for 30 s.
    """
    return () if call.startswith("send") else SOCKET if call in TALK else DISK


@contextmanager
def naming(*what: object) -> Iterator[None]:
    """Whatever fails in the block says what the fault was."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"after the faults {what}")
        raise


def strike(house: House, arguments: tuple[str, ...], call: str, fault: str, number: int) -> bool:
    """One fault at one point of a run that finds two outcomes waiting; whether there was such a point."""
    house.leave_behind()
    with naming(arguments, call, fault, number):
        return house.run(arguments, f"{call}:{fault}:when={number}").hit


def sweep(house: House, arguments: tuple[str, ...], tally: Tally) -> None:
    """Every point: for each call and fault N = 1, 2, 3 … until a run meets nothing any more."""
    for call in (*CHANGES, *TALK):
        for fault in (KILL, *errors(call)):
            number = 1
            while strike(house, arguments, call, fault, number):
                tally("faults injected")
                with naming(arguments, call, fault, number):
                    house.recover()
                number += 1


def sample(house: House, arguments: tuple[str, ...], kills: int, refusals: int, tally: Tally) -> None:
    """Some calls are killed at one of their points, others refused; the house recovers from three at a time.

    One is always there: what is whole, but was not given its name, is adopted; what is to be set aside, still is.
    """
    house.leave_behind()
    most = house.run(arguments, None).most()
    calls = random.sample(sorted(most), min(kills, len(most)))
    points = [(call, KILL, random.randint(1, most[call])) for call in calls]
    calls = random.sample(sorted(call for call in most if errors(call)), refusals)
    points += [(call, random.choice(errors(call)), random.randint(1, most[call])) for call in calls]
    points.append(("rename", KILL, 1))
    random.shuffle(points)
    for done, point in enumerate(points):
        tally("faults injected", int(strike(house, arguments, *point)))
        if done % 3 == 2:
            with naming(arguments, points[done - 2 : done + 1]):
                house.recover()


@pytest.mark.parametrize("arguments", [RECORD, LOAD], ids=["snapshot", "load"])
def test_wherever_it_is_killed_or_refused_no_answer_is_lost_doubled_or_bent(
    house: House, arguments: tuple[str, ...], long_seconds: float, tally: Tally
) -> None:
    if not long_seconds:
        sample(house, arguments, *((4, 1) if arguments == RECORD else (1, 1)), tally)
    else:
        until = time.monotonic() + long_seconds
        sweep(house, arguments, tally)
        while time.monotonic() < until:
            sample(house, arguments, 6, 3, tally)
    house.close()


def test_a_first_run_killed_anywhere_leaves_a_house_that_records(
    tmp_path: Path, long_seconds: float, tally: Tally
) -> None:
    """The directories, the database and its schema are not there yet, and half of them may be when it is killed."""
    need_strace()
    with ExitStack() as stack:
        house = settle(stack, tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'state' / 'balances.db'}")
        most = house.run(RECORD, None).most()
        points = [(call, number) for call in most if call in CHANGES for number in range(1, most[call] + 1)]
        until = time.monotonic() + long_seconds
        for done, (call, number) in enumerate(random.sample(points, len(points))):
            if done >= 2 and time.monotonic() > until:
                break
            shutil.rmtree(house.program.state)
            house = House(house.program, house.witness)
            house.witness.forget_answers()
            with naming(call, number):
                tally("faults injected", int(house.run(RECORD, f"{call}:{KILL}:when={number}").hit))
                house.recover()


def test_what_is_said_to_be_safe_is_in_the_spool(house: House) -> None:
    """Also where the disk refuses to flush an outcome, and the database is down."""
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    run = run_traced(house.program, *RECORD, fault="fsync:error=EIO:when=1", BINGX_ETL_DATABASE_URL=nowhere)
    safe = re.search(r"(\d+) outcomes of this slot are safe in the spool", run.ran.err)
    assert run.hit
    assert safe
    assert int(safe[1]) <= len(house.program.spooled()), "what could not be flushed is there, and not called safe"
    check(house.witness, house.left)


def test_a_daemon_killed_or_refused_anywhere_loses_nothing_and_goes_on_when_it_is_started_again(
    house: House, long_seconds: float, tally: Tally
) -> None:
    house.leave_behind()
    most = house.run(RECORD, None).most()
    until = time.monotonic() + long_seconds
    rounds = 0
    while rounds == 0 or time.monotonic() < until:
        rounds += 1
        call = random.choice(sorted(most))
        # In the first slots, somewhere.
        point = f"{call}:{random.choice((KILL, KILL, *errors(call)))}:when={random.randint(1, 3 * most[call])}"
        with naming("run", point):
            tally("faults injected", int(daemon_struck(house, point)))
            daemon_goes_on(house)
    house.close()


def daemon_struck(house: House, point: str) -> bool:
    """A daemon that meets a fault in its first slots, and is told to stop if it outlives that."""
    before = len(house.witness.answered)
    house.leave_behind()
    done: list[Traced] = []
    with daemon_traced(house.program, point, done) as daemon:
        eventually(lambda: daemon.ended or len(house.witness.answered) >= before + 2 + SLOTS)
    [run] = done
    assert run.killed or run.ran.code == 128 + signal.SIGTERM, run.ran
    house.account_for(run, before)
    return run.hit


def daemon_goes_on(house: House) -> None:
    """Started again it stores what waits and goes on; what it missed is recorded with its reason."""
    restarted_at = time.time()
    with house.program.daemon() as daemon:
        eventually(lambda: house.program.recorded()[-1] > restarted_at and not house.program.spooled())
        assert daemon.stop() == 128 + signal.SIGTERM
        house.said.append(daemon.said)
    left = house.left
    check(house.witness, left, lost=house.lost)
    check_drained(left, torn=len(house.lost))
