"""Transactions on real databases, and what becomes of them when something is wrong with the database."""

import gc
import secrets
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import insert, make_url, text

from etl.db import migrate
from etl.db.engine import Database, is_sqlite, open_engine
from etl.db.schema import account
from etl.errors import DatabaseUnavailable, EtlError, RecordRefused, SchemaNotAtHead, SettingsError
from tests.db.recorded import START, Recorded

READY = b"Z\0\0\0\5I"  # ReadyForQuery
ACCOUNT = {"name": "main", "environment": "live", "created_at": START}


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM account")).scalar_one())


def test_a_transaction_commits_at_its_end(database_url: str) -> None:
    database = open_engine(database_url)
    with database.write() as connection:
        connection.execute(insert(account).values(ACCOUNT))
    assert count(database) == 1


def test_a_transaction_that_raises_leaves_nothing(database_url: str) -> None:
    database = open_engine(database_url)
    with pytest.raises(ZeroDivisionError), database.write() as connection:  # noqa: PT012 - it must do something first
        connection.execute(insert(account).values(ACCOUNT))
        raise ZeroDivisionError
    assert count(database) == 0


def test_a_reading_transaction_cannot_write(database_url: str) -> None:
    database = open_engine(database_url)
    with pytest.raises(DatabaseUnavailable), database.read() as connection:
        connection.execute(insert(account).values(ACCOUNT))
    assert count(database) == 0


@pytest.mark.parametrize(
    ("url", "expected"), [("sqlite:////tmp/x.db", True), ("postgresql://h/d", False), ("postgres://h/d", False)]
)
def test_it_is_told_whether_a_url_is_sqlite(url: str, expected: bool) -> None:
    assert is_sqlite(url) is expected


def test_what_a_constraint_refuses_is_a_record_to_set_aside_and_no_value_is_quoted(database_url: str) -> None:
    recorded = Recorded(database_url)
    recorded.account()
    for values in (
        {"account_id": 1, "status": "hunter2"},
        {"account_id": 2},
        {"account_id": 1, "attempts": -1},
        {"account_id": 1, "status": "partial"},
        {"account_id": 1, "requested_at": None},
    ):
        with pytest.raises(RecordRefused) as caught:
            recorded.snapshot("01-01 00:00", "98765.4321", **values)
        shown = f"{caught.value!r} {caught.value.__cause__!r}"
        assert "hunter2" not in shown
        assert "98765" not in shown
        assert caught.value.__suppress_context__


def test_a_number_too_large_for_its_column_is_a_record_to_set_aside(database_url: str) -> None:
    recorded = Recorded(database_url)
    recorded.account()
    with pytest.raises(RecordRefused):
        recorded.snapshot("01-01 00:00", latency_ms=2**70)


def test_a_missing_table_is_a_schema_to_upgrade(database_url: str) -> None:
    with pytest.raises(SchemaNotAtHead, match="db upgrade"), open_engine(database_url).read() as connection:
        connection.execute(text("SELECT * FROM something_newer"))


def test_a_missing_column_is_a_schema_to_upgrade(database_url: str) -> None:
    with pytest.raises(SchemaNotAtHead, match="db upgrade"), open_engine(database_url).read() as connection:
        connection.execute(text("SELECT account.newer FROM account"))


# --- SQLite ---


@pytest.fixture
def path(tmp_path: Path) -> Path:
    migrate.ensure(f"sqlite:///{tmp_path}/balances.db")
    return tmp_path / "balances.db"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.db.engine.LOCK_SECONDS", 0.2)


def test_connections_are_set_so_that_nothing_is_lost(path: Path) -> None:
    with open_engine(f"sqlite:///{path}").write() as connection:
        told = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("foreign_keys", "synchronous", "journal_mode", "busy_timeout")
        }
    assert told == {"foreign_keys": 1, "synchronous": 3, "journal_mode": "delete", "busy_timeout": 10_000}


def test_a_file_that_is_not_there_is_not_made_by_asking_for_it(tmp_path: Path) -> None:
    with pytest.raises(SchemaNotAtHead, match="no database at"), open_engine(f"sqlite:///{tmp_path}/x.db").read():
        pass
    assert not list(tmp_path.iterdir())


def test_two_writers_take_turns_although_both_read_first(path: Path) -> None:
    database = open_engine(f"sqlite:///{path}")
    errors: list[EtlError] = []

    def write(name: str) -> None:
        try:
            with database.write() as connection:
                connection.execute(text("SELECT * FROM account")).all()
                time.sleep(0.1)
                connection.execute(insert(account).values({**ACCOUNT, "name": name}))
        except EtlError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, count(database)) == ([], 4)


def test_a_reader_does_not_wait_for_a_writer_that_has_not_committed(path: Path, impatient: None) -> None:
    database = open_engine(f"sqlite:///{path}")
    with database.write():
        assert count(database) == 0


