"""Whatever happens, in whatever order, nothing is lost, doubled or bent: a state machine against a simple model.

The rules are what happens to an installation: slots, failures, crashes at any step, cuts of power, a full disk, a
database that is down, clocks that are set, a second program in between, rotated keys, restored backups. After each the
invariants are asserted (tests/trust/model.py); at the end the faults stop, the spool drains and the next slot succeeds.
"""

import errno
import gc
import itertools
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from etl.grid import slot_of
from tests.trust.disk import Crash
from tests.trust.exchange import Key, Kind
from tests.trust.site import Site, Sites
from tests.trust.world import ACCOUNTS, INTERVAL_SECONDS, Program, Weather, World

INTERVAL = timedelta(seconds=INTERVAL_SECONDS)
JUMPS = [3.7, -3.7, 29, -29, 97, -97, 601, -601, 3607, -3607, 86_411, -86_411]

Verb = Callable[[Program], None]
programs = st.integers(0, 1)
accounts = st.sampled_from(ACCOUNTS)
steps = st.integers(1, 40)
verbs: st.SearchStrategy[Verb] = st.sampled_from([Program.record, Program.read, Program.store])


class Installation(RuleBasedStateMachine):
    """Two programs, two accounts, one state directory, one database."""

    def __init__(self, site: Site, tally: Callable[..., None]) -> None:
        super().__init__()
        self.world = World(site)
        self.tally = tally
        self.backup: Path | None = None
        self.numbers = itertools.count(1)
        self.is_sound = True
        self.has_moved = False

    def program(self, which: int) -> Program:
        """One that is about to do something."""
        self.has_moved = True
        return self.world.programs[which]

    def injected(self) -> None:
        self.tally("faults injected")

    # Time

    @rule(late=st.sampled_from([0.0, 0.02, 30.0, 150.0, 290.0, 299.5, 299.99]))
    def next_slot(self, late: float) -> None:
        """Early or late in it, by the machine's clock."""
        now = self.world.time.now()
        to = slot_of(now, INTERVAL_SECONDS) + INTERVAL + timedelta(seconds=late)
        self.world.time.pass_by((to - now).total_seconds())

    @rule(seconds=st.sampled_from([0.1, 5.0, 61.0, 1000.0]))
    def wait(self, seconds: float) -> None:
        self.world.time.pass_by(seconds)

    @rule(seconds=st.sampled_from([None, *JUMPS]))
    def set_clock(self, seconds: float | None) -> None:
        """Forward or back by so much; or right."""
        self.injected()
        time = self.world.time
        time.skew = timedelta() if seconds is None else time.skew + timedelta(seconds=seconds)

    # What the programs do, and what ends them

    @rule(which=programs, verb=verbs)
    def work(self, which: int, verb: Verb) -> None:
        verb(self.program(which))

    @rule(which=programs, verb=verbs, at=steps)
    def crash(self, which: int, verb: Verb, at: int) -> None:
        """The program is killed at a step, if it gets there; the machine runs on."""
        program = self.program(which)
        if self._ends(program, verb, at):
            self.world.restart(program)

    @rule(which=programs, verb=verbs, at=steps, share=st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]))
    def lose_power(self, which: int, verb: Verb, at: int, share: float) -> None:
        """The machine stops at a step, or after the last one."""
        self._ends(self.program(which), verb, at)
        self.world.cut_power(share)

    @rule(which=programs, verb=verbs, at=steps, other=verbs)
    def overlap(self, which: int, verb: Verb, at: int, other: Verb) -> None:
        """The other program comes in between at a step."""
        self.injected()

        def come_in(_: str) -> bool:
            if self.world.in_transaction:
                return False  # it would wait for the lock
            other(self.program(1 - which))
            return True

        with self.world.disk.trap(at, come_in):
            verb(self.program(which))

    @rule(which=programs, verb=verbs, at=steps)
    def fail_once(self, which: int, verb: Verb, at: int) -> None:
        """One thing that is done to a file fails."""
        self.injected()

        def fail(what: str) -> bool:
            if what in {"begin", "commit", "committed"}:
                return False
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        self.world.model.may_not_be_kept()
        with self.world.disk.trap(at, fail):
            verb(self.program(which))

    @rule(which=programs)
    def restart(self, which: int) -> None:
        self.world.restart(self.program(which))

    def _ends(self, program: Program, verb: Verb, at: int) -> bool:
        self.injected()
        with self.world.disk.trap(at, self.world.disk.die):
            try:
                verb(program)
            except Crash:
                return True
        return False

    # The exchange

    @rule(account=accounts, kinds=st.lists(st.sampled_from(Kind), min_size=1, max_size=4))
    def answer(self, account: str, kinds: list[Kind]) -> None:
        """What the next requests are answered with."""
        self.injected()
        self.world.exchange.script[account] = deque(kinds)

    @rule(connecting=st.sampled_from([0, 20, 400, 2000]), latency=st.sampled_from([2, 80, 900, 9000]))
    def take_time(self, connecting: int, latency: int) -> None:
        """How many milliseconds pass until a request is sent, and until it is answered."""
        exchange = self.world.exchange
        exchange.connecting, exchange.latency = timedelta(milliseconds=connecting), timedelta(milliseconds=latency)

    @rule(uids=st.booleans(), time=st.booleans())
    def tell(self, uids: bool, time: bool) -> None:
        """Whether the smaller questions are answered."""
        self.world.exchange.tells_uids, self.world.exchange.tells_time = uids, time

    @rule(account=accounts, good=st.booleans())
    def void_key(self, account: str, good: bool) -> None:
        """The key is refused, or not any more."""
        self.injected()
        keys = self.world.exchange.keys
        keys[account] = replace(keys[account], is_good=good)

    @precondition(lambda self: self.all_are_known())
    @rule(account=accounts, owner=st.sampled_from(["its own", "its own", "the other's"]))
    def rotate_key(self, account: str, owner: str) -> None:
        """A new key of the same user, or a wrong one. Before a history knows its user, nobody could tell which."""
        self.injected()
        other = next(name for name in ACCOUNTS if name != account)
        uid = self.world.model.owners[account if owner == "its own" else other]
        self.world.exchange.keys[account] = Key(f"{account}-{next(self.numbers)}", uid)

    def all_are_known(self) -> bool:
        return self.world.model.known == set(ACCOUNTS)

    # Disk and database

    @rule(room=st.sampled_from([None, None, 0, 150, 700, 3000]))
    def fill_disk(self, room: int | None) -> None:
        self.injected()
        if room is not None:
            self.world.model.may_not_be_kept()
        self.world.disk.room = room

    @rule(weather=st.sampled_from([Weather.FINE, *Weather]))
    def change_weather(self, weather: Weather) -> None:
        self.injected()
        self.world.weather = weather

    @precondition(lambda self: self.world.site.file is not None and self.all_are_known())
    @rule()
    def back_up(self) -> None:
        self.backup = self.world.site.state.with_name("backup.db")
        self.backup.unlink(missing_ok=True)
        self.world.back_up(self.backup)

    @precondition(lambda self: self.backup is not None)
    @rule(in_place=st.booleans())
    def restore(self, in_place: bool) -> None:
        """Moved there whole, or written over the file that is there."""
        self.injected()
        assert self.backup is not None
        self.has_moved = True
        self.world.restore(self.backup, in_place=in_place)

    # What must be true

    @invariant()
    def nothing_is_lost_doubled_or_bent(self) -> None:
        """Looked at whenever anything can have changed."""
        if not self.has_moved:
            return
        self.is_sound = self.has_moved = False
        self.world.model.check()
        self.tally("states explored")
        self.is_sound = True

    def teardown(self) -> None:
        if self.is_sound:
            self.end_well()
        gc.collect()  # the programs that died have connections, which end with them

    def end_well(self) -> None:
        """The faults stop: everything drains, and the next slot succeeds."""
        world, model = self.world, self.world.model
        world.weather, world.disk.room, world.time.skew = Weather.FINE, None, timedelta()
        world.exchange.tells_uids = world.exchange.tells_time = True
        world.exchange.script.clear()
        for account, key in world.exchange.keys.items():
            owner = model.owners.get(account, key.uid)
            good = key if key.uid == owner else Key(f"{account}-{next(self.numbers)}", owner)
            world.exchange.keys[account] = replace(good, is_good=True)
        # An hour is the longest that a key is left alone.
        world.time.pass_by(2 * 3600)
        for program in world.programs:
            program.store()
        self.next_slot(1.0)
        slot_at = slot_of(world.time.now(), INTERVAL_SECONDS)
        long_ago = time.time() - 3600
        for file in (world.site.state / "spool").glob(".*"):
            os.utime(file, (long_ago, long_ago))
        # Twice, for what waited for the owner of its key may have been looked at before that was asked for.
        for program in world.programs * 2:
            program.record()
        seen = model.check()
        model.check_refilled()
        done = {row.account for row in seen.snapshots if row.slot_at == slot_at}
        assert done == set(ACCOUNTS), f"the faults are over, and only {done} have their snapshot of {slot_at}"
        waiting = [entry.outcome for entry in self.program(0).spool.read(seen.spool)]
        waiting += [outcome for program in world.programs for outcome in program.lost]
        needless = [outcome for outcome in waiting if not world.waits_for_its_owner(outcome)]
        assert not needless, f"the faults are over, and still there is {needless}"
        model.check_slots(seen, slot_at + INTERVAL)
        self.tally("states explored")


def explore(sites: Sites, tally: Callable[..., None], examples: int, steps_each: int, seconds: float) -> None:
    """So many examples, and then more for so many seconds."""
    # Not written down beside the code, and never the same twice: what is found is printed with how to repeat it.
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps_each,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )

    class Here(Installation):
        def __init__(self) -> None:
            super().__init__(sites.fresh(), tally)

    end = time.monotonic() + seconds
    while True:
        run_state_machine_as_test(Here, settings=chosen)
        if time.monotonic() >= end:
            break


# To reduce what was found takes up to five minutes.
@pytest.mark.timeout(float(os.environ.get("BINGX_TEST_LONG_SECONDS", "0")) + 600)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_nothing_is_lost_doubled_or_bent_whatever_happens(
    dialect: str,
    new_database: Callable[..., str],
    tmp_path: Path,
    long_seconds: float,
    tally: Callable[..., None],
) -> None:
    sites = Sites(tmp_path, new_database(dialect, name="template.db"))
    explore(sites, tally, 40 if dialect == "sqlite" else 8, 30, long_seconds)
