"""The way back: an older backup in the place of the database, and the next slot puts back what that lacks."""

import secrets
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import make_url

from etl.sandbox.rules import BALANCES
from tests.cli.program import Program, eventually, unix
from tests.postgres import PostgresServer

ROWS = (
    "SELECT a.name, s.slot_at, s.taken_at, s.requested_at, s.status, s.total_usdt, p.body"
    " FROM snapshot s JOIN account a ON a.id = s.account_id JOIN payload p ON p.snapshot_id = s.id ORDER BY 1, 2"
)
FAILURES = "SELECT account_id, slot_at, reason, detail, first_at FROM failure ORDER BY 2"
RECORDED_AT = "SELECT slot_at, recorded_at FROM snapshot ORDER BY 1"


class Backups:
    """Takes a backup of the program's database, and puts it back, as their owners do with either kind."""

    def __init__(self, program: Program, server: Callable[[], PostgresServer], made: ExitStack) -> None:
        self._program = program
        self._server = server
        self._made = made
        self._copy = program.home / "backup.db"
        self._name = f"backup_{secrets.token_hex(4)}"

    @property
    def _database(self) -> str:
        return str(make_url(self._program.database_url).database)

    def take(self) -> None:
        """A backup of now."""
        if self._program.database_url.startswith("sqlite"):
            ran = self._program.run("db", "backup", str(self._copy))
            assert ran.code == 0, ran
            return
        self._copy_database(self._database, self._name)
        self._made.callback(self._run, "DROP DATABASE IF EXISTS {}", self._name)

    def put_back(self, *, by_restore: bool = False) -> None:
        """In one step, whoever records: SQLite's file moved there, or written over by its ``.restore``."""
        if by_restore and self._program.database_url.startswith("sqlite"):
            with closing(sqlite3.connect(self._copy)) as source, closing(sqlite3.connect(self._database)) as there:
                source.backup(there)
        elif self._program.database_url.startswith("sqlite"):
            shutil.copy(self._copy, self._copy.with_name("restored.db"))
            self._copy.with_name("restored.db").replace(self._database)
        else:
            self._run("ALTER DATABASE {} ALLOW_CONNECTIONS false", self._database)
            self._end_sessions(self._database)
            self._run("ALTER DATABASE {} RENAME TO {}", self._database, f"{self._name}_old")
            self._made.callback(self._run, "DROP DATABASE {} WITH (FORCE)", f"{self._name}_old")
            self._run("ALTER DATABASE {} RENAME TO {}", self._name, self._database)

    def _copy_database(self, source: str, target: str) -> None:
        self._run("ALTER DATABASE {} ALLOW_CONNECTIONS false", source)
        self._end_sessions(source)
        self._run("CREATE DATABASE {} TEMPLATE {}", target, source)
        for name in (source, target):
            self._run("ALTER DATABASE {} ALLOW_CONNECTIONS true", name)

    def _end_sessions(self, name: str) -> None:
        self._server().run(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(
                sql.Literal(name)
            )
        )

    def _run(self, statement: str, *names: str) -> None:
        self._server().run(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture
def backups(anywhere: Program, request: pytest.FixtureRequest) -> Iterator[Backups]:
    """Of the program's database, of either kind, in slots of a second."""
    anywhere.environ["BINGX_ETL_INTERVAL"] = "1s"
    with ExitStack() as made:
        yield Backups(anywhere, lambda: request.getfixturevalue("postgres_server"), made)


def told(program: Program, until: float) -> list[list[tuple[Any, ...]]]:
    """What the history says of the slots up to one."""
    found = [program.rows(ROWS), program.rows(FAILURES)]
    return [[row for row in each if unix(row[1]) <= until] for each in found]


def in_new_slot(program: Program, *arguments: str) -> None:
    """A one-shot in a slot of its own."""
    time.sleep(1.02 - time.time() % 1)
    ran = program.run("snapshot", *arguments)
    assert ran.code in (0, 69), ran


def test_a_one_shot_finds_an_older_backup_and_puts_back_what_it_lacks(
    anywhere: Program, backups: Backups, dialect: str
) -> None:
    """Whichever it is, with something to load or without."""
    in_new_slot(anywhere)
    backups.take()
    in_new_slot(anywhere)
    anywhere.exchange.faults.add("status", path=BALANCES, status=503, times=1)
    in_new_slot(anywhere)
    in_new_slot(anywhere)
    [(number,)] = anywhere.rows("SELECT max(id) FROM snapshot")
    assert anywhere.run("void", str(number), "--reason", "wrong").code == 0
    last = anywhere.recorded()[-1]
    wanted, before = told(anywhere, last), dict(anywhere.rows(RECORDED_AT))
    backups.put_back()
    if dialect == "sqlite":
        ran = anywhere.run("spool", "load")
        assert ran.code == 0
        assert "is older than what was stored" in ran.err
        assert "void, accept, rename and retire" in ran.err
    else:
        in_new_slot(anywhere)
        assert len(anywhere.recorded()) == len(wanted[0]) + 1
    assert told(anywhere, last) == wanted
    after = dict(anywhere.rows(RECORDED_AT))
    assert [slot for slot in before if before[slot] == after[slot]] == [min(before)], "recorded_at tells of the refill"
    in_new_slot(anywhere)
    assert told(anywhere, last) == wanted


def test_a_daemon_that_goes_on_puts_back_what_an_older_backup_lacks(anywhere: Program, backups: Backups) -> None:
    with anywhere.daemon() as daemon:
        eventually(lambda: len(anywhere.recorded()) >= 2)
        backups.take()
        eventually(lambda: len(anywhere.recorded()) >= 5)
        last = anywhere.recorded()[-1]
        wanted = told(anywhere, last)
        backups.put_back(by_restore=True)
        eventually(lambda: anywhere.recorded()[-1] > last + 1)
        assert told(anywhere, last) == wanted
        daemon.send(signal.SIGKILL)
        daemon.code()
    assert anywhere.run("db", "check").code == 0


def test_a_daemon_that_was_killed_puts_it_back_when_it_is_started_again(anywhere: Program, backups: Backups) -> None:
    with anywhere.daemon() as daemon:
        eventually(lambda: len(anywhere.recorded()) >= 2)
        backups.take()
        eventually(lambda: len(anywhere.recorded()) >= 4)
        daemon.send(signal.SIGKILL)
        daemon.code()
    last = anywhere.recorded()[-1]
    wanted = told(anywhere, last)
    backups.put_back()
    time.sleep(1.02 - time.time() % 1)  # one that begins in the last slot has its own to say of that
    with anywhere.daemon() as daemon:
        eventually(lambda: anywhere.recorded()[-1] > last)
        assert told(anywhere, last) == wanted
        assert daemon.stop() == 128 + signal.SIGTERM


def test_nothing_is_kept_where_that_is_not_wanted_and_readings_alone_where_it_is(program: Program) -> None:
    assert program.run("snapshot").code == 0
    [segment] = (program.state / "stored").iterdir()
    assert segment.stat().st_mode & 0o777 == 0o600
    assert all(secret not in segment.read_text() for secret in (a.api_key for a in program.exchange.accounts))
    ran = program.run("spool", "list")
    assert "is kept as well" in ran.err
    program.environ["BINGX_ETL_KEEP_STORED"] = "0s"
    program.environ["BINGX_ETL_INTERVAL"] = "1s"
    (program.state / "balances.db").unlink()
    assert program.run("snapshot").code == 0
    assert list((program.state / "stored").iterdir()) == []
    assert "kept" not in program.run("spool", "list").err


def test_a_new_database_is_not_filled_with_what_was_stored_in_another(program: Program, tmp_path: Path) -> None:
    program.environ["BINGX_ETL_INTERVAL"] = "1s"
    in_new_slot(program)
    program.environ["BINGX_ETL_DATABASE_URL"] = program.database_url = f"sqlite:///{tmp_path}/new.db"
    for _ in range(2):
        in_new_slot(program)
    assert len(program.recorded()) == 2


def test_where_nothing_was_ever_stored_no_database_is_asked(program: Program) -> None:
    assert program.run("spool", "load").code == 0
    assert not program.state.exists()
