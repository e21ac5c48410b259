"""The real parts, put together as etl.bootstrap does it, over a clock, a disk and an exchange that do as they are told.

Calls to the exchange are made by the deciding thread itself, so that a run is the same whenever it is repeated and a
crash ends the whole program. Everything else is the program's own.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from unittest import mock

from etl import bootstrap
from etl.clock import Clock
from etl.config.keys import ApiKey, Keys
from etl.config.settings import Settings, read_settings
from etl.errors import DatabaseUnavailable, DiskError
from etl.errors import Disk as DiskTrouble
from etl.extract.workers import Lost
from etl.load.store import Store, Transaction
from etl.model import Outcome, Reading
from etl.recorder import Recorder, Slot
from etl.spool.spool import Draft, Entry, Spool
from tests.trust.disk import Disk
from tests.trust.exchange import Answer, Exchange, Key, NoAnswer, Time
from tests.trust.model import Model
from tests.trust.site import Site

ACCOUNTS = ("main", "other")
INTERVAL_SECONDS = 300


class Weather(StrEnum):
    """What the database does."""

    FINE = "fine"
    DOWN = "down"
    REFUSES_COMMIT = "refuses commit"
    CUTS_ANSWER_OFF = "commits and does not say so"


class NoStop:
    """Nobody tells the program to end."""

    def is_set(self) -> bool:
        return False


class World:
    """Two programs over one state directory and one database. ``steps`` are what a trap can be set at."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.time = Time()
        self.disk = Disk(site.state)
        self.model = Model(site, INTERVAL_SECONDS)
        keys = {name: Key(f"{name}-0", f"{number}001") for number, name in enumerate(ACCOUNTS, 1)}
        self.exchange = Exchange(self.time, keys, self._on_answer)
        self.weather = Weather.FINE
        self.in_transaction = False
        self.running: list[Program] = []
        self.settings = read_settings(
            environ={
                "BINGX_ETL_STATE_DIR": str(site.state),
                "BINGX_ETL_DATABASE_URL": site.url,
                "BINGX_ETL_BASE_URL": "http://127.0.0.1:1",
                "BINGX_ETL_INTERVAL": f"{INTERVAL_SECONDS}s",
                "BINGX_ETL_RETRY_FOR": "40s",
                "BINGX_ETL_IP_LIMIT": "6/10s",
            }
        )
        self.clock = Clock(self.time.now, self.time.monotonic, lambda: 0.5, speed=50.0)
        self.programs = [Program(self), Program(self)]

    def _on_answer(self, answer: Answer) -> None:
        self.model.received(answer, self.running[-1])

    @contextmanager
    def working(self, program: "Program") -> Iterator[None]:
        """The program works in this block: its files and its calls are the world's. It may begin within another's."""
        self.running.append(program)
        try:
            if len(self.running) > 1:
                yield
            else:
                with (
                    self.disk.under(),
                    mock.patch("etl.extract.extract.Workers", lambda clock, *_: Calls(clock, self.time)),
                ):
                    yield
        finally:
            self.running.pop()

    def restart(self, program: "Program") -> None:
        """The program is gone, with all that it had in memory; another one begins."""
        self.model.died(program)
        self.programs[self.programs.index(program)] = Program(self)

    def cut_power(self, share: float) -> None:
        """The machine stops and starts again."""
        for program in list(self.programs):
            self.restart(program)
        self.model.lost_power()
        self.disk.cut_power(share)

    def waits_for_its_owner(self, outcome: Outcome) -> bool:
        """Whether a reading cannot be judged, its key replaced before anybody could ask whose it was."""
        if not isinstance(outcome, Reading):
            return False
        is_current = outcome.key_fingerprint == self.exchange.keys[outcome.account].fingerprint
        uids = self.programs[0].remembered.account(outcome.account).uids
        return not is_current and outcome.key_fingerprint not in uids

    # Backups of SQLite's file

    def back_up(self, to: Path) -> None:
        """A copy of the database as it is."""
        assert self.site.file is not None
        with closing(sqlite3.connect(self.site.file)) as source, closing(sqlite3.connect(to)) as copy:
            source.backup(copy)

    def restore(self, backup: Path, *, in_place: bool) -> None:
        """The copy in place of the database, moved there whole or copied over it."""
        assert self.site.file is not None
        copy = self.site.file if in_place else self.site.file.with_name("restored.db")
        shutil.copyfile(backup, copy)
        copy.replace(self.site.file)
        self.model.restored()


