"""Which pings there are, in which order, and what becomes of them where the service is slow."""

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest

from etl.cli.exits import code_of
from etl.errors import DatabaseUnavailable, SettingsError
from etl.load.judge import judge
from etl.model import Answer, Balance, Reason
from etl.ops.pings import PACE_SECONDS, PING_SECONDS, Pings, address_of
from etl.recorder import Recorded, Slot, Stored
from tests.fakes import no_thread
from tests.values import ASKED, failure, reading

URL = "https://ping.example/some-id"
DOWN = Stored(trouble=DatabaseUnavailable("it is down"))


def complete(*, stored: bool = True) -> Recorded:
    """An account that was read."""
    outcome = reading(account="secret-account")
    snapshot = judge(outcome, Answer(ASKED, (Balance("spot", Decimal("123.45")),)), None)
    return Recorded(outcome, snapshot, None, stored=stored)


def failed(reason: Reason = Reason.UNAVAILABLE) -> Recorded:
    """One that could not be read."""
    outcome = failure(account="secret-account", reason=reason)
    return Recorded(outcome, None, outcome, stored=True)


class Sent:
    """A service that takes what it is sent, or as long as ``gate`` is closed nothing."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.under_way = 0
        self.words = ""

    def __call__(self, url: str, text: str, seconds: float) -> str:
        assert seconds == PING_SECONDS
        self.under_way += 1
        assert self.under_way == 1, "one at a time"
        self.all.append((url.removeprefix(URL), text))
        assert self.gate.wait(10)
        self.under_way -= 1
        return self.words

    @property
    def paths(self) -> list[str]:
        """Where to, without the run."""
        return [path.partition("?")[0] for path, _ in self.all]


class Bench:
    """Pings with a clock of the test's own."""

    def __init__(self, address: Callable[[], str | None] = lambda: URL) -> None:
        self.sent = Sent()
        self.now = 1000.0
        self.pings = Pings(address, self.sent, code_of, patience_seconds=5, monotonic=lambda: self.now)

    def slot(self, *recorded: Recorded, stored: Stored | None = None, wait: bool = True) -> None:
        """Begins and ends, an interval after the last."""
        self.now += 300
        self.pings.begins()
        self.settle(wait=wait)
        self.pings.ends([Slot(recorded=list(recorded))], stored or Stored())
        self.settle(wait=wait)

    def settle(self, *, wait: bool = True) -> None:
        """Wait for what is under way."""
        deadline = time.monotonic() + 5
        while wait and self.pings._thread is not None:
            assert time.monotonic() < deadline
            time.sleep(0.001)


def test_a_slot_is_a_start_and_an_end_of_one_run_and_the_next_is_another() -> None:
    bench = Bench()
    bench.slot(complete())
    bench.slot(complete(), failed())
    assert bench.sent.paths == ["/start", "", "/start", "/69"]
    runs = [path.partition("?rid=")[2] for path, _ in bench.sent.all]
    assert runs[0] == runs[1] != runs[2] == runs[3]
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", run) for run in runs)


@pytest.mark.parametrize(
    ("recorded", "stored", "path"),
    [
        ([complete()], Stored(), ""),
        ([complete(), complete()], Stored(), ""),
        ([complete(), complete(stored=False)], Stored(), "/75"),
        ([complete(stored=False)], DOWN, "/75"),
        ([complete(), failed(Reason.KEY_REFUSED)], DOWN, "/77"),
        ([complete()], Stored(damaged=1), "/65"),
    ],
)
def test_it_is_a_success_only_when_the_outcome_of_every_account_is_stored(
    recorded: Sequence[Recorded], stored: Stored, path: str
) -> None:
    bench = Bench()
    bench.slot(*recorded, stored=stored)
    assert bench.sent.paths == ["/start", path]


def test_what_no_thread_could_be_had_for_is_sent_with_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            bench.pings.begins()
    bench.pings.ends([Slot(recorded=[complete()])], Stored())
    bench.settle()
    assert bench.sent.paths == ["/start", ""]


def test_what_is_told_are_numbers_and_reasons_and_neither_names_nor_amounts() -> None:
    bench = Bench()
    bench.slot(complete(), failed(), failed(Reason.KEY_REFUSED))
    [(_, start), (_, end)] = bench.sent.all
    assert start == ""
    assert end == (
        "slot 2026-11-22T15:20:00Z, accounts 3: complete 1, key_refused 1, unavailable 1; stored 3; exit code 77"
    )


