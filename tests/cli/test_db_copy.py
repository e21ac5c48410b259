"""``db copy``: moving house, with the program as it is."""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.cli.program import Program, eventually
from tests.cli.test_export import record
from tests.db.test_copying import everything, many
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
    record(moving, 6, account="third", wallets={"spot": "1.10"})
    assert moving.run("void", "1", "--reason", "wrong").code == 0
    ran = moving.run("db", "copy", "--to", target, "--format", "json")
    assert ran.code == 0, ran.err
    name = str(make_url(target).database)
    assert ran.err.startswith(f"copied to {name}"), ran.err
    assert "5 snapshots" in ran.err
    assert len(ran.err.splitlines()) == 1
    months = json.loads(ran.out)
    assert {row["account"] for row in months} == {"main", "other", "third"}
    assert sum(row["snapshots"] for row in months) == 5
    told = {command: moving.run(*command.split()).out for command in ("export --voided", "gaps", "account list")}

    moving.environ["BINGX_ETL_DATABASE_URL"] = target
    assert {command: moving.run(*command.split()).out for command in told} == told
    ran = moving.run("snapshot", "--json")
    assert (ran.code, ran.lines[0]["stored"], ran.lines[0].get("duplicate")) == (0, True, True), (
        "the slot has its snapshot"
    )
    record(moving, 1, 7, account="other")
    assert rows(target, "SELECT count(*) FROM snapshot") == [(6,)]
    assert moving.run("db", "check").code == 0
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


def test_what_was_copied_is_told_as_a_table_and_as_csv(moving: Program, target: str) -> None:
    record(moving, 0, 1)
    ran = moving.run("db", "copy", "--to", target)
    assert ran.code == 0, ran.err
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == [
        *("account", "month", "schedules", "snapshots", "balances", "failures", "payloads", "annotations", "checksum")
    ]
    assert lines[2][:8] == ["main", "2026-01", "0", "2", "4", "0", "2", "0"]
    again = moving.run("db", "copy", "--to", target, "--format", "csv")
    assert again.code == 0
    assert "exactly this history already" in again.err
    assert again.out.splitlines()[2].split(",") == lines[2]


def test_a_history_of_others_is_refused_in_a_line(moving: Program, target: str) -> None:
    record(moving, 0)
    assert moving.run("db", "copy", "--to", target).code == 0
    before = everything(target)
    record(moving, 1)
    ran = moving.run("db", "copy", "--to", target)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1)
    assert "another history (1 snapshots of main)" in ran.err
    assert "earlier copy" in ran.err
    ran = moving.run("db", "copy", "--to", moving.database_url)
    assert (ran.code, len(ran.err.splitlines())) == (78, 1)
    assert everything(target) == before


def test_where_to_may_stand_in_a_private_file(program: Program, tmp_path: Path) -> None:
    record(program, 0)
    file = tmp_path / "to"
    file.write_text(f"sqlite:///{tmp_path}/new.db\n")
    ran = program.run("db", "copy", "--to-file", str(file))
    assert (ran.code, len(ran.err.splitlines())) == (78, 1)
    assert f"chmod 600 {file}" in ran.err
    file.chmod(0o600)
    assert program.run("db", "copy", "--to-file", str(file)).code == 0
    assert rows(f"sqlite:///{tmp_path}/new.db", "SELECT count(*) FROM snapshot") == [(1,)]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ((), 2, "--to URL"),
        (("--to", "sqlite:////x", "--to-file", "y"), 2, "--to URL"),
        (("--to", "mysql://somebody:hunter22@localhost/x"), 2, "postgresql://user@host/database"),
        (("--to", "hunter22"), 2, "postgresql://user@host/database"),
        (("--to", "sqlite://"), 2, "keeps nothing"),
        (("--to", "postgresql://somebody:hunter22@127.0.0.1:1/x"), 75, "127.0.0.1:1"),
        (("--to", "sqlite:////none/such/directory/new.db"), 78, "/none/such/directory"),
    ],
)
def test_what_cannot_be_is_told_without_the_password(
    program: Program, arguments: tuple[str, ...], code: int, word: str
) -> None:
    record(program, 0)
    ran = program.run("db", "copy", *arguments)
    assert (ran.code, ran.out) == (code, ""), ran
    assert word in ran.err
    assert "hunter22" not in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_copy_that_is_killed_leaves_nothing_that_looks_like_one(
    moving: Program, target: str, number: signal.Signals
) -> None:
    many(moving.database_url, 20_000)
    before = files(moving)
    with moving.start("db", "copy", "--to", target) as process:
        eventually(lambda: _has_begun(target) or process.poll() is not None)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130}[number], said
    if target.startswith("postgresql"):
        tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        assert eventually(lambda: rows(target, tables) == [(0,)])
    else:
        assert "new.db" not in files(moving)
    if number is signal.SIGINT:
        assert files(moving) == before
    ran = moving.run("db", "copy", "--to", target)
    assert ran.code == 0, ran.err
    assert set(files(moving)) <= {"balances.db", "new.db"}
    assert everything(target) == everything(moving.database_url)


def _has_begun(target: str) -> bool:
    """Whether rows have come into the target, which nobody else can see yet."""
    if target.startswith("postgresql"):
        begun = "SELECT 1 FROM pg_stat_progress_copy WHERE datname = current_database() AND tuples_processed > 5000"
        return bool(rows(target, begun))
    new = Path(target.removeprefix("sqlite:///"))
    return any(file.stat().st_size > 500_000 for file in new.parent.glob(f".{new.name}.*.copying"))


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
