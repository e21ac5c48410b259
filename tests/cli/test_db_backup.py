"""``db backup``: a copy of the history while it is being recorded, and the way back."""

import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.cli.confined import confined
from tests.cli.program import Program, Ran, eventually
from tests.postgres import PostgresServer
from tests.reading import rows

MEGABYTES = 60


def one_line(ran: Ran, code: int, word: str) -> None:
    """One line on stderr that says it, and nothing else."""
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (code, "", 1), ran
    assert word in ran.err


def test_a_backup_is_a_history_that_reports_as_before(program: Program) -> None:
    assert program.run("snapshot").code == 0
    copy = program.home / "copies" / "balances-2026-11-22.db"
    copy.parent.mkdir()
    one_line(program.run("db", "backup", str(copy)), 0, "checked")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert list(copy.parent.iterdir()) == [copy]
    there = {"BINGX_ETL_DATABASE_URL": f"sqlite:///{copy}"}
    assert program.run("export", **there).out == program.run("export").out != ""
    assert program.run("db", "check", **there).code == 0
    one_line(program.run("db", "backup", str(copy)), 73, "--force")
    one_line(program.run("db", "backup", str(copy), "--force"), 0, "checked")


def test_where_no_file_can_be_the_exit_code_says_so_and_nothing_is_left(program: Program) -> None:
    one_line(program.run("db", "backup", str(program.home / "copy.db")), 78, "no database")
    assert program.run("snapshot").code == 0
    closed = program.home / "closed"
    closed.mkdir(mode=0o500)
    one_line(confined(program, "db", "backup", str(closed / "copy.db")), 73, "Permission denied")
    one_line(program.run("db", "backup", str(program.home / "nowhere" / "copy.db")), 73, "No such file")
    one_line(program.run("db", "backup", str(closed)), 73, "is a directory")
    one_line(program.run("db", "backup", str(program.state / "balances.db"), "--force"), 73, "the database itself")
    assert not list(closed.iterdir())
    assert program.run("db", "backup").code == 2


def test_a_disk_that_fills_up_leaves_no_remains(program: Program) -> None:
    """A limit to the size of files refuses a write as a full disk does."""
    assert program.run("snapshot").code == 0
    directory = program.home / "small"
    directory.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f"ulimit -f 40; exec {sys.executable} -m etl db backup {directory}/copy.db"],
        env=program.environ,
        capture_output=True,
        text=True,
        cwd=program.home,
        check=False,
    )
    one_line(Ran(done.returncode, done.stdout, done.stderr), 74, "cannot be written")
    assert not list(directory.iterdir())


def test_no_slot_is_missed_while_copies_are_made(program: Program) -> None:
    program.environ["BINGX_ETL_INTERVAL"] = "1s"
    with program.daemon() as daemon:
        eventually(lambda: len(program.recorded()) >= 2)
        with closing(sqlite3.connect(program.state / "balances.db", timeout=30)) as there, there:
            there.execute("CREATE TABLE padding (bytes BLOB)")
            there.executemany("INSERT INTO padding VALUES (randomblob(?))", [(1 << 20,)] * MEGABYTES)
        began, copies = time.time(), 0
        while time.time() < began + 4:
            copies += 1
            ran = program.run("db", "backup", str(program.home / f"{copies}.db"))
            assert ran.code == 0, ran
        ended = time.time()
        eventually(lambda: program.recorded()[-1] > ended)
        assert daemon.stop() == 128 + signal.SIGTERM
        assert not daemon.at("ERROR")
    recorded = set(program.recorded())
    assert {float(slot) for slot in range(int(began) + 1, int(ended))} <= recorded, "a slot was missed"
    for number in range(1, copies + 1):
        (program.home / f"{number}.db").unlink()


def test_for_postgresql_the_command_to_type_is_said_without_the_password(program: Program) -> None:
    url = "postgresql://somebody:hunter22@127.0.0.1:1/balances"
    ran = program.run("db", "backup", "/backups/today.dump", BINGX_ETL_DATABASE_URL=url)
    one_line(ran, 2, "pg_dump --format=custom --file=/backups/today.dump postgresql://somebody@127.0.0.1:1/balances")
    assert "hunter22" not in ran.err
    ran = program.run("db", "backup", "/backups/today.dump", BINGX_ETL_DATABASE_URL="postgresql:///balances")
    one_line(ran, 2, "pg_dump --format=custom --file=/backups/today.dump postgresql:///balances")


@contextmanager
def restored(server: PostgresServer, dump: Path, binaries: Path) -> Iterator[str]:
    """A database of its own from a dump, as the README says."""
    with server.database() as url:
        command = [str(binaries / "pg_restore"), "--exit-on-error", f"--dbname={url}", str(dump)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield url


def test_what_pg_dump_writes_pg_restore_brings_back(
    tmp_path: Path, program: Program, postgres_server: PostgresServer, postgres_template: str
) -> None:
    binaries = postgres_server.binaries or Path(shutil.which("pg_dump") or "/none").parent
    if not (binaries / "pg_dump").exists():
        pytest.skip("pg_dump is not installed")
    with postgres_server.database(postgres_template) as url:
        program.environ["BINGX_ETL_DATABASE_URL"] = program.database_url = url
        assert program.run("snapshot").code == 0
        dump = tmp_path / "balances.dump"
        said = program.run("db", "backup", str(dump)).err.partition("pg_dump ")[2].split()
        plain = make_url(url).render_as_string(hide_password=False)
        assert said == ["--format=custom", f"--file={dump}", plain]
        subprocess.run([binaries / "pg_dump", *said], check=True)
        with restored(postgres_server, dump, binaries) as there:
            program.environ["BINGX_ETL_DATABASE_URL"] = there
            checked = program.run("db", "check")
            assert checked.code == 0, checked
            assert rows(there, "SELECT count(*) FROM payload") == [(1,)]
            assert program.run("snapshot").code == 0
