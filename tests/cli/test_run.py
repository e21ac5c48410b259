"""``run`` as it is operated: a process, slot after slot, and what happens to it, its machine and its database."""

import json
import logging
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path

import click
import pytest
from sqlalchemy import make_url

from etl.cli.run import _Muster, run
from etl.errors import SettingsError
from etl.load.lineage import TOGETHER
from etl.sandbox.rules import BALANCES
from tests.cli.program import Program, Running, eventually, installed, unix

ONE = {"BINGX_ETL_INTERVAL": "1s"}
TWO = {"BINGX_ETL_INTERVAL": "2s"}
HOUR = {"BINGX_ETL_INTERVAL": "1h"}
PROMISED_SECONDS = 10  # from SIGTERM to the end
BUSY_SECONDS = 4  # what a busy machine may add


def consecutive(slots: list[float], step: int) -> bool:
    """Whether no slot is missing or double."""
    return {later - slot for slot, later in pairwise(slots)} <= {step}


def accounted_for(program: Program, step: int, *reasons: str) -> bool:
    """Whether every slot has its snapshot, or one of these reasons. A busy machine may overrun a slot of a second."""
    failed = program.failed()
    return set(failed.values()) <= {"overrun", *reasons} and consecutive(sorted({*program.recorded(), *failed}), step)


def asked(program: Program) -> int:
    """How often it has asked for balances."""
    return sum(request.path == BALANCES for request in program.exchange.requests)


def mark(program: Program) -> dict[str, object]:
    """The daemon's last sign of life."""
    found: dict[str, object] = json.loads((program.state / "remembered" / "daemon.json").read_bytes())
    return found


