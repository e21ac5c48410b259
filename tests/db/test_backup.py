"""A copy is of one moment, checked and private, whoever writes meanwhile; or there is none."""

import sqlite3
import stat
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from etl.db import backup, migrate
from etl.db.backup import back_up, pg_dump_command
from etl.errors import CannotCreate, DatabaseUnavailable, SettingsError
from tests.db.recorded import Recorded
from tests.reading import rows

# So many megabytes take the copy some steps.
MEGABYTES = 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with an account."""
    path = tmp_path / "balances.db"
    migrate.ensure(f"sqlite:///{path}")
    Recorded(f"sqlite:///{path}").account("precious")
    return path


def make_large(path: Path) -> None:
    """Pages that have to be copied before the last ones are."""
    with closing(sqlite3.connect(path, isolation_level=None)) as there:
        there.execute("PRAGMA synchronous = OFF")
        there.execute("CREATE TABLE padding (bytes BLOB)")
        there.execute("BEGIN")
        there.executemany("INSERT INTO padding VALUES (randomblob(?))", [(1 << 20,)] * MEGABYTES)
        there.execute("CREATE TABLE written (number INTEGER)")
        there.execute("CREATE TABLE written_too (number INTEGER)")
        there.execute("COMMIT")


class Writer(threading.Thread):
    """Writes the same number into a table at either end of a transaction, again and again; how long it waited most."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._path = path
        self.done = threading.Event()
        self.longest = 0.0
        self.count = 0

    def run(self) -> None:
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as there:
            while not self.done.is_set():
                began = time.monotonic()
                there.execute("BEGIN IMMEDIATE")
                there.execute("INSERT INTO written VALUES (?)", [self.count])
                there.execute("INSERT INTO written_too VALUES (?)", [self.count])
                there.execute("COMMIT")
                self.longest = max(self.longest, time.monotonic() - began)
                self.count += 1
                time.sleep(0.01)


def test_the_copy_is_whole_private_and_all_that_is_left(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copies" / "of today.db"
    target.parent.mkdir()
    told: list[int] = []
    back_up(f"sqlite:///{path}", target, advance=told.append)
    assert rows(f"sqlite:///{target}", "SELECT name FROM account") == [("precious",)]
    assert rows(f"sqlite:///{target}", "PRAGMA integrity_check") == [("ok",)]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]
    assert migrate.check(f"sqlite:///{target}") == ()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_the_copy_is_of_one_moment_and_comes_to_its_end_however_much_is_written(
    path: Path, tmp_path: Path, journal: str
) -> None:
    make_large(path)
    rows(f"sqlite:///{path}", f"PRAGMA journal_mode = {journal}")
    writer = Writer(path)
    writer.start()
    told: list[int] = []
    back_up(f"sqlite:///{path}", tmp_path / "copy.db", advance=told.append)
    before = writer.count
    writer.done.set()
    writer.join()
    copy = f"sqlite:///{tmp_path}/copy.db"
    [(first,), (second,)] = rows(copy, "SELECT count(*) FROM written UNION ALL SELECT count(*) FROM written_too")
    assert first == second <= before + 1
    assert rows(copy, "PRAGMA integrity_check") == [("ok",)]
    assert before > 1, "nothing was written meanwhile"
    assert writer.longest < 8, "a writer of ours would have given up"
    assert MEGABYTES <= sum(told) <= MEGABYTES + 2
    if journal == "delete":
        assert min(told) < 0, "the copy never had to begin anew"


def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("somebody's")
    with pytest.raises(CannotCreate, match="--force"):
        back_up(f"sqlite:///{path}", target)
    assert target.read_text() == "somebody's"
    back_up(f"sqlite:///{path}", target, overwrite=True)
    assert rows(f"sqlite:///{target}", "SELECT name FROM account") == [("precious",)]


def test_the_database_is_never_its_own_copy(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    for target in (path, tmp_path / "link.db"):
        with pytest.raises(CannotCreate, match="the database itself"):
            back_up(f"sqlite:///{path}", target, overwrite=True)
    with pytest.raises(CannotCreate, match="is a directory"):
        back_up(f"sqlite:///{path}", tmp_path)
    assert rows(f"sqlite:///{path}", "SELECT name FROM account") == [("precious",)]


def test_of_nothing_there_is_no_copy(tmp_path: Path) -> None:
    """A database_url with a slip of the pen must not make empty backups for years."""
    target = tmp_path / "copy.db"
    with pytest.raises(SettingsError, match="no database"):
        back_up(f"sqlite:///{tmp_path}/none.db", target)
    (tmp_path / "empty.db").touch()
    with pytest.raises(SettingsError, match="no database"):
        back_up(f"sqlite:///{tmp_path}/empty.db", target)
    rows(f"sqlite:///{tmp_path}/bare.db", "PRAGMA user_version = 1")
    with pytest.raises(SettingsError, match="no tables"):
        back_up(f"sqlite:///{tmp_path}/bare.db", target)
    assert not (tmp_path / "none.db").exists()
    assert not list(tmp_path.glob("copy*"))


def test_of_a_damaged_database_there_is_no_copy(path: Path, tmp_path: Path) -> None:
    make_large(path)
    whole = path.read_bytes()
    overwritten = bytearray(whole)
    [(root,)] = rows(f"sqlite:///{path}", "SELECT rootpage FROM sqlite_master WHERE name = 'snapshot'")
    overwritten[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    for content in (bytes(overwritten), whole[:-100], whole[: len(whole) // 2], b"no database at all" * 1000):
        path.write_bytes(content)
        with pytest.raises(DatabaseUnavailable, match=r"is damaged|is no SQLite"):
            back_up(f"sqlite:///{path}", tmp_path / "copy.db")
        assert not list(tmp_path.glob("copy*"))


def test_a_database_that_stays_locked_is_told(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "LOCK_SECONDS", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseUnavailable, match="is locked"):
            back_up(f"sqlite:///{path}", tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))


def test_postgresql_is_left_to_pg_dump(tmp_path: Path) -> None:
    url = "postgresql://somebody:hunter22@db.example:5433/balances?sslmode=require"
    with pytest.raises(SettingsError, match="pg_dump"):
        back_up(url, tmp_path / "copy.db")
    said = pg_dump_command(url, Path("of today.dump"))
    assert "hunter22" not in said
    assert said == (
        "pg_dump --format=custom '--file=of today.dump'"
        " 'postgresql://somebody@db.example:5433/balances?sslmode=require'"
    )
