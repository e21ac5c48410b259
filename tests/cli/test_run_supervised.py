"""``run`` as systemd sees it: what it says to a real ``$NOTIFY_SOCKET``, and when it stops saying that it is alive."""

import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from etl.sandbox.rules import BALANCES
from tests.cli.program import Program, eventually, installed
from tests.cli.test_run import HOUR, KEYLESS, ONE, accounted_for, at_once, config_of

FED_SECONDS = 1.6
WATCHED = {"WATCHDOG_USEC": str(int(FED_SECONDS * 1_000_000))}

# What is loaded into the daemon before itself: patience that a test can wait for, and a place to hang in.
PATIENCE_SECONDS = 4.0
IMPATIENT = f"""
import pathlib, time
import etl.daemon.liveness as liveness
liveness.SLOT_SECONDS = liveness.SCHEDULER_SECONDS = {PATIENCE_SECONDS}
liveness.READING_SECONDS = liveness.STORING_SECONDS = {PATIENCE_SECONDS}
import etl.daemon.daemon
etl.daemon.daemon.PULSE_SECONDS = 1

def is_to_hang():
    if pathlib.Path("hang").exists():
        pathlib.Path("hangs").touch()
        return True

def hanging(call):
    def instead(*arguments, **named):
        while is_to_hang():
            time.sleep(0.1)
        return call(*arguments, **named)
    return instead

def ending(call):
    def instead(*arguments, **named):
        if is_to_hang():
            raise SystemExit
        return call(*arguments, **named)
    return instead

def skipping(call):
    def instead(*arguments, **named):
        return None if is_to_hang() else call(*arguments, **named)
    return instead
"""


class Manager:
    """Listens as a service manager does."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.heard: list[tuple[float, str]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = self._socket.recv(65536).decode()
            except OSError:
                return
            self.heard.append((time.monotonic(), message))

    def close(self) -> None:
        """Stop listening."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    @property
    def messages(self) -> list[str]:
        """All but the signs of life."""
        return [message for _, message in self.heard if message != "WATCHDOG=1"]

    @property
    def states(self) -> list[str]:
        """All but those and what is said of slots."""
        return [message for message in self.messages if not message.startswith("STATUS=")]

    @property
    def fed(self) -> list[float]:
        """When there was a sign of life."""
        return [at for at, message in self.heard if message == "WATCHDOG=1"]

    @property
    def is_ready(self) -> bool:
        """Whether the daemon has said so."""
        return any("READY=1" in message.splitlines() for message in self.messages)

    def starves(self) -> bool:
        """Whether there was no sign of life for so long that systemd would act."""
        return bool(self.fed) and time.monotonic() - self.fed[-1] > FED_SECONDS


@contextmanager
def managed(home: Path, *, abstract: bool = False) -> Iterator[Manager]:
    manager = Manager(f"@bingx-etl-{secrets.token_hex(8)}" if abstract else str(home / "notify"))
    try:
        yield manager
    finally:
        manager.close()


@pytest.fixture
def manager(program: Program) -> Iterator[Manager]:
    with managed(program.home) as listening:
        yield listening


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_from_its_start_to_its_end_it_says_what_it_does(program: Program, *, abstract: bool) -> None:
    with managed(program.home, abstract=abstract) as manager:
        with program.daemon(**HOUR, **WATCHED, NOTIFY_SOCKET=manager.address) as daemon:
            eventually(lambda: manager.is_ready and program.recorded())
            eventually(lambda: len(manager.fed) >= 5)
            assert daemon.stop() == 143
        assert max(later - fed for fed, later in pairwise(manager.fed)) < FED_SECONDS
        first, *others, last = manager.messages
    assert first == "STATUS=1 accounts, every 1h; the first slot begins"
    assert min(others) == "READY=1"
    [status] = sorted(others)[1:]
    assert re.fullmatch(r"STATUS=slot 20[0-9T:-]+Z: 1 complete", status)
    assert last == "STOPPING=1"


