"""Several at once: daemons, one-shots and hosts over one history, and whoever of them is killed with a lock in hand."""

import itertools
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from etl.db.store import SqlTransaction
from etl.errors import TryAgain
from etl.extract.limiter import SlidingWindow
from etl.sandbox.server import SandboxServer
from tests.cli.program import Program, eventually
from tests.forked import FORKED
from tests.reading import rows
from tests.trust.invariants import (
    check_conservation,
    check_digits,
    check_drained,
    check_one_snapshot,
    check_silence,
    check_slot,
)
from tests.trust.proxy import Proxy
from tests.trust.test_database import STEP, Site, Tally
from tests.trust.witness import Left, Witness
from tests.values import SLOT

# Who records, and in which state directory: the one-shot shares that of the first daemon.
ROLES = (("daemon", "one"), ("one-shot", "one"), ("daemon", "two"))
SHORT_ROUNDS, LONG_ROUNDS = 12, 200
PATIENCE_SECONDS = 60


# --- on the same slot -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meeting:
    """Where and how often they meet. ``barrier`` and ``told``, a queue, are those of threads or those of processes."""

    home: Path
    url: str
    rounds: int
    barrier: Any
    told: Any


def take_part(number: int, at: Meeting) -> None:
    """Record as many slots in one role, each at the same time as the others; tell what the exchange has answered."""
    role, directory = ROLES[number]
    try:
        site = Site(at.home / directory, at.url, number=number)
        for _ in range(at.rounds):
            if role == "one-shot":
                site.restart()
            at.barrier.wait(PATIENCE_SECONDS)
            stored = site.tick()
            assert stored.trouble is None or isinstance(stored.trouble, TryAgain), stored.trouble
            assert (stored.lost, stored.quarantined) == ([], [])
            at.barrier.wait(PATIENCE_SECONDS)
    except BaseException:
        at.barrier.abort()
        raise
    at.told.put((site.answered, site.bodies, site.refused))


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_daemon_one_shot_and_second_daemon_on_the_same_slot(
    tmp_path: Path, dialect: str, kind: str, *, new_database: Callable[..., str], tally: Tally, long_seconds: float
) -> None:
    ends = time.monotonic() + long_seconds
    rounds = LONG_ROUNDS if long_seconds else SHORT_ROUNDS
    of_threads = kind == "threads"
    for block in itertools.count():
        url, home = new_database(dialect, name=f"{block}.db"), tmp_path / str(block)
        barrier: Any = (threading if of_threads else FORKED).Barrier(len(ROLES) + 1)
        told: Any = queue.SimpleQueue() if of_threads else FORKED.SimpleQueue()
        meeting = Meeting(home, url, rounds, barrier, told)
        start: Any = threading.Thread if of_threads else FORKED.Process
        together = [start(target=take_part, args=(n, meeting)) for n in range(len(ROLES))]
        for each in together:
            each.start()
        first: dict[tuple[Any, ...], int] = {}
        for _ in range(rounds):
            barrier.wait(PATIENCE_SECONDS)
            barrier.wait(PATIENCE_SECONDS)
            for number, account, slot_at in rows(url, "SELECT id, account_id, slot_at FROM snapshot"):
                assert first.setdefault((account, slot_at), number) == number, "the first one wins for good"
        spectator = Site(home / "spectator", url, number=len(ROLES))
        for _ in together:
            spectator.learn(*told.get())
        for each in together:
            each.join()
        assert all(len(bodies) == len(ROLES) for bodies in spectator.bodies.values()), "everybody has asked"
        for directory in ("one", "two"):
            host = Site(home / directory, url)
            host.loader.load()
            assert host.waiting == []
            assert not list(host.loader.spool.quarantine_directory.iterdir())
        assert len(first) >= rounds
        spectator.now = SLOT + rounds * STEP
        spectator.settle()
        tally("rounds", rounds)
        if time.monotonic() >= ends:
            return


# --- killed with a lock in hand -------------------------------------------------------------------------------------


@contextmanager
def hanging(work: Callable[..., None], *arguments: object) -> Iterator[Any]:
    """A process that has told something and hangs; at the end it is killed by SIGKILL."""
    told = FORKED.SimpleQueue()
    process: BaseProcess = FORKED.Process(target=work, args=(*arguments, told))
    process.start()
    try:
        yield told.get()
    finally:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert process.exitcode == -signal.SIGKILL


def stop_before_commit(number: int, home: Path, url: str, told: Any) -> None:  # noqa: ANN401
    """Record a slot up to the last statement of its transaction, and no further."""
    site = Site(home, url, number=number)
    site.now += number * 100 * STEP

    def hang(*_: object) -> None:
        told.put((site.answered, site.bodies, site.refused))
        time.sleep(3600)

    SqlTransaction.add_failures = hang  # type: ignore[assignment, method-assign]
    site.tick()


