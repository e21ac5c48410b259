"""``db copy``: moving house, with the program as it is."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.cli.program import Program
from tests.cli.test_export import record
from tests.db.test_copying import hostile, many
from tests.reading import rows

ACROSS = [("sqlite", "postgresql"), ("postgresql", "sqlite")]


@pytest.fixture(params=ACROSS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The dialects of source and target."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def moving(program: Program, pair: tuple[str, str], new_database: Callable[..., str]) -> Program:
    """The program with a database of either kind."""
    program.environ["BINGX_ETL_DATABASE_URL"] = program.database_url = new_database(pair[0])
    return program


@pytest.fixture
def target(pair: tuple[str, str], new_database: Callable[..., str]) -> str:
    """One of the other kind, without anything."""
    return new_database(pair[1], migrated=False, name="new.db")


def files(program: Program) -> list[str]:
    """All beside the database of SQLite and its copy."""
    return sorted(path.name for path in program.home.parent.iterdir() if path.is_file())


def test_a_move_and_recording_goes_on_where_it_was(moving: Program, target: str) -> None:
    assert moving.run("snapshot").code == 0
    record(moving, 0, 1, 5, account="other")
    assert moving.run("void", "2", "--reason", "wrong").code == 0
    ran = moving.run("db", "copy", "--to", target)
    assert ran.code == 0, ran.err
    table = [line.split() for line in ran.out.splitlines()]
    assert table[0] == [
        *("account", "month", "schedules", "snapshots", "balances", "failures", "payloads", "annotations", "checksum")
    ]
    assert ["other", "2026-01", "0", "3", "6", "0", "3", "1"] in [line[:8] for line in table]
    name = str(make_url(target).database)
    assert ran.err.startswith(f"copied to {name}"), ran.err
    assert "4 snapshots" in ran.err
    assert len(ran.err.splitlines()) == 1
    again = moving.run("db", "copy", "--to", target, "--format", "json")
    assert again.code == 0
    assert "exactly this history already" in again.err
    months = json.loads(again.out)
    assert [row["checksum"] for row in months] == [line[-1] for line in table[1:]]
    assert sum(row["snapshots"] for row in months) == 4
    exported = moving.run("export", "--voided").out

    moving.environ["BINGX_ETL_DATABASE_URL"] = target
    assert moving.run("export", "--voided").out == exported
    ran = moving.run("snapshot", "--json")
    assert (ran.code, ran.lines[0]["stored"], ran.lines[0].get("duplicate")) == (0, True, True), (
        "the slot has its snapshot"
    )
    record(moving, 1, 7, account="other")
    assert rows(target, "SELECT count(*) FROM snapshot") == [(5,)]
    assert moving.spooled() == []


def test_moving_to_postgresql_without_a_gap(program: Program, new_database: Callable[..., str]) -> None:
    """As the README has it: the recorder is pointed at the new database first, and what it reads waits."""
    target = new_database("postgresql", migrated=False)
    record(program, 0, 1, account="other")
    ran = program.run("snapshot", BINGX_ETL_DATABASE_URL=target)
    assert (ran.code, len(program.spooled())) == (75, 1)
    assert program.run("db", "copy", "--to", target).code == 0
    assert program.run("spool", "load", BINGX_ETL_DATABASE_URL=target).code == 0
    assert rows(target, "SELECT count(*) FROM snapshot") == [(3,)]
    assert program.spooled() == []


def test_a_history_of_others_is_refused_in_a_line(program: Program, new_database: Callable[..., str]) -> None:
    hostile(new_database("sqlite", name="other.db"))
    program.environ["BINGX_ETL_DATABASE_URL"] = new_database("sqlite")
    ran = program.run("db", "copy", "--to", new_database("sqlite", name="other.db"))
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1)
    assert "another history (15 snapshots of a.b_C, main, re-opened)" in ran.err
    assert "earlier copy" in ran.err


def test_where_to_may_stand_in_a_private_file(
    program: Program, tmp_path: Path, new_database: Callable[..., str]
) -> None:
    program.environ["BINGX_ETL_DATABASE_URL"] = hostile(new_database("sqlite")).url
    file = tmp_path / "to"
    file.write_text(f"sqlite:///{tmp_path}/new.db\n")
    ran = program.run("db", "copy", "--to-file", str(file))
    assert (ran.code, len(ran.err.splitlines())) == (78, 1)
    assert f"chmod 600 {file}" in ran.err
    file.chmod(0o600)
    assert program.run("db", "copy", "--to-file", str(file)).code == 0
    assert rows(f"sqlite:///{tmp_path}/new.db", "SELECT count(*) FROM snapshot") == [(15,)]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ((), 2, "--to URL"),
        (("--to", "sqlite:////x", "--to-file", "y"), 2, "--to URL"),
        (("--to", "mysql://somebody:hunter22@localhost/x"), 2, "postgresql://user@host/database"),
        (("--to", "hunter22"), 2, "postgresql://user@host/database"),
        (("--to", "postgresql://somebody:hunter22@127.0.0.1:1/x"), 75, "127.0.0.1:1"),
        (("--to", "sqlite:////none/such/directory/new.db"), 78, "/none/such/directory"),
    ],
)
def test_what_cannot_be_is_told_without_the_password(
    program: Program, new_database: Callable[..., str], arguments: tuple[str, ...], code: int, word: str
) -> None:
    program.environ["BINGX_ETL_DATABASE_URL"] = new_database("sqlite")
    ran = program.run("db", "copy", *arguments)
    assert (ran.code, ran.out) == (code, ""), ran
    assert word in ran.err
    assert "hunter22" not in ran.err
    assert "Traceback" not in ran.err


def test_a_full_disk_is_told_and_leaves_nothing(moving: Program, target: str, pair: tuple[str, str]) -> None:
    """Of SQLite's, on either side: as source it is copied first."""
    many(moving.database_url, 3_000)
    before = files(moving)

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    done = subprocess.run(
        [sys.executable, "-m", "etl", "db", "copy", "--to", target],
        env=moving.environ,
        capture_output=True,
        text=True,
        cwd=moving.home,
        preexec_fn=little_room,
        check=False,
        timeout=60,
    )
    assert done.returncode == (74 if pair[0] == "sqlite" else 75), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert files(moving) == before
