"""The database fails in every way there is: nothing is lost, doubled or bent, and what waited is stored once it can be.

The real spool, loader and store, as the program wires them, in front of real databases; only the exchange answers from
memory, so that a test knows of every answer what must have become of it.
"""

import itertools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from etl.bootstrap import build_loader, build_remembered
from etl.clock import Clock
from etl.config.settings import read_settings
from etl.db import engine, migrate, payload
from etl.db.schema import HEAD
from etl.errors import EtlError, TryAgain, Unavailable
from etl.extract.limiter import SlidingWindow
from etl.extract.patience import Plan
from etl.load.batch import Loaded
from etl.load.lineage import TOGETHER
from etl.model import Environment, Fetched, Reading
from etl.recorder import Recorder, Stored
from etl.spool.spool_file import decode
from tests.cli.program import unix
from tests.postgres import NOBODY, PostgresServer, _own_server, _wait_for
from tests.reading import rows
from tests.small_disk import SmallDisk
from tests.trust.proxy import COMMIT, Link, Place, Proxy
from tests.values import SLOT, body

STEP = timedelta(minutes=5)
Slot = tuple[str, float]
"""An account and the beginning of a slot in Unix seconds."""


class Site:
    """One host's installation but for its process. It is the exchange, too, and knows what it has answered.

    ``main`` always gets an answer, ``other`` in every second slot. ``url`` is what the program uses, ``direct`` what
    the test looks through. Sites of different ``number`` never get the same answer, nor ask at the same millisecond.
    """

    environment = Environment.SANDBOX

    def __init__(self, home: Path, url: str, direct: str | None = None, number: int = 0) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.state = home / "state"
        self.direct = direct or url
        config = home / "none.toml"
        config.touch(mode=0o600)
        where = {"BINGX_ETL_STATE_DIR": str(self.state), "BINGX_ETL_DATABASE_URL": url}
        self._settings = read_settings(config, where)
        self.now: datetime = SLOT + number * timedelta(milliseconds=1)
        self.answered: dict[Slot, list[dict[str, str]]] = {}
        self.bodies: dict[Slot, list[bytes]] = {}
        self.refused: set[Slot] = set()
        self._seen: dict[Slot, bytes] = {}
        self._lock = threading.Lock()
        self._number = number * 1_000_000
        self.restart()

    def restart(self) -> None:
        """Go on as another process of the installation."""
        remembered, limiter = build_remembered(self._settings), SlidingWindow(10**9, 0.001)
        self.loader = build_loader(self._settings, remembered)
        plan = Plan(int(STEP.total_seconds()), 0.0, 10.0, limiter, limiter)
        self.recorder = Recorder(self, remembered, self.loader, plan, clock=Clock(now=lambda: self.now))

    # --- the exchange

    def balances(self, account: str, clock_offset_ms: int) -> Fetched:
        """An answer that is like no other, with more digits than a float has."""
        slot = (account, self.now.timestamp() // 300 * 300)
        with self._lock:
            self._number += 1
            if account == "other" and slot[1] // 300 % 2:
                self.refused.add(slot)
                raise Unavailable("unavailable", "HTTP 503")
            wallets = {"spot": f"{self._number}.{self._number:024d}0", "USDTMPerp": "0.10"}
            answer = body(wallets, at=self.now)
            self.answered.setdefault(slot, []).append(wallets)
            self.bodies.setdefault(slot, []).append(answer)
        return Fetched(self.now, 3, answer, self.now)

    def uid(self, account: str, clock_offset_ms: int) -> str:
        """One for each."""
        return f"uid-{account}"

    def clock_offset_ms(self) -> int:
        """The clocks agree."""
        return 0

    def key_fingerprint(self, account: str) -> str:
        """One for each."""
        return f"key-{account}"

    # --- recording

    def read(self) -> None:
        """The next slot, into the spool alone."""
        self.now += STEP
        self.recorder.read(["main", "other"], {}, threading.Event())

    def tick(self) -> Stored:
        """The next slot, all the way."""
        self.now += STEP
        return self.recorder.record(["main", "other"], {}, threading.Event())[1]

    @property
    def waiting(self) -> list[str]:
        """The files of the spool."""
        return self.loader.spool.names()

    @property
    def known(self) -> set[Slot]:
        """Every slot that came to an outcome."""
        return {*self.bodies, *self.refused}

    def lose(self, slots: set[Slot]) -> None:
        """A person has thrown these away, or was told that they are lost: nobody can ask for them."""
        for known in (self.answered, self.bodies, self._seen):
            for slot in slots & set(known):
                del known[slot]
        self.refused -= slots

    def learn(
        self, answered: dict[Slot, list[dict[str, str]]], bodies: dict[Slot, list[bytes]], refused: set[Slot]
    ) -> None:
        """What the exchange has answered others who record into the same history."""
        for slot, answers in bodies.items():
            self.bodies.setdefault(slot, []).extend(answers)
            self.answered.setdefault(slot, []).extend(answered[slot])
        self.refused |= refused

    def follow(self, other: "Site") -> None:
        """Go on where another host has got to, at the same exchange."""
        self.now, self._number, self.refused = other.now, other._number, other.refused
        self.answered, self.bodies, self._seen = other.answered, other.bodies, other._seen

    # --- what must be true

    def check(self) -> set[Slot]:
        """The invariants that hold at any time, the worst included; returns the slots that have their snapshot."""
        kept = Counter(self._bodies_on_disk())
        stored = self._stored()
        for slot, answers in self.bodies.items():
            if slot in stored:
                assert stored[slot] in answers, "never under a slot in which it was not taken"
                assert self._seen.setdefault(slot, stored[slot]) == stored[slot], "the first one wins for good"
            else:
                assert all(kept[answer] == 1 for answer in answers), f"{slot} is lost"
        assert set(stored) <= set(self.bodies)
        assert set(self._seen) <= set(stored), "what was stored stays"
        return set(stored)

    def settle(self) -> None:
        """The fault is over: everything that waits is stored, the next slot succeeds, and the invariants hold."""
        self.loader.load()
        assert self.waiting == []
        self.now += STEP if self.now.timestamp() // 300 % 2 else STEP * 0
        stored = self.tick()
        assert (stored.trouble, stored.lost, stored.quarantined, self.waiting) == (None, [], [], [])
        assert self.check() == set(self.bodies)
        assert not list(self.loader.spool.quarantine_directory.iterdir())
        failed = {(name, unix(at)): reason for name, at, reason in rows(self.direct, FAILURES)}
        assert failed == dict.fromkeys(self.refused, "unavailable"), "every slot has its snapshot or its reason"
        exact: dict[Slot, dict[str, str]] = {}
        for name, at, wallet, amount in rows(self.direct, AMOUNTS):
            exact.setdefault((name, unix(at)), {})[wallet] = amount if isinstance(amount, str) else f"{amount:f}"
        assert exact == {slot: self.answered[slot][self.bodies[slot].index(self._seen[slot])] for slot in self.bodies}
        if self.direct.startswith("sqlite"):
            assert rows(self.direct, "PRAGMA integrity_check") == [("ok",)]
            assert rows(self.direct, "PRAGMA foreign_key_check") == []

    def _stored(self) -> dict[Slot, bytes]:
        found = rows(self.direct, BODIES)
        stored = {(name, unix(at)): payload.decode(encoding, bytes(kept)) for name, at, encoding, kept in found}
        assert len(stored) == len(found), "one snapshot per account and slot, with one body"
        assert rows(self.direct, "SELECT count(*) FROM snapshot") == [(len(found),)]
        return stored

    def _bodies_on_disk(self) -> Iterator[bytes]:
        for directory in (self.loader.spool.directory, self.loader.spool.quarantine_directory):
            for path in directory.glob("*.outcome"):
                outcome = decode(path.read_bytes())
                yield from outcome.bodies if isinstance(outcome, Reading) else ()


BODIES = (
    "SELECT a.name, s.slot_at, p.encoding, p.body FROM snapshot s"
    " JOIN account a ON a.id = s.account_id JOIN payload p ON p.snapshot_id = s.id"
)
FAILURES = "SELECT a.name, f.slot_at, f.reason FROM failure f JOIN account a ON a.id = f.account_id"
AMOUNTS = "SELECT account, slot_at, account_type, usdt_balance_exact FROM balance_history"
Tally = Callable[..., None]


@pytest.fixture
def proxy(new_database: Callable[..., str]) -> Iterator[Proxy]:
    """A way to a ready PostgreSQL of its own."""
    with Proxy(new_database("postgresql")) as way:
        yield way


@pytest.fixture
def behind(tmp_path: Path, proxy: Proxy) -> Site:
    """A site whose PostgreSQL is behind the proxy."""
    return Site(tmp_path / "site", proxy.url, proxy.direct)


def patience(monkeypatch: pytest.MonkeyPatch, *, deadline: float | None = None, lock: float | None = None) -> None:
    """Deadlines short enough for a test, at a site that is made, or begins anew, after this."""
    if deadline is not None:
        monkeypatch.setattr(engine, "open_engine", partial(engine.open_engine, deadline_seconds=deadline))
    if lock is not None:
        monkeypatch.setattr(engine, "LOCK_SECONDS", lock)


def waits(stored: Stored) -> str:
    """What kept an attempt from being stored, which was foreseen and cost nothing; its words."""
    assert isinstance(stored.trouble, TryAgain)
    assert (stored.lost, stored.quarantined) == ([], [])
    return str(stored.trouble)


# --- away -----------------------------------------------------------------------------------------------------------


def test_down_from_the_start_and_for_a_thousand_slots(
    tmp_path: Path, dialect: str, *, new_database: Callable[..., str], tally: Tally, long_seconds: float
) -> None:
    url = new_database(dialect)
    with Proxy(url) if dialect == "postgresql" else Aside(url) as way:
        site = Site(tmp_path / "site", way.url, url)
        way.refuse()
        with pytest.MonkeyPatch.context() as patch:
            if not long_seconds:
                patch.setattr("os.fsync", lambda _: None)  # four thousand of them, which prove nothing here
            for number in range(1000):
                if number % 100:
                    site.read()
                else:
                    waits(site.tick())
        assert len(site.waiting) == 2000
        way.heal()
        site.settle()
    tally("slots while the database was down", 1000)


class Aside:
    """A SQLite file that can be out of reach."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._path = Path(url.removeprefix("sqlite:///"))
        self._aside = self._path.with_suffix(".aside")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def refuse(self) -> None:
        """It is not there, and cannot be made there."""
        self._path.rename(self._aside)
        self._path.mkdir()

    def heal(self) -> None:
        """It is back."""
        self._path.rmdir()
        self._aside.rename(self._path)


# --- PostgreSQL, in the middle --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", Place)
def test_a_connection_that_breaks_at_any_question_loses_and_doubles_nothing(
    behind: Site, proxy: Proxy, place: Place, tally: Tally, long_seconds: float
) -> None:
    ends = time.monotonic() + long_seconds
    while True:
        struck = 0
        proxy.fail(place, 1, Link.cut)
        stored = behind.tick()
        while proxy.struck:
            waits(stored)
            behind.check()
            tally("faults injected")
            struck += 1
            proxy.fail(place, struck + 1, Link.cut)
            stored = behind.tick()
        assert struck > 8, "a batch is several questions"
        assert stored.trouble is None
        proxy.heal()
        behind.settle()
        if time.monotonic() >= ends:
            return


def test_when_the_answer_to_commit_is_lost_it_is_stored_once_and_its_replay_is_no_duplicate(
    behind: Site, proxy: Proxy, tally: Tally
) -> None:
    for _ in range(4):
        proxy.fail(Place.ANSWER, COMMIT, Link.cut)
        waits(behind.tick())
        stored = behind.check()
        assert stored == set(behind.bodies), "it is in the history"
        assert behind.waiting, "which nobody could know: it is in the spool as well"
        tally("faults injected")
    before = rows(behind.direct, "SELECT * FROM snapshot ORDER BY id")
    replayed: list[Loaded] = []
    behind.loader.load(report=replayed.append)
    assert [loaded.duplicate for loaded in replayed if loaded.snapshot] == [False] * len(replayed_readings(replayed))
    assert rows(behind.direct, "SELECT * FROM snapshot ORDER BY id") == before
    behind.settle()


def replayed_readings(replayed: list[Loaded]) -> list[Loaded]:
    """Those of them that are readings."""
    return [loaded for loaded in replayed if isinstance(loaded.entry.outcome, Reading)]


# What a batch asks, by words that stay whatever becomes of the rest of the statement.
WORDS = (b" snapshot (", b" payload (", COMMIT)


@pytest.mark.parametrize("place", Place)
def test_a_peer_that_goes_silent_costs_its_deadline_and_what_it_leaves_behind_keeps_nobody_out_for_long(
    tmp_path: Path, proxy: Proxy, place: Place, tally: Tally, long_seconds: float
) -> None:
    deadline = 0.6
    site = Site(tmp_path / "site", proxy.url, proxy.direct)
    assert site.tick().trouble is None
    with pytest.MonkeyPatch.context() as patch:
        patience(patch, deadline=deadline)
        site.restart()
        for at in range(1, 40) if long_seconds else WORDS:
            proxy.fail(place, at, Link.stall)
            began = time.monotonic()
            stored = site.tick()
            if not proxy.struck:
                assert isinstance(at, int)
                assert at > 8, "a batch is several questions"
                break
            waits(stored)
            assert deadline <= time.monotonic() - began < deadline + 5
            site.check()
            tally("faults injected")
            if rows(site.direct, IN_COPY) != [(0,)]:
                # No limit of PostgreSQL's ends who waits for the rows of a COPY: the connection has to be seen broken.
                proxy.forget()
            ends = time.monotonic() + 20
            while site.tick().trouble is not None:
                assert time.monotonic() < ends, "a session that is left behind still holds its locks"
            proxy.forget()
    proxy.heal()
    site.restart()
    site.settle()


IN_COPY = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND state = 'active' AND wait_event = 'ClientRead' AND query LIKE 'COPY%'"
)


def test_the_server_is_told_to_find_out_soon_who_has_gone_without_a_word(new_database: Callable[..., str]) -> None:
    """Else a host that loses power in the middle of a COPY keeps the accounts locked for two hours."""
    with engine.open_engine(new_database("postgresql")).write() as connection:
        told = [connection.exec_driver_sql(f"SHOW tcp_keepalives_{name}").scalar_one() for name in KEEPALIVES]
    assert 0 < int(told[0]) + int(told[1]) * int(told[2]) <= 60


KEEPALIVES = ("idle", "interval", "count")


@pytest.mark.parametrize("place", Place)
def test_a_postgresql_that_is_restarted_at_once_within_a_transaction(
    tmp_path: Path, place: Place, tally: Tally, long_seconds: float
) -> None:
    with mortal() as (server, crash, revive), server.database() as url:
        migrate.upgrade(url)
        with Proxy(url) as proxy:
            site = Site(tmp_path / "site", proxy.url, url)
            assert site.tick().trouble is None

            def strike(link: Link) -> None:
                crash()
                link.cut()

            for at in range(1, 40) if long_seconds else (b" payload (", COMMIT):
                proxy.fail(place, at, strike)
                stored = site.tick()
                if not proxy.struck:
                    break
                waits(stored)
                revive()
                there = site.check()
                assert at != COMMIT or place is Place.QUESTION or there == set(site.bodies), "committed is committed"
                tally("faults injected")
            proxy.heal()
            site.settle()


@contextmanager
def mortal() -> Iterator[tuple[PostgresServer, Callable[[], None], Callable[[], None]]]:
    """A server of one's own; what ends it at once, as `pg_ctl restart -m immediate` does; and what starts it again."""
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    try:
        with _own_server(home) as server:
            assert server.process is not None
            running = server.process

            def crash() -> None:
                running.send_signal(signal.SIGQUIT)

            def revive() -> None:
                nonlocal running
                running.wait(30)
                with (home / "log").open("ab") as log:
                    running = subprocess.Popen(running.args, stdout=log, stderr=log, cwd=home, **user)  # type: ignore[call-overload]
                _wait_for(replace(server, process=running), home / "log")

            try:
                yield server, crash, revive
            finally:
                running.send_signal(signal.SIGINT)
                running.wait(30)
    finally:
        shutil.rmtree(home)


# --- locked, read-only, of another release --------------------------------------------------------------------------

HOLDER = """
import json, sys
url, statements = json.loads(sys.stdin.readline())
if url.startswith("sqlite:///"):
    import sqlite3
    there = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
else:
    import psycopg
    there = psycopg.connect(url)
for statement in statements:
    there.execute(statement).fetchall() if statement.startswith("SELECT") else there.execute(statement)
print("held", flush=True)
sys.stdin.read()
"""


# More than fits into a small cache, so that the file is half changed, with a journal beside it, when it is killed.
FILL = (
    "CREATE TABLE x AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
    " SELECT i, hex(randomblob(100)) FROM n"
)


@contextmanager
def held(url: str, *statements: str) -> Iterator[None]:
    """Another process has said this to the database and went no further; at the end it is killed, as it stands."""
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        try:
            other.stdin.write(json.dumps([url, statements]) + "\n")
            other.stdin.flush()
            assert other.stdout.readline() == "held\n"
            yield
        finally:
            other.kill()


@pytest.mark.parametrize(
    ("dialect", "statements"),
    [
        pytest.param("sqlite", ["BEGIN EXCLUSIVE"], id="SQLite, locked"),
        pytest.param("sqlite", ["PRAGMA cache_size = 1", "BEGIN IMMEDIATE", FILL], id="SQLite, half written"),
        pytest.param("sqlite", ["BEGIN", "SELECT count(*) FROM snapshot"], id="SQLite, an open reader"),
        pytest.param("postgresql", ["LOCK TABLE snapshot"], id="PostgreSQL, a table"),
        pytest.param("postgresql", ["LOCK TABLE alembic_version"], id="PostgreSQL, an upgrade"),
        pytest.param("postgresql", ["SELECT * FROM account FOR UPDATE"], id="PostgreSQL, rows"),
    ],
)
def test_a_lock_that_is_held_for_a_minute(
    tmp_path: Path, new_database: Callable[..., str], dialect: str, statements: list[str], long_seconds: float
) -> None:
    """In the short form both the minute and the patience are shorter."""
    url = new_database(dialect)
    with pytest.MonkeyPatch.context() as patch:
        if not long_seconds:
            patience(patch, lock=0.2)
        site = Site(tmp_path / "site", url)
        assert site.tick().trouble is None
        with held(url, *statements):
            ends = time.monotonic() + (60 if long_seconds else 0.5)
            while time.monotonic() < ends:
                assert "is locked" in waits(site.tick())
    site.restart()
    site.settle()


def test_a_role_that_may_only_read_and_a_server_that_lets_nobody_write(
    tmp_path: Path, new_database: Callable[..., str], postgres_server: PostgresServer
) -> None:
    url = new_database("postgresql")
    name = f"reader_{secrets.token_hex(4)}"
    database, role = sql.Identifier(str(make_url(url).database)), sql.Identifier(name)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(name)))
        try:
            admin.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(role))
            as_reader = make_url(url).set(username=name, password=name).render_as_string(hide_password=False)
            site = Site(tmp_path / "site", as_reader, url)
            words = waits(site.tick())
            assert "does not permit" in words
            assert name not in words
            admin.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(role))
            admin.execute(sql.SQL("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {}").format(role))
            postgres_server.run(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
            assert "is read-only" in waits(site.tick())
            postgres_server.run(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))
            site.settle()
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
            admin.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.mark.parametrize(("revision", "word"), [("0000", "older"), ("9999", "newer")])
