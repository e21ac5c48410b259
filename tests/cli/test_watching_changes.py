"""A command of the user's that is told of changes by the real program: once each, whatever happens in between."""

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from etl.cli.watching import COMMANDS_WAIT_SECONDS, DAEMON_WAITS_SECONDS
from etl.daemon.daemon import STOP_READING_SECONDS, STOP_STORING_SECONDS
from etl.ops.changes import COMMAND_SECONDS
from etl.sandbox.rules import BALANCES
from tests.bingx.servers import closed_port
from tests.cli.program import ROOT, Program, eventually, unix
from tests.cli.test_telling_events import named, read
from tests.ops.pinged import Service, hang
from tests.small_disk import SmallDisk

# What it is given, as it is: argv, environment and stdin, one JSON object a line.
LISTEN = """\
#!{python}
import json, os, sys
told = {{"argv": sys.argv[1:], "environ": dict(os.environ), "stdin": sys.stdin.read(), "pid": os.getpid()}}
with open({told!r}, "a") as file:
    file.write(json.dumps(told) + "\\n")
{more}
"""
# Tests do not wait as long as the program does.
HASTE = """
import etl.ops.changes as changes, etl.ops.states as states
from datetime import timedelta
changes.COMMAND_SECONDS, states.FIRST_PAUSE = 1.0, timedelta(seconds=0.3)
"""
REFUSED = {"code": 100413, "path": BALANCES}


class Listener:
    """The user's command, and what it was told."""

    def __init__(self, program: Program, more: str = "") -> None:
        self.script = program.home.parent / f"{program.home.name}-listener"
        self._told = program.home.parent / f"{program.home.name}-told"
        self.does(more)

    def does(self, more: str) -> None:
        """What else it does, having listened."""
        self.script.write_text(LISTEN.format(python=sys.executable, told=str(self._told), more=more))
        self.script.chmod(0o700)

    @property
    def told(self) -> list[dict[str, Any]]:
        """Everything, in order."""
        return [json.loads(line) for line in self._told.read_text().splitlines()] if self._told.exists() else []

    @property
    def changes(self) -> list[tuple[str, str, str]]:
        """State, what it does, and whose."""
        return [
            (each["environ"]["BINGX_STATE"], each["environ"]["BINGX_STATE_IS"], each["environ"]["BINGX_STATE_ACCOUNTS"])
            for each in self.told
        ]


def hasty(program: Program, more: str = "") -> dict[str, str]:
    """What makes the program wait for less long."""
    custom = program.home.parent / f"{program.home.name}-custom"
    custom.mkdir(exist_ok=True)
    (custom / "sitecustomize.py").write_text(HASTE + more)
    return {"PYTHONPATH": f"{custom}:{program.environ['PYTHONPATH']}"}


@pytest.fixture
def listener(program: Program) -> Listener:
    """One that only listens; the program knows it."""
    made = Listener(program)
    program.environ["BINGX_ETL_ON_CHANGE"] = f"{made.script} 'two words'"
    return made


def test_a_command_has_its_time_and_the_daemon_ends_in_its_own() -> None:
    assert 2 * COMMAND_SECONDS < COMMANDS_WAIT_SECONDS
    assert STOP_READING_SECONDS + STOP_STORING_SECONDS + 2 * DAEMON_WAITS_SECONDS < 10


# --- what is told ---------------------------------------------------------------------------------------------------


