"""The program as a whole: help, version, and what starting it costs."""

import subprocess
import sys

import click
import pytest

from etl.cli import COMMANDS, cli
from etl.config.settings import SETTINGS
from tests.cli.program import Program

HEAVY = ("alembic", "apscheduler", "mako", "psycopg", "requests", "rich", "sqlalchemy", "sqlite3", "urllib3")


def all_commands() -> list[tuple[str, ...]]:
    """Every command, groups and their commands both, as arguments."""
    found: list[tuple[str, ...]] = [()]
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, each) for each in command.commands]
    return found


@pytest.mark.parametrize("arguments", all_commands(), ids=" ".join)
def test_help_teaches_and_loads_no_library_for_it(program: Program, arguments: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom etl.cli import invoke\n"
        f"code = invoke({[*arguments, '--help']!r})\n"
        f"loaded = set({HEAVY!r}) & set(sys.modules)\n"
        "sys.exit(f'loaded {loaded}' if loaded else code)"
    )
    environ = {**program.environ, "BINGX_ETL_INTERVAL": "wrong", "BINGX_ETL_CONFIG": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(" ".join(["Usage: bingx-etl", *arguments]))
    assert "--config" in done.stdout
    assert len(done.stdout.splitlines()) > 8
    assert not program.state.exists()


def test_the_first_help_names_commands_settings_and_exit_codes(program: Program) -> None:
    ran = program.run("--help")
    assert (ran.code, ran.err) == (0, "")
    for word in (*COMMANDS, *(setting.name for setting in SETTINGS), "77 key refused", "BINGX_API_KEY", "demo"):
        assert word in ran.out
    assert "..." not in ran.out.partition("Commands:")[2], "a summary that is cut off teaches nothing"


def test_the_version_is_told_whether_installed_or_not(program: Program) -> None:
    ran = program.run("--version")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("bingx-etl")


def test_without_a_command_it_shows_the_help_on_stderr(program: Program) -> None:
    ran = program.run()
    assert (ran.code, ran.out) == (2, "")
    assert "First steps" in ran.err
