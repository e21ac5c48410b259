"""Hundreds of accounts at once, against a sandbox in a process of its own."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etl.extract.limiter import MARGIN_SECONDS
from etl.sandbox.exchange import Exchange
from etl.sandbox.rules import BALANCES
from etl.sandbox.server import SandboxServer
from tests.cli.program import ROOT, Program, eventually

ACCOUNTS = 300
SEED = 7
# Answers a line of JSON for every line it is asked: of the requests so far, and how many came at most in a window.
SANDBOX = """
import json, sys
from etl.sandbox.exchange import Exchange
from etl.sandbox.limits import NO_LIMITS
from etl.sandbox.server import SandboxServer
exchange = Exchange(int(sys.argv[1]), int(sys.argv[2]), limits=NO_LIMITS)
with SandboxServer(exchange) as server:
    print(server.url, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        if "fault" in question:
            exchange.faults.add(question["fault"], **question["options"])
        path = question["path"]
        asked = [request for request in exchange.requests if request.path == path]
        print(json.dumps({
            "at": [request.at for request in asked],
            "accounts": [request.account for request in asked],
            "outcomes": sorted({request.outcome for request in asked}),
            "busiest": exchange.busiest(path, question["seconds"]),
            "replays": exchange.replays,
        }), flush=True)
"""


@dataclass
class Fleet:
    """An exchange in another process, and the program with a config file of all its accounts."""

    sandbox: "subprocess.Popen[str]"
    program: Program
    keys: list[tuple[str, str, str]]

    def ask(self, seconds: float = 1.0, **question: object) -> dict[str, Any]:
        """What the exchange has seen."""
        assert self.sandbox.stdin is not None
        assert self.sandbox.stdout is not None
        self.sandbox.stdin.write(json.dumps({"path": BALANCES, "seconds": seconds, **question}) + "\n")
        self.sandbox.stdin.flush()
        answer: dict[str, Any] = json.loads(self.sandbox.stdout.readline())
        return answer

    def config(self, name: str, first: int = 0, last: int = ACCOUNTS) -> str:
        """The path of a config file with these accounts."""
        path = self.program.home / f"{name}.toml"
        path.touch(mode=0o600)
        path.write_text(
            "".join(
                f'[accounts.{account}]\napi_key = "{key}"\napi_secret = "{secret}"\n'
                for account, key, secret in self.keys[first:last]
            )
        )
        return str(path)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Three hundred accounts, no limits."""
    with started(tmp_path) as running:
        yield running


@contextmanager
def started(directory: Path) -> Iterator[Fleet]:
    exchange = Exchange(ACCOUNTS, SEED)
    home = directory / "home"
    home.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", SANDBOX, str(ACCOUNTS), str(SEED)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as sandbox:
        try:
            assert sandbox.stdout is not None
            program = Program(home, SandboxServer(exchange), f"sqlite:///{home / 'state' / 'balances.db'}")
            program.environ["BINGX_ETL_BASE_URL"] = sandbox.stdout.readline().strip()
            program.environ["BINGX_ETL_IP_LIMIT"] = "100000/10s"
            for name in ("BINGX_API_KEY", "BINGX_API_SECRET", "BINGX_ETL_ACCOUNT"):
                del program.environ[name]
            keys = [(account.name, account.api_key, account.api_secret) for account in exchange.accounts]
            yield Fleet(sandbox, program, keys)
        finally:
            sandbox.kill()


def displacement(one: list[str], other: list[str]) -> float:
    """By how many places a name stands elsewhere, on average: a third of their number where chance had its way."""
    places = {name: place for place, name in enumerate(other)}
    return sum(abs(place - places[name]) for place, name in enumerate(one)) / len(one)


def test_a_slot_of_hundreds_is_recorded_flushed_in_groups_in_an_order_that_favours_nobody(fleet: Fleet) -> None:
    config = fleet.config("all")
    orders = []
    for number in range(2):
        trace = fleet.program.home / f"trace-{number}"
        strace = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
        done = subprocess.run(
            [*strace, sys.executable, "-m", "etl", "--config", config, "snapshot"],
            env={**fleet.program.environ, "BINGX_ETL_INTERVAL": "1h" if number else "1d"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = done.stderr.splitlines()
        named = Counter(re.findall(r'event="slot recorded" account=(\S+) ', done.stderr))
        assert named == Counter(dict.fromkeys((name for name, _, _ in fleet.keys), 1)), "one event for each of them"
        assert f"accounts={ACCOUNTS} complete={ACCOUNTS} partial=0 failed=0 stored={ACCOUNTS}" in said[-1]
        assert "\x1b" not in done.stderr
        seen = fleet.ask()
        orders.append(seen["accounts"][number * ACCOUNTS :])
        assert Counter(orders[-1]) == Counter(dict.fromkeys((name for name, _, _ in fleet.keys), 1))
        flushed = Counter(Path(path).name for path in re.findall(r"fd?a?t?a?sync\(\d+<([^>]+)>", trace.read_text()))
        assert 1 <= flushed["spool"] <= ACCOUNTS / 2, "the directory is flushed for groups"
    assert fleet.program.rows("SELECT count(*), count(DISTINCT account_id) FROM snapshot")[0][1] == ACCOUNTS
    asked_for = [name for name, _, _ in fleet.keys]
    for one, other in ((orders[0], orders[1]), (orders[0], asked_for), (orders[0], sorted(asked_for))):
        assert displacement(one, other) > ACCOUNTS / 5
    assert not fleet.program.spooled()
    assert fleet.ask()["replays"] == 0


def test_the_daemon_records_hundreds_in_every_slot_with_one_summary_each(fleet: Fleet) -> None:
    program = fleet.program
    with program.daemon("--config", fleet.config("all"), BINGX_ETL_INTERVAL="6s") as daemon:
        eventually(lambda: len(set(program.recorded())) >= 3 and len(program.recorded()) >= 2 * ACCOUNTS)
        assert daemon.stop() == 143
    counts = Counter(program.recorded())
    slots = sorted(counts)
    whole = [slot for slot in slots if counts[slot] == ACCOUNTS]
    assert len(whole) >= len(slots) - 2, "all but the first, which may have begun late, and the last, told to stop"
    lines = [line for line in daemon.lines if f"accounts={ACCOUNTS} complete={ACCOUNTS}" in line]
    assert len(lines) >= len(whole) - 1
    assert "\x1b" not in daemon.said
    asked = fleet.ask()
    late = [at % 6 for at in asked["at"]]
    assert sorted(late)[len(late) // 2] < 4, "as close to the slot's beginning as it goes"


def test_of_a_fleet_that_cannot_be_read_each_account_says_why_once(fleet: Fleet) -> None:
    fleet.ask(fault="error", options={"code": 100413, "path": BALANCES})
    ran = fleet.program.run("--config", fleet.config("all"), "snapshot")
    assert ran.code == 77
    assert f"accounts={ACCOUNTS} complete=0 partial=0 failed={ACCOUNTS}" in ran.err
    assert sum("reason=key_refused" in line for line in ran.err.splitlines()) == ACCOUNTS


def test_on_a_terminal_what_takes_longer_than_a_second_shows_how_far_it_is(fleet: Fleet) -> None:
    def said_to_a_terminal(**environ: str) -> str:
        master, slave = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "etl", "--config", fleet.config("all"), "snapshot"],
            env={**fleet.program.environ, "TERM": "xterm", "COLUMNS": "100", **environ},
            stdin=slave,
            stdout=subprocess.DEVNULL,
            stderr=slave,
        ) as process:
            os.close(slave)
            said = b""
            while select.select([master], [], [], 60)[0]:
                try:
                    said += os.read(master, 65536)
                except OSError:  # the other end is closed
                    break
            assert process.wait(60) == 0
        os.close(master)
        return said.decode()

    slow = said_to_a_terminal(BINGX_ETL_IP_LIMIT="100/1s")
    assert re.search(r"reading.*[0-9]+/300", slow)
    assert slow.count("\x1b[?25l") == slow.count("\x1b[?25h") == 1, "the cursor is shown again"
    assert re.search(r"slot summary.*accounts=300 complete=300", slow)


def test_two_processes_of_one_state_directory_keep_the_limit_together_and_use_it(fleet: Fleet) -> None:
    limit, seconds = 40, 2.0
    halves = [fleet.config("one", 0, ACCOUNTS // 2), fleet.config("other", ACCOUNTS // 2)]
    environ = {"BINGX_ETL_IP_LIMIT": f"{limit}/2s", "BINGX_ETL_INTERVAL": "1d"}
    together = [fleet.program.start("--config", config, "snapshot", **environ) for config in halves]
    ended = [process.communicate(timeout=100) for process in together]
    assert [process.returncode for process in together] == [0, 0], ended
    # A request that was held up on its way arrives closer to its successors than it left; the margin is for that, and
    # a busy machine may use it up.
    seen = fleet.ask(seconds - MARGIN_SECONDS)
    assert seen["outcomes"] == ["ok"]
    assert len(seen["at"]) == ACCOUNTS
    assert seen["busiest"] <= limit
    took = max(seen["at"]) - min(seen["at"])
    # The first of them go at once; what remains goes at the rate that the limit allows.
    assert (ACCOUNTS - limit) / took >= 0.75 * limit / seconds
    assert ACCOUNTS / took >= 0.85 * limit / seconds
    assert fleet.program.rows("SELECT count(*) FROM snapshot") == [(ACCOUNTS,)]


def test_told_to_stop_in_the_middle_of_hundreds_every_account_has_its_outcome(fleet: Fleet) -> None:
    program = fleet.program
    environ = {"BINGX_ETL_IP_LIMIT": "50/2s", "BINGX_ETL_INTERVAL": "1d"}
    with program.daemon("--config", fleet.config("all"), **environ) as daemon:
        eventually(lambda: len(fleet.ask()["at"]) >= 60)
        daemon.send(signal.SIGTERM)
        began = time.monotonic()
        assert daemon.code() == 143
        assert time.monotonic() - began < 14
    assert program.run("spool", "load").code == 0
    (stopped,) = program.rows("SELECT count(*) FROM failure WHERE reason = 'stopped'")[0]
    (recorded,) = program.rows("SELECT count(*) FROM snapshot")[0]
    assert recorded >= 50
    assert recorded + stopped == ACCOUNTS