def test_a_refused_key_is_told_once_by_run_after_run_and_once_when_it_is_mended(
    program: Program, listener: Listener
) -> None:
    assert program.run("snapshot").code == 0
    assert listener.told == []
    program.exchange.faults.add("error", **REFUSED)
    codes = [program.run("snapshot", "--force", BINGX_ETL_INTERVAL="12h").code for _ in range(2)]
    assert codes == [77, 77], "the code is the reading's"
    program.exchange.faults.clear()
    ran = program.run("snapshot", "--force", BINGX_ETL_INTERVAL="12h")
    assert ran.code == 0
    assert listener.changes == [("key_refused", "begins", "main"), ("key_refused", "ends", "main")]
    begins, ends = listener.told
    assert begins["argv"] == ["two words"]
    said = json.loads(begins["stdin"])
    assert (said["state"], said["is"], said["accounts"][0]["reason"]) == ("key_refused", "begins", "key_refused")
    assert said["since"] == begins["environ"]["BINGX_STATE_SINCE"] == said["accounts"][0]["since"]
    assert begins["environ"]["BINGX_STATE_REASON"] == "key_refused"
    assert begins["environ"]["BINGX_STATE_TEXT"].startswith("key_refused begins of main: key_refused; since 20")
    assert json.loads(ends["stdin"])["accounts"][0]["until"]
    [event] = named(read("text", ran.err), "state told")
    assert (event["state"], event["is"], event["accounts"], event["exit_code"]) == ("key_refused", "ends", "1", "0")


def test_slots_missed_are_told_whether_nobody_was_there_or_it_could_not_begin(
    program: Program, listener: Listener
) -> None:
    environ = {"BINGX_ETL_INTERVAL": "1s", "BINGX_ETL_MISSED_IN_A_ROW": "2", "BINGX_ETL_ACCOUNT": "main"}
    assert program.run("snapshot", **environ).code == 0
    time.sleep(3.1)
    assert program.run("snapshot", **environ).code == 0
    assert listener.changes == [("slots_missed", "begins", "main"), ("slots_missed", "ends", "main")]
    assert listener.told[0]["environ"]["BINGX_STATE_REASON"] == "none"
    time.sleep(2.1)
    (program.home / "config.toml").write_text("[accounts.main]\n")
    without = {**environ, "BINGX_API_KEY": None, "BINGX_API_SECRET": None}
    assert program.run("snapshot", "--config", str(program.home / "config.toml"), **without).code == 78
    assert listener.changes[2:] == [("slots_missed", "begins", "main")]


def test_a_key_file_that_is_gone_is_told_as_a_refused_key_and_the_slots_missed(
    program: Program, listener: Listener
) -> None:
    environ = {"BINGX_ETL_INTERVAL": "1s", "BINGX_ETL_MISSED_IN_A_ROW": "2", "BINGX_ETL_ACCOUNT": "main"}
    assert program.run("snapshot", **environ).code == 0
    time.sleep(2.1)
    gone = {**environ, "BINGX_API_KEY": None, "BINGX_API_KEY_FILE": str(program.home / "none")}
    assert program.run("snapshot", **gone).code == 78
    assert listener.changes == [("key_refused", "begins", "main"), ("slots_missed", "begins", "main")]
    assert [each["environ"]["BINGX_STATE_REASON"] for each in listener.told] == ["key_missing"] * 2


def test_what_waits_and_what_was_set_aside_is_told(program: Program, listener: Listener) -> None:
    program.exchange.faults.add("raw", path=BALANCES, body='{"code":0,"data":"nonsense"}', times=1)
    assert program.run("snapshot").code == 65
    assert listener.changes == [("quarantine_not_empty", "begins", "")]
    for file in (program.state / "quarantine").iterdir():
        file.unlink()
    down = {"BINGX_ETL_DATABASE_URL": f"postgresql://me@127.0.0.1:{closed_port()}/none", "BINGX_ETL_INTERVAL": "12h"}
    old = {"BINGX_ETL_SPOOL_OLDER_THAN": "1s"}
    assert program.run("snapshot", **down, **old).code == 75
    assert listener.changes[1:] == [("quarantine_not_empty", "ends", "")]
    time.sleep(1.1)
    assert program.run("snapshot", **{**down, "BINGX_ETL_INTERVAL": "8h"}, **old).code == 75
    assert listener.changes[2:] == [("spool_old", "begins", "")]
    assert program.run("snapshot", **old).code == 0
    assert listener.changes[3:] == [("spool_old", "ends", "")]