def test_a_lock_that_is_held_too_long_is_told(path: Path, impatient: None) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(DatabaseUnavailable, match="another program is reading or writing"),
            open_engine(f"sqlite:///{path}").write(),
        ):
            pass


def test_a_damaged_file_is_told(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        count(open_engine(f"sqlite:///{path}"))


def test_something_else_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseUnavailable, match="no SQLite database"):
        count(open_engine(f"sqlite:///{tmp_path}/x.db"))


def test_a_full_disk_is_told(path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(DatabaseUnavailable, match="disk is full"),
        open_engine(f"sqlite:///{path}").write() as connection,
    ):
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite's own way of being out of space
        connection.execute(insert(account), [{**ACCOUNT, "name": f"{n:0200}"} for n in range(500)])


def test_a_path_is_no_uri(tmp_path: Path) -> None:
    odd = tmp_path / "a %41?mode=memory#b.db"
    url = make_url("sqlite://").set(database=str(odd))
    migrate.ensure(url.render_as_string())
    assert odd.exists()
    assert count(open_engine(url.render_as_string())) == 0


# --- PostgreSQL ---


@pytest.fixture
def server_url(new_database: Callable[..., str]) -> str:
    return new_database("postgresql")


def test_every_wait_has_a_limit(server_url: str) -> None:
    with open_engine(server_url, deadline_seconds=7).write() as connection:
        told = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("statement_timeout", "lock_timeout", "TimeZone", "jit", "application_name")
        }
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one() == "14s"
    assert told == {
        "statement_timeout": "7s",
        "lock_timeout": "10s",
        "TimeZone": "UTC",
        "jit": "off",
        "application_name": "bingx-etl",
    }


def test_a_server_that_is_down_is_told_without_the_password() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://me:hunter2@127.0.0.1:{nobody.getsockname()[1]}/balances"
        with pytest.raises(DatabaseUnavailable, match=r"balances at 127\.0\.0\.1") as caught, open_engine(url).read():
            pass
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__suppress_context__


def test_a_database_that_does_not_exist_is_told(server_url: str) -> None:
    url = make_url(server_url).set(database="none").render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnavailable, match="does not exist"), open_engine(url).read():
        pass


def test_a_role_that_does_not_exist_is_told(server_url: str) -> None:
    url = make_url(server_url).set(username="stranger").render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnavailable, match="refuses this user"), open_engine(url).read():
        pass


def test_an_option_that_does_not_exist_is_a_setting_to_mend(server_url: str) -> None:
    with pytest.raises(SettingsError, match="option"), open_engine(f"{server_url}?hunter2=1").read():
        pass


def test_what_the_role_may_not_do_is_told(server_url: str) -> None:
    name = f"reader_{secrets.token_hex(4)}"
    role = sql.Identifier(name)
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(name)))
        admin.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(role))
        url = make_url(server_url).set(username=name, password=name).render_as_string(hide_password=False)
        try:
            assert count(open_engine(url)) == 0
            with pytest.raises(DatabaseUnavailable, match="does not permit"), open_engine(url).write() as connection:
                connection.execute(insert(account).values(ACCOUNT))
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {}").format(role))
            admin.execute(sql.SQL("DROP ROLE {}").format(role))


def test_a_lock_on_postgresql_that_is_held_too_long_is_told(server_url: str, impatient: None) -> None:
    with psycopg.connect(server_url) as other:
        other.execute("LOCK TABLE account")
        with pytest.raises(DatabaseUnavailable, match="is locked"):
            count(open_engine(server_url))


def test_a_statement_that_takes_too_long_is_told(server_url: str) -> None:
    with (
        pytest.raises(DatabaseUnavailable, match=r"took too long|no answer"),
        open_engine(server_url, deadline_seconds=0.5).read() as connection,
    ):
        connection.exec_driver_sql("SELECT pg_sleep(20)")


def test_a_connection_that_is_ended_in_the_middle_is_told(server_url: str) -> None:
    with pytest.raises(DatabaseUnavailable), open_engine(server_url).write() as connection:  # noqa: PT012
        own = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", [own])
        connection.execute(insert(account).values(ACCOUNT))