class Program:
    """One process: its own objects, and what it has in memory alone, as the daemon's storekeeper has it."""

    def __init__(self, world: World) -> None:
        self.world = world
        recorder = bootstrap.build_recorder(world.settings, Keys({name: ApiKey("k", "s") for name in ACCOUNTS}, {}))
        self.remembered = recorder._remembered
        self.spool = WatchedSpool(world.settings, world.model, self)
        loader = recorder._loader
        self.loader = replace(loader, spool=self.spool, store=WatchedStore(loader.store, world))
        self.recorder = Recorder(world.exchange, self.remembered, self.loader, recorder._plan, clock=world.clock)
        self.homeless: list[Slot] = []
        self._lost: set[int] = set()

    def read(self, accounts: Sequence[str] = ACCOUNTS) -> None:
        """What the daemon does when a slot begins."""
        with self.world.working(self):
            try:
                slot = self.recorder.read(accounts, {}, NoStop())
            except DiskTrouble:
                return
        told = {entry.outcome.account for entry in slot.entries}
        assert told == set(accounts), f"no outcome for {set(accounts) - told}"
        if slot.disk is not None:
            self.homeless.append(slot)
            self._lost |= {id(entry.outcome) for entry in slot.entries if not entry.spooled}

    def store(self) -> None:
        """What its storekeeper does after that."""
        with self.world.working(self):
            stored = self.recorder.store(self.homeless)
        self._lost = {id(outcome) for outcome in stored.lost}
        self.homeless = [s for s in self.homeless if any(id(entry.outcome) in self._lost for entry in s.entries)]

    def record(self, accounts: Sequence[str] = ACCOUNTS) -> None:
        """Both."""
        self.read(accounts)
        self.store()

    @property
    def lost(self) -> list[Outcome]:
        """What both disk and database have refused so far: it is in memory alone."""
        entries = [entry for slot in self.homeless for entry in slot.entries]
        return [entry.outcome for entry in entries if id(entry.outcome) in self._lost]

    def has_in_memory(self, body: bytes) -> bool:
        """Whether it is to be stored although the disk refused it."""
        return any(body in outcome.bodies for outcome in self.lost if isinstance(outcome, Reading))


class WatchedSpool(Spool):
    """The spool, telling the model what it promises."""

    def __init__(self, settings: Settings, model: Model, program: Program) -> None:
        super().__init__(settings.state_dir)
        self._model = model
        self._program = program

    def write(self, outcome: Outcome, *, unsettled_ms: int = 0, after: Draft | None = None) -> Draft:
        draft = super().write(outcome, unsettled_ms=unsettled_ms, after=after)
        self._model.written(draft, is_safe=unsettled_ms > 0)
        return draft

    def keep(self, drafts: Sequence[Draft]) -> tuple[list[Entry], OSError | None]:
        entries, refusal = super().keep(drafts)
        self._model.kept(entries, is_safe=refusal is None)
        return entries, refusal

    def quarantine_unspooled(self, outcome: Outcome, reason: str, detail: str, name: str = "") -> None:
        try:
            super().quarantine_unspooled(outcome, reason, detail, name)
        except DiskError:
            self._model.refused_aside(outcome)
            raise


class WatchedStore:
    """:class:`etl.load.store.Store`, in the weather of the world."""

    def __init__(self, store: Store, world: World) -> None:
        self._store = store
        self._world = world

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        world = self._world
        world.disk.step("begin")
        if world.weather is Weather.DOWN:
            raise DatabaseUnavailable("the database is down")
        world.in_transaction = True
        try:
            with self._store.transaction() as transaction:
                yield transaction
                world.disk.step("commit")
                if world.weather is Weather.REFUSES_COMMIT:
                    raise DatabaseUnavailable("the database is full")
        finally:
            world.in_transaction = False
        world.disk.step("committed")
        if world.weather is Weather.CUTS_ANSWER_OFF:
            raise DatabaseUnavailable("the connection broke")


class Calls:
    """:class:`etl.extract.workers.Workers` without threads: a call is made when submitted. Waiting lets time pass."""

    def __init__(self, clock: Clock, time: Time) -> None:
        self._clock = clock
        self._time = time
        self._back: list[tuple[object, object]] = []
        self._silent: list[tuple[object, float]] = []

    def __len__(self) -> int:
        return len(self._back) + len(self._silent)

    def under_way(self) -> list[object]:
        """Calls that have not come back."""
        return [key for key, _ in [*self._back, *self._silent]]

    def submit(self, key: object, call: Callable[[], object], give_up_at: float) -> None:
        """Make the call."""
        try:
            self._back.append((key, call()))
        except NoAnswer:
            self._silent.append((key, give_up_at))
        except Exception as error:  # noqa: BLE001 - as the threads do it
            self._back.append((key, error))

    def wait(self, timeout: float) -> list[tuple[object, object]]:
        """What came back."""
        if not self._back:
            self._time.pass_by(max(timeout, 0.001))
        back, self._back = self._back, []
        now = self._clock.monotonic()
        back += [(key, Lost()) for key, give_up_at in self._silent if give_up_at <= now]
        self._silent = [each for each in self._silent if each[1] > now]
        return back

    def dismiss(self) -> None:
        """Nobody is there to be dismissed."""
