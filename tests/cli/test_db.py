"""``db``, and alembic itself in a checkout: the schema on both databases."""

import subprocess
import sys
from pathlib import Path

import pytest

from etl.db.schema import HEAD
from tests.cli.program import ROOT, Program, Ran
from tests.reading import rows

NOWHERE = "postgresql://somebody:hunter22@127.0.0.1:1/balances"


@pytest.fixture
def empty(program: Program, empty_database_url: str) -> Program:
    """The program with a database of either kind that has no schema."""
    program.environ["BINGX_ETL_DATABASE_URL"] = program.database_url = empty_database_url
    return program


def alembic(program: Program, *arguments: str) -> Ran:
    """Alembic, in the checkout, with nothing set but the database."""
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        env={
            "PATH": program.environ["PATH"],
            "HOME": str(program.home),
            "BINGX_ETL_DATABASE_URL": program.database_url,
        },
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def one_line(ran: Ran, code: int, word: str) -> None:
    """One line on stderr that says it, and nothing else."""
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (code, "", 1), ran
    assert word in ran.err
    assert "hunter22" not in ran.err


def test_upgrade_makes_the_schema_and_current_and_check_know_it(empty: Program) -> None:
    ran = empty.run("db", "current")
    assert (ran.code, ran.out) == (0, "")
    assert "bingx-etl db upgrade" in ran.err
    ran = empty.run("db", "check")
    assert ran.code == 1
    assert "bingx-etl db upgrade" in ran.out
    for _ in range(2):
        ran = empty.run("db", "upgrade")
        assert (ran.code, ran.out) == (0, ""), ran.err
        assert HEAD in ran.err
    assert empty.run("db", "current").out == f"{HEAD}\n"
    ran = empty.run("db", "check")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_check_names_what_is_not_as_it_should_be(anywhere: Program) -> None:
    anywhere.rows("DROP VIEW equity" if anywhere.database_url.startswith("sqlite") else "DROP VIEW equity CASCADE")
    anywhere.rows("ALTER TABLE annotation ADD COLUMN of_mine INTEGER")
    ran = anywhere.run("db", "check")
    assert (ran.code, ran.err) == (1, "")
    assert "view equity" in ran.out
    assert "of_mine" in ran.out


def test_a_newer_schema_and_a_database_that_is_down_are_told_with_the_remedy(anywhere: Program) -> None:
    anywhere.rows("UPDATE alembic_version SET version_num = '9999'")
    one_line(anywhere.run("db", "upgrade"), 75, "upgrade bingx-etl")
    assert anywhere.run("db", "current").out == "9999\n"
    ran = anywhere.run("db", "check")
    assert ran.code == 1
    assert "newer" in ran.out
    one_line(anywhere.run("report"), 75, "upgrade bingx-etl")
    assert anywhere.rows("SELECT version_num FROM alembic_version") == [("9999",)]
    if anywhere.database_url.startswith("postgresql"):
        for command in ("upgrade", "current", "check"):
            one_line(anywhere.run("db", command, BINGX_ETL_DATABASE_URL=NOWHERE), 75, "127.0.0.1:1")


def test_the_schema_of_the_first_release_is_upgraded_as_ever(anywhere: Program) -> None:
    assert anywhere.run("snapshot").code == 0
    assert alembic(anywhere, "downgrade", "0001").code == 0
    if anywhere.database_url.startswith("postgresql"):
        one_line(anywhere.run("report"), 75, "bingx-etl db upgrade")
        assert anywhere.run("snapshot").code == 75
        assert anywhere.run("db", "current").out == "0001\n"
        assert anywhere.run("db", "upgrade").code == 0
        assert anywhere.run("spool", "load").code == 0
    else:
        assert anywhere.run("snapshot").code == 0
        database = Path(anywhere.database_url.removeprefix("sqlite:///"))
        [backup] = database.parent.glob(f"{database.name}.backup-*")
        assert backup.name.startswith(f"{database.name}.backup-0001-")
        assert rows(f"sqlite:///{backup}", "SELECT version_num FROM alembic_version") == [("0001",)]
    assert anywhere.run("db", "current").out == f"{HEAD}\n"
    assert anywhere.run("db", "check").code == 0
    assert anywhere.run("report").code == 0


def test_the_database_of_another_program_is_left_alone(empty: Program) -> None:
    empty.rows("CREATE TABLE account (id INTEGER)")
    one_line(empty.run("db", "upgrade"), 78, "another program")
    tables = (
        "SELECT name FROM sqlite_master"
        if empty.database_url.startswith("sqlite")
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    assert empty.rows(tables) == [("account",)]


def test_alembic_itself_works_in_a_checkout(empty: Program) -> None:
    upgraded = alembic(empty, "upgrade", "head")
    assert upgraded.code == 0, upgraded.err
    checked = alembic(empty, "check")
    assert checked.code == 0, checked.out + checked.err
    assert empty.run("snapshot").code == 0
    down = alembic(empty, "downgrade", "base")
    assert down.code == 0, down.err
    assert empty.run("db", "current").out == ""


def test_alembic_says_in_a_line_what_is_wrong_with_the_url(empty: Program) -> None:
    empty.database_url = "mysql://somebody:hunter22@localhost/balances"
    ran = alembic(empty, "upgrade", "head")
    assert ran.code != 0
    assert "Traceback" not in ran.err
    assert "hunter22" not in ran.err + ran.out