def at_once(*calls: Callable[[], None]) -> None:
    """Calls that mostly wait, side by side. Raises what the first of them raises."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()


# --- slot after slot ------------------------------------------------------------------------------------------------


def test_it_records_the_present_slot_and_every_one_after_it_on_the_grid(anywhere: Program) -> None:
    began = time.time()
    with anywhere.daemon(**TWO) as daemon:
        eventually(lambda: len(anywhere.recorded()) >= 4)
        assert daemon.stop() == 143
    slots = anywhere.recorded()
    assert {slot % 2 for slot in slots} == {0.0}
    assert consecutive(slots, 2)
    assert began - 2 < slots[0] < eventually(lambda: min(request.at for request in anywhere.exchange.requests))
    for slot_at, requested_at in anywhere.rows("SELECT slot_at, requested_at FROM snapshot"):
        assert 0 <= unix(requested_at) - unix(slot_at) < 2
    assert (anywhere.failed(), anywhere.spooled()) == ({}, [])
    assert len(daemon.lines) == len(slots), "one line per slot"
    assert all("slot recorded" in line and "stored=true" in line for line in daemon.lines)
    assert "\x1b" not in daemon.said


def test_beside_cron_and_another_daemon_there_is_one_snapshot_per_slot_and_nobody_fails(anywhere: Program) -> None:
    other = {**TWO, "BINGX_ETL_STATE_DIR": str(anywhere.home / "other")}
    codes = []
    with anywhere.daemon(**TWO) as one, anywhere.daemon(**other) as two:
        while len(anywhere.recorded()) < 5:
            ran = anywhere.run("snapshot", **TWO)
            codes.append((ran.code, ran.err))
        assert (one.stop(), two.stop()) == (143, 143)
    assert {code for code, _ in codes} == {0}, codes
    assert consecutive(anywhere.recorded(), 2)
    assert (anywhere.failed(), anywhere.spooled()) == ({}, [])
    assert not list((anywhere.home / "other" / "spool").iterdir())
    for daemon in (one, two):
        assert daemon.at("error") == []
        assert not [line for line in daemon.at("warning") if "slot" in line]
        assert len(daemon.lines) >= 4, "it has recorded, too"
    assert not list(anywhere.home.glob("*/quarantine/*"))


def test_a_request_that_hangs_keeps_no_later_slot_from_being_read(anywhere: Program) -> None:
    with anywhere.daemon(**ONE, BINGX_ETL_REQUEST_TIMEOUT="5s") as daemon:
        eventually(lambda: len(anywhere.recorded()) >= 2)
        anywhere.exchange.faults.add("hang", path=BALANCES, times=1)
        [stuck] = eventually(lambda: [r.at // 1 for r in anywhere.exchange.requests if "hang" in r.outcome])
        eventually(lambda: stuck in anywhere.failed())
        assert anywhere.failed()[stuck] == "unreachable"
        slots = anywhere.recorded()
        assert {stuck + 1, stuck + 2, stuck + 3} <= set(slots), "read while it hung"
        assert accounted_for(anywhere, 1, "unreachable")
        assert daemon.stop() == 143
    for slot_at, requested_at in anywhere.rows("SELECT slot_at, requested_at FROM snapshot"):
        assert 0 <= unix(requested_at) - unix(slot_at) < 1


# --- the database ---------------------------------------------------------------------------------------------------


class Gate:
    """A way to a PostgreSQL that can be closed, or on which nothing moves any more."""

    def __init__(self, url: str) -> None:
        self._to = make_url(url)
        self._open = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self.open()
        self._begin()

    @property
    def url(self) -> str:
        """The URL through the gate."""
        return self._to.set(host="127.0.0.1", port=self._port).render_as_string(hide_password=False)

    def open(self) -> None:
        """Let everything through."""
        self._open.set()
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self._port))
            self._begin()

    def silence(self) -> None:
        """Accept, and say nothing."""
        self._open.clear()

    def close(self) -> None:
        """Refuse, and break what is there."""
        self._open.set()
        for each in (self._listener, *self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def _begin(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            if self._open.is_set():
                server = socket.create_connection((str(self._to.host), self._to.port or 5432))
                self._sockets.append(server)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@contextmanager
def locked(program: Program) -> Iterator[None]:
    """Another program has the SQLite database to itself."""
    with closing(sqlite3.connect(program.state / "balances.db", isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def gone(program: Program) -> Iterator[None]:
    """The SQLite database is not where it was, and cannot be made there."""
    database, aside = program.state / "balances.db", program.state / "aside"
    database.rename(aside)
    database.mkdir()
    yield
    database.rmdir()
    aside.rename(database)


@contextmanager
def silent(gate: Gate) -> Iterator[None]:
    """PostgreSQL is there and says nothing."""
    gate.silence()
    yield
    gate.open()


@contextmanager
def closed(gate: Gate) -> Iterator[None]:
    """PostgreSQL is down."""
    gate.close()
    yield
    gate.open()


@pytest.fixture
def gates(new_database: Callable[..., str]) -> Iterator[Callable[[], Gate]]:
    """Makes gates, each to a database of its own."""
    with ExitStack() as made:

        def new() -> Gate:
            gate = Gate(new_database("postgresql"))
            made.callback(gate.close)
            return gate

        yield new


def test_while_the_database_is_away_every_slot_is_read_on_time_and_all_are_stored_after(
    tmp_path: Path, gates: Callable[[], Gate]
) -> None:
    def lives_through(program: Program, outage: Callable[[], AbstractContextManager[None]], *, seconds: float) -> None:
        with program.daemon(**ONE) as daemon:
            eventually(lambda: len(program.recorded()) >= 2)
            with outage():
                began = time.time()
                time.sleep(seconds)
                waiting = {int(path.name[9:15]) for path in program.spooled()}
                assert len(waiting) >= seconds - 3, "read and safe, one file each"
                ended = time.time()
            eventually(lambda: [slot for slot in program.recorded() if slot > ended + 1] and not program.spooled())
            assert daemon.stop() == 143
        slots = program.recorded()
        assert accounted_for(program, 1)
        assert len(slots) == len(set(slots)), "nothing is double"
        assert sum(began < slot < ended for slot in slots) >= seconds - 3, "nothing is lost"
        for slot_at, requested_at in program.rows("SELECT slot_at, requested_at FROM snapshot"):
            assert 0 <= unix(requested_at) - unix(slot_at) < 1
        assert not program.spooled()
        trouble = daemon.at("error")
        assert len(trouble) <= 2, "said once, and not in every slot"
        recorded = sum("slot recorded" in line for line in daemon.lines)
        assert recorded <= len(slots) + 2, "one line per slot, and one for a second reading of the first or the last"
        assert len(daemon.lines) - recorded <= 8
        if trouble:
            assert "safe in the spool" in trouble[0]
            assert "the database takes outcomes again" in daemon.said
        assert re.search(r"stored [0-9]+ more outcomes", daemon.said) or not trouble

    with ExitStack() as stack:

        def program(name: str, url: str | None = None) -> Program:
            return stack.enter_context(installed(tmp_path / name, url))

        down, hanging = gates(), gates()
        one, two = program("locked"), program("gone")
        three, four = program("down", down.url), program("hanging", hanging.url)
        at_once(
            lambda: lives_through(one, lambda: locked(one), seconds=17),
            lambda: lives_through(two, lambda: gone(two), seconds=8),
            lambda: lives_through(three, lambda: closed(down), seconds=8),
            lambda: lives_through(four, lambda: silent(hanging), seconds=17),
        )
        said = "".join(path.read_text() for path in tmp_path.rglob("run-*.log"))
        assert said.count("the database takes outcomes again") == 4, "each of them was noticed"


# --- told to stop ---------------------------------------------------------------------------------------------------


def terminated(program: Program, daemon: Running) -> int:
    """Terminate it; it keeps its promise, and leaves its mark."""
    began = time.monotonic()
    daemon.send(signal.SIGTERM)
    code = daemon.code()
    assert time.monotonic() - began < PROMISED_SECONDS + BUSY_SECONDS
    assert mark(program)["stopped"] is True
    assert "Traceback" not in daemon.said
    return code


def test_told_to_stop_it_ends_in_time_with_everything_safe_in_whatever_state(  # noqa: C901 - the states are many
    tmp_path: Path, gates: Callable[[], Gate]
) -> None:
    def when_idle(program: Program) -> None:
        with program.daemon(**HOUR) as daemon:
            eventually(program.recorded)
            assert terminated(program, daemon) == 143
        assert not program.spooled()

    def while_a_request_hangs(program: Program) -> None:
        program.exchange.faults.add("hang", path=BALANCES)
        with program.daemon(**HOUR) as daemon:
            eventually(lambda: asked(program))
            assert terminated(program, daemon) == 143
        holds_a_stopped_slot(program)

    def between_two_attempts(program: Program) -> None:
        program.exchange.faults.add("status", path=BALANCES, status=503)
        with program.daemon(**HOUR, BINGX_ETL_RETRY_FOR="120s") as daemon:
            eventually(lambda: asked(program) >= 3)
            assert terminated(program, daemon) == 143
        holds_a_stopped_slot(program)

    def while_a_name_is_looked_up_in_vain(program: Program) -> None:
        (program.home / "sitecustomize.py").write_text(
            "import pathlib, socket, time\n"
            "def forever(*_, **__):\n    pathlib.Path('looking').touch()\n    time.sleep(3600)\n"
            "socket.getaddrinfo = forever\n"
        )
        path = f"{program.home}{os.pathsep}{program.environ['PYTHONPATH']}"
        with program.daemon(**HOUR, BINGX_ETL_BASE_URL="https://nobody.invalid", PYTHONPATH=path) as daemon:
            eventually((program.home / "looking").exists)
            assert terminated(program, daemon) == 143
        # Its environment is not the sandbox's, so it is only looked at.
        assert {reason for (reason,) in program.rows("SELECT reason FROM failure")} == {"stopped"}

    def while_the_database_is_locked(program: Program) -> None:
        program.state.mkdir(mode=0o700)
        assert program.run("db", "upgrade").code == 0
        with locked(program), program.daemon(**HOUR) as daemon:
            eventually(program.spooled)
            time.sleep(1)  # until the database is waited for
            assert terminated(program, daemon) == 143
        holds_a_reading(program)

    def while_the_database_is_silent(program: Program, gate: Gate) -> None:
        with silent(gate), program.daemon(**HOUR) as daemon:
            eventually(program.spooled)
            time.sleep(1)  # until the database is waited for
            assert terminated(program, daemon) == 143
        holds_a_reading(program)

    def while_the_database_is_down(program: Program, gate: Gate) -> None:
        with closed(gate), program.daemon(**HOUR) as daemon:
            eventually(lambda: daemon.at("error"))
            assert terminated(program, daemon) == 143
        holds_a_reading(program)

    def while_it_starts(program: Program) -> None:
        for seconds in (0.05, 0.3, 0.6, 0.9, 1.2):
            with program.daemon(**HOUR) as daemon:
                time.sleep(seconds)
                daemon.send(signal.SIGTERM)
                # Before it is its own master, the signal's own effect: for a shell 143 as well.
                assert daemon.code() in {143, -signal.SIGTERM}
                assert "Traceback" not in daemon.said
        assert program.run("spool", "load").code == 0

    def holds_a_stopped_slot(program: Program) -> None:
        program.exchange.faults.clear()
        assert program.run("spool", "load").code == 0
        assert list(program.failed().values()) == ["stopped"]

    def holds_a_reading(program: Program) -> None:
        assert len(program.spooled()) == 1
        assert program.run("spool", "load").code == 0
        assert (len(program.recorded()), program.failed()) == (1, {})

    with ExitStack() as stack:

        def program(name: str, url: str | None = None) -> Program:
            return stack.enter_context(installed(tmp_path / name, url))

        hanging, down = gates(), gates()
        at_once(
            lambda: when_idle(program("idle")),
            lambda: while_a_request_hangs(program("hanging")),
            lambda: between_two_attempts(program("pausing")),
            lambda: while_a_name_is_looked_up_in_vain(program("looking")),
            lambda: while_the_database_is_locked(program("locked")),
            lambda: while_the_database_is_silent(program("silent", hanging.url), hanging),
            lambda: while_the_database_is_down(program("down", down.url), down),
            lambda: while_it_starts(program("starting")),
        )


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_the_second_signal_ends_it_at_once(program: Program) -> None:
    program.exchange.faults.add("hang", path=BALANCES)
    with program.daemon(**HOUR) as daemon:
        eventually(lambda: asked(program))
        daemon.send(signal.SIGTERM)
        eventually(lambda: not catches(daemon.process.pid, signal.SIGTERM))
        daemon.send(signal.SIGTERM)
        assert daemon.code() == -signal.SIGTERM, "by the signal's own effect, and not at the end of its patience"


def test_sigint_is_130(program: Program) -> None:
    with program.daemon(**HOUR) as daemon:
        eventually(program.recorded)
        daemon.send(signal.SIGINT)
        assert daemon.code() == 130
    assert mark(program)["stopped"] is True


def test_a_history_that_goes_missing_meanwhile_is_begun_anew_with_a_warning(program: Program) -> None:
    with program.daemon(**ONE) as daemon:
        eventually(program.recorded)
        assert "a new history begins" not in daemon.said
        time.sleep(TOGETHER.total_seconds() + 0.1)
        Path(program.database_url.removeprefix("sqlite:///")).unlink()
        eventually(lambda: "a new history begins" in daemon.said)
        eventually(program.recorded)


# --- absent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGTERM, "stopped"), (signal.SIGKILL, "crashed")])
def test_the_slots_between_two_lives_are_missing_for_the_reason_that_ended_the_first(
    anywhere: Program, number: int, reason: str
) -> None:
    with anywhere.daemon(**ONE) as daemon:
        eventually(lambda: len(anywhere.recorded()) >= 2)
        daemon.send(number)
        daemon.code()
    time.sleep(3.2)
    again = time.time()
    with anywhere.daemon(**ONE) as daemon:
        eventually(lambda: [slot for slot in anywhere.recorded() if slot > again])
        eventually(lambda: anywhere.failed() and not anywhere.spooled())
        assert daemon.stop() == 143
    # Told to stop, the second one may have a slot under way as well.
    first = min(slot for slot in anywhere.recorded() if slot > again)
    missed = sum(why == reason for slot, why in anywhere.failed().items() if slot < first)
    assert missed >= 2
    assert accounted_for(anywhere, 1, reason)
    assert re.search(f'event="slots missed" account=main .* reason={reason}', daemon.said)
    assert (missed, reason) in anywhere.rows("SELECT missed, reason FROM slot_gap")


def test_slots_that_passed_while_it_was_halted_are_missing_for_that_and_the_next_is_recorded(program: Program) -> None:
    with program.daemon(**ONE) as daemon:
        eventually(lambda: len(program.recorded()) >= 2)
        daemon.send(signal.SIGSTOP)
        time.sleep(8.5)
        daemon.send(signal.SIGCONT)
        woken = time.time()
        eventually(lambda: [slot for slot in program.recorded() if slot > woken])
        eventually(lambda: len(program.failed()) >= 6)
        assert daemon.stop() == 143
    failed = program.failed()
    assert list(failed.values()).count("suspended") >= 6
    assert accounted_for(program, 1, "suspended")


def test_when_the_clock_is_set_the_next_slot_still_happens(tmp_path: Path) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("faketime is not installed: apt-get install faketime")

    def lives_through(program: Program, seconds: int, judge: Callable[[Program, Running, float], None]) -> None:
        clock = program.home / "clock"
        clock.write_text("+0")
        faked = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with program.daemon(**ONE, **faked, BINGX_ETL_RETRY_FOR="5s") as daemon:
            eventually(lambda: len(program.recorded()) >= 2)
            (program.home / "next").write_text(f"{seconds:+d}")
            (program.home / "next").rename(clock)
            at = time.time()
            eventually(lambda: "time did not pass as it should: clock_jumped" in daemon.said)
            before = asked(program)
            eventually(lambda: asked(program) >= before + 3)
            judge(program, daemon, at)
            assert daemon.stop() == 143
        assert not program.spooled()

    def files_by_the_time_of_the_exchange(program: Program, _: Running, at: float) -> None:
        eventually(lambda: sum(slot > at for slot in program.recorded()) >= 3)
        assert program.exchange.counts[BALANCES, "100421"] >= 1, "it was refused for its clock"
        slots = program.recorded()
        assert slots[-1] < time.time() + 1, "nothing is filed in the future"
        assert slots[0] > at - 30, "nor in the past"
        assert accounted_for(program, 1, "clock_skew", "clock_jumped")

    def names_slots_by_its_own_clock(program: Program, daemon: Running, at: float) -> None:
        eventually(lambda: sum(slot > at + 38 for slot in program.recorded()) >= 2)
        missed = [slot for slot, reason in program.failed().items() if reason == "clock_jumped"]
        assert len(missed) >= 35
        assert re.search(r'event="slots missed" .* reason=clock_jumped', daemon.said)
        assert accounted_for(program, 1, "clock_skew", "clock_jumped")

    def goes_on_in_slots_that_it_knows(program: Program, daemon: Running, at: float) -> None:
        assert max(program.recorded()) <= at + 1
        assert set(program.failed().values()) <= {"overrun", "clock_skew"}, (
            "what was recorded stays, and is not missing"
        )
        assert "reason=clock_jumped" not in daemon.said
        slots = program.recorded()
        assert len(slots) == len(set(slots))

    with ExitStack() as stack:

        def program(name: str) -> Program:
            return stack.enter_context(installed(tmp_path / name))

        at_once(
            lambda: lives_through(program("hour-on"), 3600, files_by_the_time_of_the_exchange),
            lambda: lives_through(program("hour-back"), -3600, files_by_the_time_of_the_exchange),
            lambda: lives_through(program("on"), 40, names_slots_by_its_own_clock),
            lambda: lives_through(program("back"), -40, goes_on_in_slots_that_it_knows),
        )


# --- SIGHUP ---------------------------------------------------------------------------------------------------------


def config_of(program: Program, interval: str) -> Path:
    """A config file whose account has its key in files, which are the sandbox's present ones."""
    account = program.exchange.account("main")
    for name, text in (("key", account.api_key), ("secret", account.api_secret)):
        path = program.home / name
        path.touch(mode=0o600)
        path.write_text(text)
    config = program.home / "config.toml"
    config.touch(mode=0o600)
    config.write_text(
        f'interval = "{interval}"\n[accounts.main]\n'
        f'api_key_file = "{program.home / "key"}"\napi_secret_file = "{program.home / "secret"}"\n'
    )
    return config