def test_without_a_watchdog_it_is_not_fed_and_without_a_manager_nothing_is_said(program: Program) -> None:
    with managed(program.home) as manager:
        for environ in ({}, {**WATCHED, "WATCHDOG_PID": "1"}):
            with program.daemon(**HOUR, **environ, NOTIFY_SOCKET=manager.address) as daemon:
                eventually(lambda: manager.is_ready)
                time.sleep(FED_SECONDS / 2)
                daemon.stop()
            assert manager.fed == []
    with program.daemon(**HOUR, **WATCHED, NOTIFY_SOCKET=str(program.home / "nobody")) as daemon:
        eventually(lambda: "slot recorded" in daemon.said)
        assert daemon.stop() == 143
    assert not daemon.at("error")


def test_it_is_ready_although_bingx_is_down_and_says_so_of_the_slot(program: Program, manager: Manager) -> None:
    program.exchange.faults.add("status", path=BALANCES, status=503)
    with program.daemon(**HOUR, **WATCHED, BINGX_ETL_RETRY_FOR="3s", NOTIFY_SOCKET=manager.address) as daemon:
        eventually(lambda: manager.is_ready)
        assert not program.failed(), "before the slot is settled"
        eventually(lambda: "failed (unavailable)" in manager.messages[-1])
        fed = len(manager.fed)
        eventually(lambda: len(manager.fed) > fed + 1)
        assert daemon.stop() == 143


def test_it_is_not_ready_before_there_is_a_place_for_what_it_reads(program: Program, manager: Manager) -> None:
    program.state.mkdir(mode=0o700)
    for name in ("spool", "balances.db"):
        (program.state / name).mkdir(mode=0o700)
    (program.state / "spool").rmdir()
    (program.state / "spool").write_text("in the way")
    with program.daemon(**ONE, NOTIFY_SOCKET=manager.address) as daemon:
        eventually(lambda: any("a slot could not be read" in message for message in manager.messages))
        time.sleep(1.5)
        assert not manager.is_ready
        (program.state / "spool").unlink()
        eventually(lambda: manager.is_ready)
        assert daemon.stop() == 143


def test_a_reload_is_told_with_its_time_and_with_what_came_of_it(program: Program, manager: Manager) -> None:
    config = config_of(program, "1h")
    with program.daemon("--config", str(config), **KEYLESS, NOTIFY_SOCKET=manager.address) as daemon:
        eventually(lambda: manager.is_ready and program.recorded())
        for content, said in ((None, "settings and keys read again: 1 accounts, every 1h"), ("x = 1\n", "not taken")):
            if content:
                config.write_text(content)
            heard, before = len(manager.states), time.monotonic_ns() // 1000
            daemon.send(signal.SIGHUP)
            eventually(lambda: len(manager.states) == heard + 2)  # noqa: B023
            reloading, ready = manager.states[heard:]
            found = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=([0-9]+)", reloading)
            assert found is not None
            assert before <= int(found[1]) <= time.monotonic_ns() // 1000
            assert ready.startswith("READY=1\nSTATUS=")
            assert said in ready
        assert daemon.stop() == 143


def test_a_manager_that_does_not_listen_costs_no_slot(program: Program) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(program.home / "notify"))
        with program.daemon(**ONE, **WATCHED, NOTIFY_SOCKET=str(program.home / "notify")) as daemon:
            eventually(lambda: len(program.recorded()) >= 5)
            assert daemon.stop() == 143
    assert accounted_for(program, 1)


# --- the watchdog ---------------------------------------------------------------------------------------------------


def test_what_is_stopped_is_not_fed_and_when_it_goes_on_it_is(program: Program, manager: Manager) -> None:
    with program.daemon(**HOUR, **WATCHED, NOTIFY_SOCKET=manager.address) as daemon:
        eventually(lambda: len(manager.fed) >= 2)
        daemon.send(signal.SIGSTOP)
        time.sleep(1.5 * FED_SECONDS)
        assert manager.starves()
        daemon.send(signal.SIGCONT)
        fed = len(manager.fed)
        eventually(lambda: len(manager.fed) >= fed + 2)
        assert daemon.stop() == 143


