"""The real program, killed at its N-th write, fsync, rename, unlink and word to the database, or refused it.

The short form takes a few of the points, others every time; the long form takes every one, then breaks the house again
while it recovers, for as long as it may. A red test names the fault: ``run_traced(program, …, fault=…)`` repeats it.
"""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from etl.sandbox.server import SandboxServer
from tests.cli.program import Program
from tests.trust.house import KILL, House
from tests.trust.tracing import CHANGES, TALK, need_strace
from tests.trust.witness import Witness

DISK = tuple(f"error={name}" for name in ("EIO", "ENOSPC", "EROFS"))
SOCKET = ("error=ECONNRESET", "error=ETIMEDOUT")
RECORD, LOAD = ("snapshot", "--json"), ("spool", "load")
Tally = Callable[..., None]


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
    """What the system may say instead."""
    return SOCKET if call in TALK else DISK


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


def sample(house: House, arguments: tuple[str, ...], tally: Tally) -> None:
    """One point of each call by a kill, two by an error; the house recovers from three at a time."""
    house.leave_behind()
    most = house.run(arguments, None).most()
    points = [(call, KILL, random.randint(1, number)) for call, number in most.items()]
    refused = random.sample(sorted(most), 2)
    points += [(call, random.choice(errors(call)), random.randint(1, most[call])) for call in refused]
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
        sample(house, arguments, tally)
    else:
        until = time.monotonic() + long_seconds
        sweep(house, arguments, tally)
        while time.monotonic() < until:
            sample(house, arguments, tally)
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