def test_a_schema_that_changes_under_a_recorder_that_stays(
    tmp_path: Path, database_url: str, revision: str, word: str
) -> None:
    site = Site(tmp_path / "site", database_url)
    assert site.tick().trouble is None
    rows(database_url, f"UPDATE alembic_version SET version_num = '{revision}'")
    for _ in range(3):
        stored = site.tick()
        assert isinstance(stored.trouble, EtlError)
        # An older one of SQLite's is upgraded by itself, and this one is from a release that never was.
        assert word in str(stored.trouble) or (word == "older" and database_url.startswith("sqlite"))
        site.check()
    assert len(site.waiting) == 6
    rows(database_url, f"UPDATE alembic_version SET version_num = '{HEAD}'")
    site.settle()


# --- a file of SQLite's ---------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path, new_database: Callable[..., str]) -> Path:
    """A ready file of SQLite's, in a directory of its own."""
    (tmp_path / "database").mkdir()
    return Path(new_database("sqlite", name="database/balances.db").removeprefix("sqlite:///"))


@pytest.fixture
def site(tmp_path: Path, path: Path) -> Site:
    """A site with a few slots in it, of which the connection remembers pages."""
    made = Site(tmp_path / "site", f"sqlite:///{path}")
    for _ in range(12):
        assert made.tick().trouble is None
    return made