def test_who_is_killed_within_a_transaction_keeps_nobody_out_and_loses_nothing(
    tmp_path: Path, database_url: str, tally: Tally, long_seconds: float
) -> None:
    ends = time.monotonic() + long_seconds
    survivor = Site(tmp_path / "survivor", database_url)
    assert survivor.tick().trouble is None
    for number in itertools.count(1):
        with hanging(stop_before_commit, number, tmp_path / "victim", database_url) as answers:
            survivor.learn(*answers)
            results: list[Any] = []
            waiting = threading.Thread(target=lambda: results.append(survivor.tick()))  # noqa: B023 - joined below
            waiting.start()
            waiting.join(0.3)
            assert waiting.is_alive(), "the lock is held"
        killed = time.monotonic()
        waiting.join(30)
        assert time.monotonic() - killed < 8, "not by the end of somebody's patience"
        assert results[0].trouble is None
        tally("holders of a lock killed")
        if number >= 2 and time.monotonic() >= ends:
            break
    heir = Site(tmp_path / "victim", database_url)
    assert len(heir.waiting) >= 2, "what the dead had read is in their spool"
    heir.loader.load()
    assert heir.waiting == []
    survivor.settle()


def stop_with_the_limit(file: Path, told: Any) -> None:  # noqa: ANN401
    """Count a request together with the others, and never finish."""

    def hang(*_: object) -> int:
        told.put("held")
        time.sleep(3600)
        return 0

    os.pwrite = hang
    SlidingWindow(5, 3600, file).take(time.monotonic())


def test_who_is_killed_while_counting_requests_keeps_nobody_from_asking(tmp_path: Path, tally: Tally) -> None:
    limiter, now = SlidingWindow(5, 3600, tmp_path / "limit"), time.monotonic()
    assert limiter.take(now) == now
    with hanging(stop_with_the_limit, tmp_path / "limit"):
        results: list[float] = []
        waiting = threading.Thread(target=lambda: results.append(limiter.take(now)))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive(), "the lock is held"
    waiting.join(5)
    assert results == [now]
    assert [limiter.take(now) == now for _ in range(4)] == [True, True, True, False], "and the count goes on"
    tally("holders of a lock killed")


# --- two hosts ------------------------------------------------------------------------------------------------------


def test_two_hosts_on_one_postgresql_cover_for_each_other(
    tmp_path: Path, new_database: Callable[..., str], tally: Tally, long_seconds: float
) -> None:
    """One is killed and comes back, the other loses its way to the database; a one-shot runs beside them."""
    url, every = new_database("postgresql"), {"BINGX_ETL_INTERVAL": "1s"}
    ends = time.monotonic() + long_seconds
    with ExitStack() as stack:
        witness = Witness(1, 7)
        server = stack.enter_context(SandboxServer(witness))
        way = stack.enter_context(Proxy(url))
        one, two = (Program(tmp_path / name, server, to) for name, to in (("one", url), ("two", way.url)))
        for program in (one, two):
            program.home.mkdir()

        def seen(seconds: int) -> Callable[[], bool]:
            until = time.time() + seconds
            return lambda: max(one.recorded(), default=0) > until

        killed: list[float] = []
        second = stack.enter_context(two.daemon(**every))
        while True:
            first = stack.enter_context(one.daemon(**every))
            eventually(seen(2))
            first.send(signal.SIGKILL)
            killed.append(time.time())
            first.code()
            eventually(seen(2))
            again = stack.enter_context(one.daemon(**every))
            eventually(seen(1))
            way.refuse()
            ran = one.run("snapshot", **every)
            assert ran.code == 0, ran.err
            eventually(lambda: len(two.spooled()) >= 2)
            way.heal()
            eventually(lambda: not two.spooled())
            assert again.stop() == 143
            tally("faults injected", 2)
            if time.monotonic() >= ends:
                break
        assert second.stop() == 143
        slots = one.recorded()
        assert len(slots) == len(set(slots))
        missed = {reason for at, reason in one.failed().items() if slots[0] < at < slots[-1]}
        assert missed <= {"overrun", "crashed"}, "if any, on a busy machine: the other host was there"
        # Of what the dead was just being told nothing can be known; hardly ever there is anything.
        unread = {a.body for a in witness.answered if any(at - 1 < a.at < at + 0.5 for at in killed)}
        said = [path.read_text() for path in tmp_path.rglob("run-*.log")]
        for program in (one, two):
            left = Left(program.state, url)
            check_conservation(witness, left, lost=unread)
            check_one_snapshot(left)
            for kept in left.snapshots:
                check_digits(kept)
                check_slot(witness, left, kept)
            check_drained(left, torn=len(killed) if program is one else 0)
            check_silence(witness, left, said)
            assert left.quarantine == {}