def test_a_doubtful_reading_is_told_until_one_comes_that_is_not(program: Program, listener: Listener) -> None:
    def answer(spot: str, interval: str) -> None:
        data = [{"accountType": "sopt", "usdtBalance": spot}, {"accountType": "USDTMPerp", "usdtBalance": "7.50"}]
        program.exchange.faults.clear()
        program.exchange.faults.add("raw", path=BALANCES, body=json.dumps({"code": 0, "data": data}))
        assert program.run("snapshot", BINGX_ETL_INTERVAL=interval).code == 0

    answer("100.00", "1d")
    answer("0.00", "12h")
    answer("0.00", "8h")
    assert listener.changes == [("doubtful_reading", "begins", "main"), ("doubtful_reading", "ends", "main")]
    assert "spot at 0 (not read again)" in listener.told[0]["environ"]["BINGX_STATE_REASON"]


def test_a_fleet_to_whom_it_happens_together_is_one_command(program: Program) -> None:
    listener = Listener(program)
    lines = [f'on_change = "{listener.script}"']
    for account in program.exchange.accounts:
        lines += [
            f"[accounts.{account.name}]",
            f'api_key = "{account.api_key}"',
            f'api_secret = "{account.api_secret}"',
        ]
    config = program.home / "config.toml"
    config.write_text("\n".join(lines))
    config.chmod(0o600)
    program.exchange.faults.add("error", **REFUSED)
    none: dict[str, str | None] = dict.fromkeys(("BINGX_API_KEY", "BINGX_API_SECRET", "BINGX_ETL_ACCOUNT"))
    assert program.run("--config", str(config), "snapshot", **none).code == 77
    assert listener.changes == [("key_refused", "begins", "account-2 account-3 main")]
    assert [each["account"] for each in json.loads(listener.told[0]["stdin"])["accounts"]] == [
        *("account-2", "account-3", "main"),
    ]


# --- what it is given, and what not ---------------------------------------------------------------------------------


def test_it_is_given_no_secret_and_what_it_says_of_one_is_hidden(program: Program) -> None:
    account = program.exchange.accounts[0]
    listener = Listener(program, f"print('I know', sys.argv[1], '\\x1b[31m=', {'y' * 9000!r})")
    canaries = {
        "PGPASSWORD": "canary-of-postgresql",
        "AWS_SECRET_ACCESS_KEY": "canary-of-a-cloud",
        "BINGX_ETL_PING_URL": f"http://127.0.0.1:{closed_port()}/canary-of-a-check",
        "BINGX_ETL_DATABASE_URL": f"{program.database_url}?canary-of-a-database=1",
    }
    program.exchange.faults.add("error", **REFUSED)
    # Who writes a secret into the command itself has told it.
    command = f"{listener.script} {account.api_secret}"
    ran = program.run(
        "snapshot", BINGX_ETL_ON_CHANGE=command, **{**canaries, "BINGX_ETL_DATABASE_URL": program.database_url}
    )
    assert ran.code == 77
    [told] = listener.told
    given = json.dumps([told["environ"], told["stdin"]])
    for hidden in (account.api_key, account.api_secret, *canaries.values(), "canary"):
        assert hidden not in given
    assert set(told["environ"]) >= {"PATH", "HOME", "BINGX_ETL_STATE_DIR", "BINGX_ETL_INTERVAL"}
    assert {name for name in told["environ"] if name.startswith("BINGX_API")} == set()
    assert account.api_secret not in ran.err
    [event] = named(read("text", ran.err), "state told")
    assert event["output"].startswith("I know *** \x1b[31m= yyy")
    assert len(event["output"]) < 4200
    assert account.api_secret.encode() not in program.everything_written()