KEYLESS = {"BINGX_API_KEY": None, "BINGX_API_SECRET": None, "BINGX_ETL_ACCOUNT": None, "BINGX_ETL_INTERVAL": None}


def test_at_sighup_a_rotated_key_is_taken_and_what_is_broken_is_not(anywhere: Program) -> None:
    first = anywhere.exchange.account("main")
    config = config_of(anywhere, "1s")
    with anywhere.daemon("--config", str(config), **KEYLESS) as daemon:
        eventually(lambda: len(anywhere.recorded()) >= 2)

        config.write_text("nonsense = 1\n")
        daemon.send(signal.SIGHUP)
        eventually(lambda: daemon.at("error"))
        assert "the old ones stay" in daemon.at("error")[0]
        assert "nonsense" in daemon.at("error")[0]
        anywhere.exchange.faults.add("raw", path=BALANCES, body=f"<html>{first.api_key} {first.api_secret}", times=1)
        after = time.time()
        eventually(lambda: sum(slot > after for slot in anywhere.recorded()) >= 2)

        old, second = config_of(anywhere, "1s"), anywhere.exchange.rotate_key("main")
        assert (old, first.api_key) != (config, second.api_key)
        eventually(lambda: "key_refused" in anywhere.failed().values())
        config_of(anywhere, "1s")
        daemon.send(signal.SIGHUP)
        eventually(lambda: "settings and keys read again: 1 accounts" in daemon.said)
        after = time.time()
        eventually(lambda: sum(slot > after for slot in anywhere.recorded()) >= 2)
        assert daemon.stop() == 143
    assert anywhere.rows("SELECT count(*) FROM account") == [(1,)]
    assert max(anywhere.failed(), default=0) < after
    for secret in (first.api_key, first.api_secret, second.api_key, second.api_secret):
        assert secret not in daemon.said