@pytest.mark.parametrize("process", ["the same", "a new one"])
def test_a_file_that_was_cut_off_anywhere_is_refused_whole(site: Site, path: Path, process: str, tally: Tally) -> None:
    whole = path.read_bytes()
    pages = range(4096, len(whole), 4096)
    for length in sorted({1, 15, 16, 99, 100, 512, 4095, len(whole) - 1, len(whole) - 512, *pages}):
        path.write_bytes(whole[:length])
        if process != "the same":
            site.restart()
        assert re.search("is damaged|no SQLite database", waits(site.tick())), length
        assert path.read_bytes() == whole[:length], "it is not made worse"
        tally("faults injected")
    path.write_bytes(whole)
    site.check()
    site.settle()


def test_a_file_of_zero_bytes_is_a_new_history_which_is_said(
    site: Site, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site.restart()  # it had accounts when it began
    before = site.known
    site.read()
    path.write_bytes(b"")
    site.lose(before)
    time.sleep(TOGETHER.total_seconds() + 0.1)  # what begins within that is no other history
    assert site.tick().trouble is None
    assert "a new history begins" in caplog.text
    site.settle()


@pytest.mark.parametrize("way", ["moved over it", "copied into it"])
@pytest.mark.parametrize("others", [0, 1, 5])
def test_an_older_backup_that_is_put_back_under_a_recorder_that_stays(
    tmp_path: Path, site: Site, path: Path, way: str, others: int
) -> None:
    """It gets back what it lacks. ``others`` slots are recorded by another host meanwhile, as many as it is older."""
    backup = path.read_bytes()
    for _ in range(others or 3):
        assert site.tick().trouble is None
    site.read()
    if way == "moved over it":
        (tmp_path / "backup").write_bytes(backup)
        (tmp_path / "backup").rename(path)
    else:
        path.write_bytes(backup)
    other = Site(tmp_path / "other", f"sqlite:///{path}")
    other.follow(site)
    for _ in range(others):
        assert other.tick().trouble is None
    site.follow(other)
    assert site.tick().trouble is None
    site.settle()


def test_an_older_backup_of_postgresql_that_is_put_back(
    tmp_path: Path, new_database: Callable[..., str], postgres_server: PostgresServer
) -> None:
    url = new_database("postgresql")
    name = sql.Identifier(str(make_url(url).database))
    backup = sql.Identifier(f"backup_{secrets.token_hex(4)}")
    site = Site(tmp_path / "site", url)
    assert site.tick().trouble is None
    postgres_server.run(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(backup, name))
    assert site.tick().trouble is None
    site.read()
    postgres_server.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    assert "does not exist" in waits(site.tick())
    postgres_server.run(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(backup, name))
    site.settle()


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """One that may fill up."""
    disk = SmallDisk(tmp_path / "small")
    yield disk
    disk.close()


def test_a_disk_of_the_database_that_is_full_after_any_number_of_pages(
    tmp_path: Path, small_disk: SmallDisk, tally: Tally
) -> None:
    url = f"sqlite:///{small_disk.directory / 'balances.db'}"
    migrate.upgrade(url)
    site = Site(tmp_path / "site", url)
    assert site.tick().trouble is None
    refused = 0
    for room in itertools.count(0, 4096):
        small_disk.leave(room)
        stored = site.tick()
        for _ in range(25):  # more than fit into a page
            site.check()
            if stored.trouble is None:
                stored = site.tick()
        small_disk.free()
        if stored.trouble is None:
            break
        assert re.search("disk is full|input or output error", waits(stored))
        tally("faults injected")
        refused += 1
    assert refused
    site.settle()


def test_a_full_disk_under_spool_and_database_costs_at_most_what_is_told_as_lost(small_disk: SmallDisk) -> None:
    url = f"sqlite:///{small_disk.directory / 'balances.db'}"
    migrate.upgrade(url)
    site = Site(small_disk.directory, url)
    assert site.tick().trouble is None
    for room in (0, 4096, 8192, 16384):
        small_disk.leave(room)
        stored = site.tick()
        small_disk.free()
        site.lose({(outcome.account, outcome.slot_at.timestamp()) for outcome in stored.lost})
        site.check()
    site.settle()


def test_a_disk_that_fills_up_loses_no_reading_that_the_reserve_has_room_for(small_disk: SmallDisk) -> None:
    url = f"sqlite:///{small_disk.directory / 'balances.db'}"
    migrate.upgrade(url)
    site = Site(small_disk.directory, url)
    assert site.tick().trouble is None
    reserve = next(small_disk.directory.rglob("reserve"))
    small_disk.leave(0)
    for _ in range(3):
        lost = site.tick().lost
        assert not lost or not small_disk.is_mounted, "a limit on the size of files is no full disk"
        site.lose({(outcome.account, outcome.slot_at.timestamp()) for outcome in lost})
        site.check()
    assert reserve.exists() != small_disk.is_mounted
    small_disk.free()
    site.settle()
    assert reserve.exists(), "the next emergency is provided for"
