"""``init``: a private file to fill in, never over another, and a database where it is SQLite."""

import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.sandbox.server import SandboxServer
from tests.cli.confined import confined
from tests.cli.program import Program

NOWHERE = "postgresql://somebody:hunter22@127.0.0.1:1/balances"


@pytest.fixture
def newcomer(program: Program) -> Program:
    """Somebody who has set nothing."""
    program.environ = {name: value for name, value in program.environ.items() if not name.startswith("BINGX_")}
    return program


def mode(path: Path) -> int:
    """Who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


def fill_in(path: Path, server: SandboxServer, home: Path) -> None:
    """What a newcomer does with the file: take away some #."""
    account = server.exchange.account("main")
    for name, secret in (("main.key", account.api_key), ("main.secret", account.api_secret)):
        (home / name).write_text(secret + "\n")
        (home / name).chmod(0o600)
    text = path.read_text()
    for old, new in (
        ('# interval = "5m"', 'interval = "1d"'),
        ('# base_url = "https://open-api.bingx.com"', f'base_url = "{server.url}"'),
        ("# [accounts.main]", "[accounts.main]"),
        ('# api_key_file = "/absolute/path/main.key"', f'api_key_file = "{home}/main.key"'),
        ('# api_secret_file = "/absolute/path/main.secret"', f'api_secret_file = "{home}/main.secret"'),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def test_the_file_it_writes_is_private_and_the_next_commands_go_by_it(newcomer: Program, server: SandboxServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "etl", "init"],
        env=newcomer.environ,
        capture_output=True,
        text=True,
        cwd=newcomer.home,
        umask=0,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.is_relative_to(newcomer.home)
    assert tomllib.loads(path.read_text()) == {}
    [database] = newcomer.home.rglob("balances.db")
    assert str(database) in done.stderr
    private = (path, database, database.parent, database.parent / "spool", database.parent / "quarantine")
    assert [mode(each) for each in private] == [0o600, 0o600, 0o700, 0o700, 0o700]

    empty = newcomer.run("snapshot")
    assert (empty.code, empty.out) == (78, "")
    assert "no account" in empty.err
    fill_in(path, server, newcomer.home)
    ran = newcomer.run("snapshot", "--json")
    assert ran.code == 0, ran.err
    assert ran.lines[0]["stored"] is True
    newcomer.database_url = f"sqlite:///{database}"
    assert newcomer.rows("SELECT interval_seconds FROM schedule") == [(86_400,)]


def test_what_is_there_already_stays_as_it_is(newcomer: Program) -> None:
    path = newcomer.home / "mine.toml"
    path.write_text('interval = "1h"\n')
    ran = newcomer.run("init", "--config", str(path))
    assert ran.code == 0
    assert "stays as it is" in ran.err
    assert path.read_text() == 'interval = "1h"\n'


@pytest.mark.parametrize("how", ["option", "option before the command", "variable"])
def test_it_goes_where_it_is_told_and_the_commands_find_it_there(newcomer: Program, how: str) -> None:
    path = newcomer.home / "deep" / "er" / "mine.toml"
    if how == "variable":
        newcomer.environ["BINGX_ETL_CONFIG"] = str(path)
    arguments = {
        "option": ("init", "--config", str(path)),
        "option before the command": ("--config", str(path), "init"),
        "variable": ("init",),
    }[how]
    ran = newcomer.run(*arguments)
    assert (ran.code, ran.out) == (0, f"{path}\n"), ran.err
    assert mode(path) == 0o600
    path.write_text('interval = "1d"\n')
    ran = newcomer.run("status", "--json", *(() if how == "variable" else ("--config", str(path))))
    assert ran.code == 0, ran.err
    assert ran.lines[0]["next_slot_at"].endswith("T00:00:00Z")


def test_a_postgresql_is_not_even_asked(newcomer: Program, new_database: Callable[..., str]) -> None:
    ran = newcomer.run("init", BINGX_ETL_DATABASE_URL=NOWHERE)
    assert ran.code == 0, ran.err
    assert "bingx-etl db upgrade" in ran.err
    assert "hunter22" not in ran.err
    newcomer.database_url = new_database("postgresql", migrated=False)
    assert newcomer.run("init", BINGX_ETL_DATABASE_URL=newcomer.database_url).code == 0
    assert newcomer.rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    assert not list(newcomer.home.rglob("*.db"))


def test_where_it_cannot_write_it_says_so(newcomer: Program) -> None:
    (newcomer.home / "file").write_text("in the way")
    ran = newcomer.run("init", "--config", str(newcomer.home / "file" / "mine.toml"))
    assert (ran.code, ran.out) == (73, "")
    assert "--config names another place" in ran.err
    locked = newcomer.home / "locked"
    locked.mkdir(mode=0o500)
    for path in (locked / "mine.toml", locked / "deep" / "mine.toml"):
        ran = confined(newcomer, "init", "--config", str(path))
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (73, "", 1)
        assert str(path.parent) in ran.err
        assert "--config names another place" in ran.err
    assert not list(locked.iterdir())