def test_at_sighup_a_key_that_cannot_be_read_any_more_does_not_end_the_recording(program: Program) -> None:
    config = config_of(program, "1s")
    with program.daemon("--config", str(config), **KEYLESS) as daemon:
        eventually(program.recorded)
        (program.home / "key").chmod(0o644)
        daemon.send(signal.SIGHUP)
        eventually(lambda: "the old ones stay" in daemon.said)
        after = time.time()
        eventually(lambda: sum(slot > after for slot in program.recorded()) >= 2)
        assert daemon.stop() == 143


def test_at_sighup_another_interval_is_taken_and_another_state_directory_needs_a_restart(program: Program) -> None:
    config = config_of(program, "1d")
    program.state.mkdir(mode=0o700)
    with program.daemon("--config", str(config), **KEYLESS, BINGX_ETL_STATE_DIR=None, HOME=str(program.home)) as daemon:
        eventually(program.recorded)
        config.write_text(f'state_dir = "{program.home / "elsewhere"}"\n{config.read_text()}')
        daemon.send(signal.SIGHUP)
        eventually(lambda: "restart" in daemon.said)
        config_of(program, "1s")
        daemon.send(signal.SIGHUP)
        eventually(lambda: len(program.recorded()) >= 4)
        assert daemon.stop() == 143
    assert consecutive(program.recorded()[1:], 1)
    assert not (program.home / "elsewhere").exists()