def test_a_database_that_comes_back_between_two_slots_is_a_success_then_and_not_before() -> None:
    bench = Bench()
    bench.pings.ends([], Stored())
    bench.slot(complete(stored=False), stored=DOWN)
    bench.pings.ends([], DOWN)
    bench.settle()
    assert bench.sent.paths == ["/start", "/75"]
    bench.pings.ends([], Stored(earlier=1))
    bench.pings.ends([], Stored())
    bench.settle()
    assert bench.sent.paths == ["/start", "/75", ""]


@pytest.mark.parametrize("reason", [Reason.UNREACHABLE, Reason.RATE_LIMITED])
def test_what_was_never_read_is_no_success_by_being_stored(reason: Reason) -> None:
    bench = Bench()
    bench.slot(failed(reason), stored=DOWN)
    bench.pings.ends([], Stored(earlier=1))
    bench.settle()
    assert len(bench.sent.all) == 2


def test_what_could_not_begin_is_told_by_its_exit_code() -> None:
    bench = Bench()
    bench.pings.fails(SettingsError("a text that stays at home"))
    bench.settle()
    bench.now += 100
    bench.pings.fails(ZeroDivisionError())
    bench.settle()
    assert bench.sent.all == [
        ("/78", "nothing was recorded: SettingsError, exit code 78"),
        ("/70", "nothing was recorded: ZeroDivisionError, exit code 70"),
    ]


def test_while_the_service_is_slow_the_newest_end_is_kept_and_nothing_grows() -> None:
    bench = Bench()
    bench.sent.gate.clear()
    for number in range(1000):
        bench.slot(failed() if number < 999 else complete(), wait=False)
        assert len(bench.pings._waiting) <= 2
    bench.sent.gate.set()
    bench.settle()
    assert bench.sent.paths == ["/start", ""]


def test_a_start_is_told_before_its_end_however_slow_the_service_is() -> None:
    bench = Bench()
    bench.slot(complete())
    bench.sent.gate.clear()
    bench.slot(failed(), wait=False)
    bench.slot(complete(), wait=False)
    bench.sent.gate.set()
    bench.settle()
    assert bench.sent.paths[2] == "/start"
    assert bench.sent.paths[-1] == ""


def test_of_slots_shorter_than_the_service_takes_only_changes_are_told_at_once() -> None:
    bench = Bench()
    for number in range(60):
        bench.now += 1
        bench.pings.begins()
        bench.settle()
        bench.pings.ends([Slot(recorded=[failed() if number == 30 else complete()])], Stored())
        bench.settle()
    assert bench.sent.paths.count("/69") == 1
    assert bench.sent.paths[bench.sent.paths.index("/69") + 1] == "", "and so is that it is over"
    assert 60 / PACE_SECONDS <= len(bench.sent.paths) <= 2 * (60 / PACE_SECONDS + 1) + 2


def test_trouble_with_the_service_is_said_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench()
    bench.sent.words = "connection refused"
    for _ in range(3):
        bench.slot(complete())
    bench.sent.words = ""
    bench.slot(complete())
    assert caplog.messages == ["a ping did not arrive: connection refused", "pings arrive again"]


def test_a_defect_in_sending_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def burst(*_: object) -> str:
        raise ZeroDivisionError

    pings = Pings(lambda: URL, burst, code_of, patience_seconds=5)
    pings.begins()
    pings.finish()
    pings.ends([Slot(recorded=[complete()])], Stored())
    pings.finish()
    assert caplog.messages == ["a defect while pinging: recording goes on"] * 2


def test_at_the_end_what_is_under_way_is_waited_for_and_not_for_ever() -> None:
    sent = Sent()
    sent.gate.clear()
    pings = Pings(lambda: URL, sent, code_of, patience_seconds=0.2)
    pings.begins()
    pings.ends([Slot(recorded=[complete()])], Stored())
    began = time.monotonic()
    pings.finish()
    assert 0.15 < time.monotonic() - began < 8
    sent.gate.set()
    pings.finish()
    assert sent.paths == ["/start", ""]


def test_without_an_address_there_is_no_thread_and_one_that_comes_later_is_used() -> None:
    address: list[str | None] = [None]
    bench = Bench(lambda: address[0])
    bench.slot(complete())
    assert bench.sent.all == []
    address[0] = URL
    bench.slot(complete())
    assert bench.sent.paths == ["/start", ""]


def test_the_path_goes_before_what_an_address_asks_for() -> None:
    assert address_of("https://h.example/ping/key/slug?create=1", "/start", "r") == (
        "https://h.example/ping/key/slug/start?create=1&rid=r"
    )
    assert address_of("https://h.example/id/", "", "") == "https://h.example/id"
    assert address_of("https://h.example/id", "/77", "r") == "https://h.example/id/77?rid=r"
