"""``health``: exit 0 while the last snapshot of every account is young enough, and words where one is not."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.bingx.servers import RawServer
from tests.cli.confined import confined
from tests.cli.program import ROOT, Program
from tests.db.recorded import Recorded

HEAVY = ("alembic", "apscheduler", "mako", "msgspec", "platformdirs", "requests", "rich", "sqlalchemy", "urllib3")
FIVE = {"BINGX_ETL_INTERVAL": "5m"}


def ago(seconds: float) -> datetime:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).replace(microsecond=0)


def by_the_command(program: Program) -> Path:
    """A config file, with which, named before the command, the quick way is not gone."""
    file = program.home / "empty.toml"
    file.touch(mode=0o600)
    return file


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "whole"])
def test_it_is_healthy_while_every_last_snapshot_is_younger_than_that(anywhere: Program, quick: bool) -> None:
    command = ["health"] if quick else ["--config", str(by_the_command(anywhere)), "health"]
    history = Recorded(anywhere.database_url)
    main, second = history.account("main"), history.account("second")
    history.snapshot(ago(1000), of=main)
    history.snapshot(ago(880), of=main)
    history.snapshot(ago(100), of=second)
    ran = anywhere.run(*command, **FIVE)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    ran = anywhere.run(*command, "--max-age", "14m", **FIVE)
    assert (ran.code, ran.err) == (1, "")
    [line] = ran.out.splitlines()
    assert line.startswith("main: its last snapshot, of ")
    assert "s old, and must be younger than 840 s" in line
    ran = anywhere.run(*command, "--max-age=14m", "--json", **FIVE)
    assert ran.code == 1
    [whole] = ran.lines
    assert (whole["healthy"], whole["max_age_seconds"]) == (False, 840)
    assert [(each["account"], each["healthy"]) for each in whole["accounts"]] == [("main", False), ("second", True)]
    assert 880 <= whole["accounts"][0]["age_seconds"] <= 900
    assert anywhere.run(*command, BINGX_ETL_INTERVAL="4m").code == 1, "three intervals, where nobody says otherwise"
    assert json.loads(anywhere.run(*command, "--json", **FIVE).out)["healthy"] is True


def test_an_account_of_the_settings_without_a_snapshot_and_one_of_the_history_are_both_missed(
    anywhere: Program,
) -> None:
    history = Recorded(anywhere.database_url)
    history.snapshot(ago(50), of=history.account("second"))
    config = anywhere.home / "accounts.toml"
    config.write_text('[accounts.second]\napi_key_file = "/nowhere"\n[accounts.third]\napi_key_file = "/nowhere"\n')
    for command in (["health", "--config", str(config)], ["--config", str(config), "health"]):
        ran = anywhere.run(*command)
        assert (ran.code, ran.err) == (1, "")
        assert ran.out == "main: it has no snapshot yet\nthird: it has no snapshot yet\n"
    history.account("third", retired_at=ago(10))
    history.account("main", retired_at=ago(10))
    assert anywhere.run("health", "--config", str(config)).code == 0, "nothing is expected of the retired"
    history.account("of another host")
    assert anywhere.run("health", "--config", str(config)).out == "of another host: it has no snapshot yet\n"


def test_void_and_imported_snapshots_and_those_of_the_future_are_no_sign_of_life(anywhere: Program) -> None:
    history = Recorded(anywhere.database_url)
    main = history.account("main")
    history.snapshot(ago(2000), of=main)
    history.snapshot(ago(30), of=main, provenance="imported")
    history.snapshot(ago(-86_400 * 365), of=main)
    wrong = history.snapshot(ago(60), None, of=main)
    assert anywhere.run("health", **FIVE).code == 0, "a partial one is"
    history.mark(wrong, "void")
    assert anywhere.run("health", **FIVE).code == 1
    history.mark(wrong, "unvoid")
    assert anywhere.run("health", **FIVE).code == 0


def test_without_a_database_there_is_no_snapshot_and_none_is_created(program: Program) -> None:
    for command in (["health"], ["--config", str(by_the_command(program)), "health"]):
        ran = program.run(*command)
        assert (ran.code, ran.out, ran.err) == (1, "main: it has no snapshot yet\n", "")
        ran = program.run(*command, BINGX_API_KEY=None, BINGX_API_SECRET=None)
        assert (ran.code, ran.out) == (1, "no account: neither the settings nor the history know one\n")
    assert not program.state.exists()
    program.state.mkdir()
    (program.state / "balances.db").touch()
    assert program.run("health").out == "main: it has no snapshot yet\n"
    assert (program.state / "balances.db").stat().st_size == 0


def test_a_database_without_tables_has_no_snapshot(program: Program, empty_database_url: str) -> None:
    ran = program.run("health", BINGX_ETL_DATABASE_URL=empty_database_url)
    assert (ran.code, ran.out, ran.err) == (1, "main: it has no snapshot yet\n", "")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://somebody:hunter22@127.0.0.1:1/balances",
        "postgresql://somebody:hunter/22@127.0.0.1:1/balances?sslmode=disable",
    ],
)
def test_a_database_that_cannot_be_asked_is_75_without_its_password(program: Program, url: str) -> None:
    ran = program.run("health", BINGX_ETL_DATABASE_URL=url)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (75, "", 1), ran
    assert "cannot be reached" in ran.err
    assert "hunter" not in ran.err


def test_a_silent_server_is_waited_for_in_vain_and_not_for_ever(program: Program) -> None:
    def silent(server: RawServer, connection: socket.socket) -> None:
        server.stopping.wait(30)

    with RawServer(silent) as server:
        began = time.monotonic()
        ran = program.run("health", BINGX_ETL_DATABASE_URL=f"postgresql://somebody:hunter22@127.0.0.1:{server.port}/x")
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (75, "", 1), ran
        assert time.monotonic() - began < 12


def test_a_damaged_database_is_75(program: Program) -> None:
    program.state.mkdir()
    (program.state / "balances.db").write_bytes(b"not a database, and longer than its header would be" * 100)
    ran = program.run("health")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (75, "", 1), ran
    assert "is no SQLite database" in ran.err


def recorded(program: Program) -> Path:
    """Its SQLite database, with a young snapshot."""
    assert program.run("snapshot").code == 0
    return program.state / "balances.db"


def test_what_is_no_file_or_holds_what_is_no_time_is_75(program: Program) -> None:
    program.state.mkdir()
    file = program.state / "balances.db"
    for make in (partial(os.mkfifo, file), file.mkdir, partial(file.symlink_to, os.devnull)):
        make()
        ran = program.run("health")
        assert (ran.code, ran.out) == (75, "")
        assert "is not a file" in ran.err
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    file.touch()
    assert program.run("db", "upgrade").code == 0
    history = Recorded(program.database_url)
    history.snapshot(ago(1000), of=history.account("main"))
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE snapshot SET taken_at = 'garbage'")
    ran = program.run("health")
    assert (ran.code, "is damaged" in ran.err) == (75, True)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_it_works_while_a_recorder_writes_and_waits_for_its_commit(program: Program, mode: str) -> None:
    file = recorded(program)
    with closing(sqlite3.connect(file, isolation_level=None)) as recorder:
        recorder.execute(f"PRAGMA journal_mode = {mode}")
        recorder.execute("BEGIN IMMEDIATE")
        recorder.execute("UPDATE account SET name = 'other'")
        assert program.run("health").code == 0
        recorder.execute("ROLLBACK")
        recorder.execute("BEGIN EXCLUSIVE")  # as in a commit
        with program.start("health") as asking:
            time.sleep(0.5)
            recorder.execute("ROLLBACK")
            assert asking.communicate(timeout=30) == ("", "")
        assert asking.returncode == 0
    assert program.run("health").code == 0
    assert program.run("snapshot").code == 0, "and nothing is left that a recorder would stumble over"


def test_a_database_that_stays_locked_is_75(program: Program) -> None:
    file = recorded(program)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ran = program.run("health")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (75, "", 1), ran
    assert "is locked" in ran.err


def test_what_a_killed_recorder_left_half_done_is_not_read_and_not_mended_either(program: Program) -> None:
    file = recorded(program)
    code = (
        "import os, sqlite3, sys\n"
        "there = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "there.execute('PRAGMA cache_size = 1')\nthere.execute('BEGIN IMMEDIATE')\n"
        "there.execute('CREATE TABLE filler AS SELECT randomblob(100000) AS it')\nos._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, file], check=True)
    journal = file.with_name("balances.db-journal")
    before = journal.read_bytes()
    assert before[:8] == b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", "a journal that has to be played back"
    ran = program.run("health")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (75, "", 1), ran
    assert journal.read_bytes() == before
    assert program.run("snapshot").code == 0
    assert program.run("health").code == 0


def test_a_file_that_may_only_be_read_is_enough(program: Program) -> None:
    file = recorded(program)
    copy = program.home / "only ?#% to read" / "balances.db"
    copy.parent.mkdir()
    shutil.copy(file, copy)
    copy.chmod(0o400)
    copy.parent.chmod(0o500)
    plain = f"sqlite:///{program.home}/link.db"
    (program.home / "link.db").symlink_to(copy)
    assert program.run("health", BINGX_ETL_DATABASE_URL=plain).code == 0
    copy.parent.chmod(0o700)


def test_a_directory_that_cannot_be_looked_into_is_not_one_without_a_database(program: Program) -> None:
    recorded(program)
    program.state.chmod(0)
    ran = confined(program, "health")
    program.state.chmod(0o700)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (74, "", 1), ran
    assert confined(program, "health").code == 0


@pytest.mark.parametrize("age", ["0s", "soon", "", "-5m", "5"])
def test_an_age_that_is_none_is_refused_as_usage(program: Program, age: str) -> None:
    ran = program.run("health", "--max-age", age)
    assert (ran.code, ran.out) == (2, "")
    assert "--max-age" in ran.err


@pytest.mark.parametrize(
    "wrong",
    [
        {"BINGX_ETL_INTERVALL": "5m"},
        {"BINGX_ETL_INTERVAL": "7m"},
        {"BINGX_ETL_DATABASE_URL": "mysql://somewhere"},
        {"BINGX_ETL_DATABASE_URL": "sqlite:///:memory:"},
        {"BINGX_ETL_CONFIG": "/nowhere.toml"},
        {"BINGX_ETL_ACCOUNT": "../main"},
    ],
    ids=str,
)
def test_wrong_settings_are_78_as_everywhere(program: Program, wrong: dict[str, str]) -> None:
    ran = program.run("health", **wrong)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1), ran


def test_what_nobody_can_read_is_said(program: Program) -> None:
    command = f"{sys.executable} -m etl health"
    for redirection, code in ((">&-", 74), ("> /dev/full", 74), ("| true", 1)):
        shell = f"{command} {redirection}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", shell], env=program.environ, cwd=program.home, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (redirection, done)
        assert "Traceback" not in done.stderr


def modules_of(program: Program, *arguments: str, **environ: str) -> set[str]:
    """What a run, which is healthy, has imported."""
    code = (
        "import os, sys\nsys.argv = ['bingx-etl', *sys.argv[1:]]\nfrom etl.__main__ import main\n"
        "def end(code):\n"
        "    assert not code, code\n"
        "    os.write(1, ' '.join({name.partition('.')[0] for name in sys.modules}).encode())\n"
        "    really(0)\n"
        "really, os._exit, sys.exit = os._exit, end, end\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**program.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_it_imports_little(program: Program, new_database: Callable[..., str]) -> None:
    file = recorded(program)
    quick = modules_of(program, "health")
    assert quick & {*HEAVY, "click", "dataclasses", "pathlib", "logging", "json", "tomllib", "typing"} == set()
    config = program.home / "config.toml"
    config.write_text(f'database_url = "sqlite:///{file}"\n')
    with_file = modules_of(program, "health", "--config", str(config))
    assert with_file & {*HEAVY, "click", "dataclasses", "pathlib", "logging", "json"} == set()
    whole = modules_of(program, "--config", str(config), "health")
    assert whole & {"alembic", "apscheduler", "mako", "psycopg", "requests", "rich", "sqlalchemy", "urllib3"} == set()
    url = new_database("postgresql")
    history = Recorded(url)
    history.snapshot(ago(5), of=history.account("main"))
    elsewhere = modules_of(program, "health", BINGX_ETL_DATABASE_URL=url)
    assert elsewhere & {"alembic", "apscheduler", "mako", "requests", "rich", "sqlalchemy", "urllib3"} == set()
    assert "psycopg" in elsewhere


def test_it_is_quick(program: Program) -> None:
    """A bound that holds on a busy machine; ``make bench ARGS=health`` measures it properly."""
    recorded(program)
    environ = {**program.environ, "PYTHONPATH": str(ROOT)}
    bare = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT max(id) FROM snapshot').fetchone())"

    def cpu(*command: str) -> float:
        process = subprocess.Popen([sys.executable, *command], env=environ, cwd=program.home, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_utime + usage.ru_stime

    ours = min(cpu("-m", "etl", "health") for _ in range(7))
    theirs = min(cpu("-c", bare, str(program.state / "balances.db")) for _ in range(7))
    assert ours < 2.5 * theirs, (ours, theirs)