def test_what_fails_at_sighup_does_not_make_the_log_forget_its_secrets(
    program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(program, "1h")
    first = program.exchange.account("main")
    for name, value in {**program.environ, **KEYLESS, "BINGX_ETL_CONFIG": str(config)}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None and name.startswith("BINGX_"):
            monkeypatch.setenv(name, value)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        with click.Context(run):
            muster = _Muster(program.state)
            muster()
            (program.home / "key").write_text("")
            with pytest.raises(SettingsError):
                muster()
            second = program.exchange.rotate_key("main")
            config_of(program, "1h")
            logging.getLogger("etl").warning("before %s %s", first.api_key, first.api_secret)
            muster()
            logging.getLogger("etl").warning("after %s %s %s", first.api_key, second.api_key, second.api_secret)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    said = capsys.readouterr().err
    assert "before *** ***" in said
    assert "after *** *** ***" in said


# --- what it says, and what it costs --------------------------------------------------------------------------------


def test_without_a_key_it_does_not_begin(program: Program) -> None:
    with program.daemon(BINGX_API_KEY=None) as daemon:
        assert daemon.code() == 78
    assert "BINGX_API_KEY" in daemon.said
    assert "Traceback" not in daemon.said


def test_between_slots_it_does_next_to_nothing(program: Program) -> None:
    def cpu_ticks(pid: int) -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    with program.daemon(**HOUR) as daemon:
        eventually(program.recorded)
        time.sleep(1)
        before, began = cpu_ticks(daemon.process.pid), time.monotonic()
        time.sleep(18)
        seconds = (cpu_ticks(daemon.process.pid) - before) / os.sysconf("SC_CLK_TCK")
        assert seconds / (time.monotonic() - began) < 0.005
        threads = len(list(Path(f"/proc/{daemon.process.pid}/task").iterdir()))
        assert threads <= 5, "whoever has read a slot has gone"
        assert daemon.stop() == 143


def test_slot_after_slot_it_keeps_no_thread_and_no_descriptor(program: Program) -> None:
    def held(pid: int) -> list[tuple[int, int]]:
        seen = []
        for _ in range(10):
            time.sleep(0.1)
            seen.append((len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))))
        return seen

    with program.daemon(**ONE) as daemon:
        eventually(lambda: len(program.recorded()) >= 3)
        early = held(daemon.process.pid)
        eventually(lambda: len(program.recorded()) >= 10)
        late = held(daemon.process.pid)
        assert min(late) <= max(early)
        assert daemon.stop() == 143


def test_its_help_says_what_the_signals_do(program: Program) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "etl", "run", "--help"], env=program.environ, capture_output=True, text=True, check=True
    ).stdout
    assert all(word in said for word in ("SIGTERM", "SIGINT", "SIGHUP", "within 10 seconds"))
