"""What is said to ``$NOTIFY_SOCKET``, over real sockets."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from etl.bingx.answers import parse_overview
from etl.daemon.supervisor import MOST_OWED, Reporter, Supervisor
from etl.errors import DatabaseUnavailable, DiskError
from etl.load.judge import judge
from etl.recorder import Recorded, Slot, Stored
from tests.values import failure, reading


@pytest.fixture
def ears(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(0)
        yield listening


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify")})


def heard(ears: socket.socket) -> list[str]:
    found = []
    try:
        while True:
            found.append(ears.recv(65536).decode())
    except BlockingIOError:
        return found


def test_a_status_is_one_line_whatever_is_in_it(supervisor: Supervisor, ears: socket.socket) -> None:
    supervisor.status("a name\nWATCHDOG=1\r\nREADY=1")
    assert heard(ears) == ["STATUS=a name WATCHDOG=1 READY=1"]


@pytest.mark.parametrize("name", ["", "relative/path", "vsock:2:1234", "/nowhere/notify"])
def test_where_nobody_can_be_told_nothing_happens(name: str) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"})
    supervisor.ready()
    supervisor.alive()
    supervisor.stopping()
    assert supervisor.wants_life_every == (1.0 if name.startswith("/") else None)


@pytest.mark.parametrize("text", ["", "0", "-1", "soon", "1.5", "²"])
def test_a_watchdog_that_makes_no_sense_is_none(tmp_path: Path, text: str) -> None:
    assert Supervisor({"NOTIFY_SOCKET": str(tmp_path), "WATCHDOG_USEC": text}).wants_life_every is None


def test_what_was_not_taken_is_said_later_but_no_sign_of_life_is(
    supervisor: Supervisor, ears: socket.socket, tmp_path: Path
) -> None:
    (tmp_path / "notify").rename(tmp_path / "away")
    supervisor.ready()
    supervisor.alive()
    supervisor.status("first")
    (tmp_path / "away").rename(tmp_path / "notify")
    supervisor.status("second")
    assert heard(ears) == ["READY=1", "STATUS=first", "STATUS=second"]
    supervisor.alive()
    assert heard(ears) == ["WATCHDOG=1"]


def test_what_is_owed_does_not_grow(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "notify").unlink(missing_ok=True)
    for number in range(1000):
        supervisor.status(f"{number}")
    assert len(supervisor._owed) == MOST_OWED


# --- in words -------------------------------------------------------------------------------------------------------


def test_of_a_slot_it_says_how_many_accounts_came_to_what_and_no_amount(
    supervisor: Supervisor, ears: socket.socket
) -> None:
    good, bad = reading(), failure()
    done = Recorded(good, judge(good, parse_overview(good.bodies[-1]), None), None, stored=True)
    late = Recorded(replace(bad, slot_at=good.slot_at), None, bad, stored=True)
    reporter = Reporter(supervisor)
    reporter.ends([Slot(recorded=[done, late, done])], Stored())
    reporter.ends([], Stored())
    reporter.ends([], Stored(trouble=DatabaseUnavailable("hunter2")))
    words = f"STATUS=slot {good.slot_at:%Y-%m-%dT%H:%M:%SZ}: 2 complete, 1 failed ({bad.reason.value})"
    assert heard(ears) == [words, f"{words}; not stored yet, and tried again"]


def test_of_a_defect_it_says_its_kind_alone(supervisor: Supervisor, ears: socket.socket) -> None:
    reporter = Reporter(supervisor)
    reporter.fails(DiskError("the spool cannot be written"))
    reporter.fails(ValueError("hunter2"))
    assert heard(ears) == [
        "STATUS=a slot could not be read: the spool cannot be written",
        "STATUS=a slot could not be read: ValueError",
    ]