def test_it_may_call_the_program(program: Program) -> None:
    arguments = f"[sys.executable, '-m', 'etl', 'status'], cwd={str(ROOT)!r}"
    calls = f"import subprocess; sys.exit(subprocess.run({arguments}).returncode)"
    listener = Listener(program, calls)
    program.exchange.faults.add("error", **REFUSED)
    ran = program.run("snapshot", BINGX_ETL_ON_CHANGE=str(listener.script))
    [event] = named(read("text", ran.err), "state told")
    assert (event["exit_code"], "spool: 0 waiting" in event["output"]) == ("0", True), event


# --- a command that is broken ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [("echo oh no; exit 3", ("3", "", "oh no")), ("sleep 99", ("", "ended after 1 s", ""))],
    ids=["fails", "hangs"],
)
def test_a_command_that_is_broken_changes_nothing_and_is_told_when_it_is_mended(
    program: Program, listener: Listener, script: str, said: tuple[str, str, str]
) -> None:
    good = listener.script.read_text()
    listener.script.write_text(f"#!/bin/sh\n{script}\n")
    program.exchange.faults.add("error", **REFUSED)
    began = time.monotonic()
    ran = program.run("snapshot", **hasty(program))
    assert ran.code == 77
    assert time.monotonic() - began < 20
    [event] = named(read("text", ran.err), "state told")
    assert event["level"] == "warning"
    assert (event["exit_code"], event["trouble"], event["output"]) == said
    listener.script.write_text(good)
    assert program.run("snapshot", "--force", **hasty(program)).code == 77
    assert listener.changes == [("key_refused", "begins", "main")]


def test_killed_between_the_change_and_the_telling_the_next_run_tells_it(program: Program, listener: Listener) -> None:
    program.exchange.faults.add("error", **REFUSED)
    before = "import os\nfrom etl.ops import changes\nchanges.Command = lambda *_: os.kill(os.getpid(), 9)\n"
    assert program.run("snapshot", **hasty(program, before)).code == -signal.SIGKILL
    assert listener.told == []
    assert program.run("snapshot", "--force").code == 77
    assert listener.changes == [("key_refused", "begins", "main")]


def test_killed_while_it_tells_it_tells_it_twice_and_not_more(program: Program, listener: Listener) -> None:
    program.exchange.faults.add("error", **REFUSED)
    listener.does("import signal; os.kill(os.getppid(), signal.SIGKILL)")
    assert program.run("snapshot").code == -signal.SIGKILL
    listener.does("")
    for _ in range(2):
        assert program.run("snapshot", "--force").code == 77
    assert listener.changes == [("key_refused", "begins", "main")] * 2