class Proxy:
    """Between a client and PostgreSQL; passes on everything until it is told to go silent, then nothing, for ever."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._silent = threading.Event()
        self._until_ready = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def go_silent(self) -> None:
        self._silent.set()

    def go_silent_when_ready(self) -> None:
        """After the server has let the client in."""
        self._until_ready = True

    def close(self) -> None:
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self._there)
            self._open += [client, server]
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if not self._silent.is_set():
                    other.sendall(data)
                if self._until_ready and READY in data:
                    self._silent.set()
        except OSError:
            pass


@contextmanager
def proxied(url: str) -> Iterator[tuple[Proxy, str]]:
    address = make_url(url)
    proxy = Proxy(str(address.host), address.port or 5432)
    try:
        through = address.set(host="127.0.0.1", port=proxy.port, query={"sslmode": "disable"})
        yield proxy, through.render_as_string(hide_password=False)
    finally:
        proxy.close()


def test_a_peer_that_is_alive_but_silent_ends_at_the_deadline(server_url: str) -> None:
    with proxied(server_url) as (proxy, url):
        database = open_engine(url, deadline_seconds=1)
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="no answer within 1 s"), database.write() as connection:  # noqa: PT012
            connection.execute(insert(account).values(ACCOUNT))
            proxy.go_silent()
            connection.execute(text("SELECT 1"))
        assert 0.5 < time.monotonic() - began < 5


def test_a_commit_without_an_answer_ends_at_the_deadline(server_url: str) -> None:
    with proxied(server_url) as (proxy, url):
        database = open_engine(url, deadline_seconds=1)
        with pytest.raises(DatabaseUnavailable, match="no answer within 1 s"), database.write() as connection:  # noqa: PT012
            connection.execute(insert(account).values(ACCOUNT))
            proxy.go_silent()


def test_a_peer_that_is_silent_from_the_first_question_on_ends_at_the_deadline(server_url: str) -> None:
    with proxied(server_url) as (proxy, url):
        proxy.go_silent_when_ready()
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable), open_engine(url, deadline_seconds=1).read():
            pass
        assert 0.5 < time.monotonic() - began < 5


def test_a_peer_that_never_says_anything_ends_at_the_timeout_of_connecting(server_url: str) -> None:
    with proxied(server_url) as (proxy, url):
        proxy.go_silent()
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="reached"), open_engine(f"{url}&connect_timeout=2").read():
            pass
        assert time.monotonic() - began < 8


def test_a_transaction_in_time_leaves_no_deadline_behind(server_url: str) -> None:
    for _ in range(3):
        assert count(open_engine(server_url, deadline_seconds=60)) == 0
    for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
        timer.join(5)  # one that was cancelled needs a moment to notice
        assert not timer.is_alive()


def test_the_password_is_in_no_representation(server_url: str) -> None:
    database = open_engine("postgresql://me:hunter2@h/d?password=hunter3")
    shown = f"{database!r} {database.address!r} {vars(database)!r}"
    assert "hunter2" not in shown


def test_a_connection_that_is_kept_follows_the_file_at_its_path(path: Path, tmp_path: Path) -> None:
    database = open_engine(f"sqlite:///{path}", keep=True)
    backup = tmp_path / "backup.db"
    shutil.copy(path, backup)
    with database.write() as connection:
        connection.execute(insert(account).values(ACCOUNT))
    assert count(database) == 1
    backup.replace(path)  # somebody restores
    assert count(database) == 0
    with database.write() as connection:
        connection.execute(insert(account).values(ACCOUNT))
    with closing(sqlite3.connect(path)) as another:
        assert another.execute("SELECT count(*) FROM account").fetchone() == (1,)
    path.unlink()
    with pytest.raises(SchemaNotAtHead, match="no database at"), database.write():
        pass
    assert not path.exists()


@pytest.mark.parametrize("has_written", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_what_was_committed_into_a_file_that_is_not_there_any_more_is_not_said_to_be_stored(
    path: Path, tmp_path: Path, has_written: bool, keep: bool
) -> None:
    database = open_engine(f"sqlite:///{path}", keep=keep)
    backup = tmp_path / "backup.db"
    shutil.copy(path, backup)

    def store() -> None:
        with database.write() as connection:
            if backup.exists() and not has_written:
                backup.replace(path)
            connection.execute(insert(account).values(ACCOUNT))
            if backup.exists():
                backup.replace(path)

    with pytest.raises(DatabaseUnavailable, match="replaced at this very moment: run again"):
        store()
    assert count(database) == 0
    store()
    assert count(database) == 1


def test_a_connection_that_is_kept_is_one_for_all_threads_and_closed_with_its_database(path: Path) -> None:
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))
    database = open_engine(f"sqlite:///{path}", keep=True)
    for _ in range(3):
        thread = threading.Thread(target=count, args=(database,))
        thread.start()
        thread.join()
    assert len(list(descriptors.iterdir())) == before + 1
    del database
    gc.collect()
    assert len(list(descriptors.iterdir())) == before


def test_a_connection_that_is_kept_writes_after_it_has_read_and_lets_go_of_its_locks(path: Path) -> None:
    database = open_engine(f"sqlite:///{path}", keep=True)
    for number in range(3):
        assert count(database) == 2 * number
        with database.write() as connection:
            connection.execute(insert(account).values({**ACCOUNT, "name": f"a{number}"}))
        with closing(sqlite3.connect(path, timeout=0)) as another, another:
            another.execute(f"INSERT INTO account (name, environment, created_at) VALUES ('b{number}', 'live', '')")
    with pytest.raises(ZeroDivisionError), database.write() as connection:  # noqa: PT012
        connection.execute(insert(account).values({**ACCOUNT, "name": "x"}))
        raise ZeroDivisionError
    assert count(database) == 6