HANGS = {
    "the main thread hangs": "from etl.daemon.vigil import Vigil; Vigil.look = hanging(Vigil.look)",
    "the scheduler hangs": "G = etl.daemon.daemon.Grid; G.get_next_fire_time = hanging(G.get_next_fire_time)",
    "the scheduler is dead": "G = etl.daemon.daemon.Grid; G.get_next_fire_time = ending(G.get_next_fire_time)",
    "a slot is not begun": "D = etl.daemon.daemon.Daemon; D._read = skipping(D._read)",
    "a reading hangs": "import etl.extract.extract; E = etl.extract.extract.Extraction; E.run = hanging(E.run)",
    "the storekeeper hangs": "import etl.recorder; R = etl.recorder.Recorder; R.store = hanging(R.store)",
    "the storekeeper is dead": "S = etl.daemon.daemon.Storekeeper; S._wait = ending(S._wait)",
}
TOLD = {
    "the scheduler hangs": "the scheduler",
    "the scheduler is dead": "the scheduler",
    "a slot is not begun": "the slot that is due",
    "a reading hangs": "reading a slot",
    "the storekeeper hangs": "storing what the spool has",
    "the storekeeper is dead": "the storekeeper",
}


def impatient(program: Program, more: str = "") -> dict[str, str]:
    """The environment of a daemon that does not wait for long before it finds that something hangs."""
    (program.home / "sitecustomize.py").write_text(IMPATIENT + more)
    return {**WATCHED, "PYTHONPATH": f"{program.home}:{program.environ['PYTHONPATH']}"}


def test_whatever_hangs_the_watchdog_is_not_fed_any_more_and_hours_without_a_slot_are_no_hang(tmp_path: Path) -> None:
    def starves(program: Program, manager: Manager, what: str) -> None:
        environ = impatient(program, HANGS[what])
        with program.daemon(**ONE, **environ, NOTIFY_SOCKET=manager.address) as daemon:
            eventually(lambda: len(manager.fed) >= 2)
            (program.home / "hang").touch()
            eventually((program.home / "hangs").exists)
            time.sleep(PATIENCE_SECONDS + 1)
            fed = len(manager.fed)
            if what in TOLD:
                eventually(lambda: f"no sign of life any more: {TOLD[what]}" in daemon.said)
            time.sleep(FED_SECONDS)
            assert len(manager.fed) == fed, what
            daemon.send(signal.SIGABRT)
            assert daemon.code() == -signal.SIGABRT
            assert "most recent call first" in daemon.said, "where it hung"
            account = program.exchange.account("main")
            assert account.api_key not in daemon.said
            assert account.api_secret not in daemon.said

    def has_nothing_to_do(program: Program, manager: Manager) -> None:
        """For longer than the patience of any part of it."""
        environ = {**ONE, "BINGX_ETL_INTERVAL": "1d", **impatient(program)}
        with program.daemon(**environ, NOTIFY_SOCKET=manager.address) as daemon:
            eventually(lambda: "slot recorded" in daemon.said and manager.fed)
            said, fed = len(daemon.lines), len(manager.fed)
            time.sleep(PATIENCE_SECONDS + 2)
            eventually(lambda: len(manager.fed) > fed)
            assert daemon.stop() == 143
        assert not [line for line in daemon.lines[said + 1 :] if "no sign of life" in line]

    calls: list[Callable[[], None]] = []
    with ExitStack() as stack:

        def supervised(name: str) -> tuple[Program, Manager]:
            program = stack.enter_context(installed(tmp_path / name))
            return program, stack.enter_context(managed(program.home))

        for number, what in enumerate(HANGS):
            calls.append(partial(starves, *supervised(str(number)), what))
        at_once(*calls, partial(has_nothing_to_do, *supervised("idle")))