@pytest.mark.parametrize("key", ["refused", "not there"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_while_a_command_runs_it_takes_the_command_along(
    program: Program, listener: Listener, key: str, number: int
) -> None:
    listener.does("import time; time.sleep(600)")
    if key == "refused":
        program.exchange.faults.add("error", **REFUSED)
    else:  # no slot begins, and what is told is the quarantine
        program.environ["BINGX_API_KEY"] = ""
        (program.state / "quarantine").mkdir(parents=True)
        (program.state / "quarantine" / "x.1.main.0.outcome").write_bytes(b"")
    with program.start("snapshot") as process:
        eventually(lambda: listener.told)
        process.send_signal(number)
        process.communicate(timeout=10)
    assert process.returncode == 128 + number
    eventually(lambda: not lives(listener.told[0]["pid"]), within=5)


def test_told_to_stop_while_a_ping_is_waited_for_it_takes_the_command_along_as_well(
    program: Program, listener: Listener
) -> None:
    listener.does("import time; time.sleep(600)")
    program.exchange.faults.add("error", **REFUSED)
    with Service(hang) as service, program.start("snapshot", BINGX_ETL_PING_URL=service.url) as process:
        eventually(lambda: listener.told)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    eventually(lambda: not lives(listener.told[0]["pid"]), within=5)


def test_several_runs_at_once_tell_it_once(program: Program, listener: Listener) -> None:
    program.exchange.faults.add("error", **REFUSED)
    listener.does("import time; time.sleep(0.3)")
    with ThreadPoolExecutor(3) as pool:
        codes = [ran.code for ran in pool.map(lambda _: program.run("snapshot", "--force"), range(3))]
    assert codes == [77] * 3
    assert program.run("snapshot", "--force").code == 77
    assert listener.changes == [("key_refused", "begins", "main")]


def test_what_is_remembered_may_be_damaged(program: Program, listener: Listener) -> None:
    file = program.state / "remembered" / "states.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(b'{"holding": {"unheard_of": {}}}')
    program.exchange.faults.add("error", **REFUSED)
    ran = program.run("snapshot")
    assert ran.code == 77
    assert "states.json is passed over" in ran.err
    assert listener.changes == [("key_refused", "begins", "main")]
    assert file.stat().st_mode & 0o777 == 0o600


def test_on_a_full_disk_it_is_told_once_by_run_after_run_and_once_when_it_ends(
    program: Program, listener: Listener, tmp_path: Path
) -> None:
    with closing(SmallDisk(tmp_path / "small")) as disk:
        program.environ |= {
            "BINGX_ETL_STATE_DIR": str(disk.directory / "state"),
            "BINGX_ETL_DATABASE_URL": f"sqlite:///{tmp_path}/balances.db",
        }
        run = partial(program.run, "snapshot", "--force")
        assert run().code == 0
        program.exchange.faults.add("error", **REFUSED)
        disk.leave(0)
        for _ in range(3):
            run()
            disk.leave(0)
        assert listener.changes == [("key_refused", "begins", "main")]
        program.exchange.faults.clear()
        for _ in range(2):
            run()
            disk.leave(0)
    assert listener.changes == [("key_refused", "begins", "main"), ("key_refused", "ends", "main")]


# --- the daemon -----------------------------------------------------------------------------------------------------


def test_the_daemon_tells_each_change_once_and_so_does_the_next(program: Program, listener: Listener) -> None:
    with program.daemon(BINGX_ETL_INTERVAL="1s") as daemon:
        eventually(program.recorded)
        program.exchange.faults.add("error", code=109500, path=BALANCES)
        eventually(lambda: listener.told)
        assert daemon.stop() == 143
    with program.daemon(BINGX_ETL_INTERVAL="1s") as daemon:
        time.sleep(2.5)
        assert listener.changes == [("slots_missed", "begins", "main")]
        program.exchange.faults.clear()
        eventually(lambda: len(listener.told) >= 2)
        assert daemon.stop() == 143
    assert listener.changes == [("slots_missed", "begins", "main"), ("slots_missed", "ends", "main")]


def test_a_command_that_hangs_keeps_the_daemon_from_no_slot_and_ends_with_it(
    program: Program, listener: Listener
) -> None:
    listener.does("import time; time.sleep(600)")
    (program.state / "quarantine").mkdir(parents=True)
    (program.state / "quarantine" / "x.1.main.0.outcome").write_bytes(b"")
    with program.daemon(BINGX_ETL_INTERVAL="1s") as daemon:
        eventually(lambda: listener.told)
        begun = time.time()
        eventually(lambda: sum(slot > begun for slot in program.recorded()) >= 3)
        assert lives(listener.told[0]["pid"]), "and goes on to"
        began = time.monotonic()
        assert daemon.stop() == 143
        assert time.monotonic() - began < 10
    for slot_at, requested_at in program.rows("SELECT slot_at, requested_at FROM snapshot"):
        assert 0 <= unix(requested_at) - unix(slot_at) < 1
    assert listener.changes == [("quarantine_not_empty", "begins", "")]
    eventually(lambda: not lives(listener.told[0]["pid"]), within=5)


def lives(pid: int) -> bool:
    """Whether there is such a process; one that is dead and was not asked after does not live."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "\nState:\tZ" not in status.read_text()
