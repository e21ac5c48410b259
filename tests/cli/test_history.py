"""``gaps``: known answers, from outcomes in the spool to the text on stdout."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etl.model import Failure, Reading
from etl.spool.spool import Spool
from tests.cli.program import Program, Ran
from tests.values import failure, reading

MIDNIGHT = datetime(2026, 1, 10, tzinfo=UTC)
INTERVAL = 21_600


def slot(hours: int) -> datetime:
    """So many hours after the midnight with which 10 January begins."""
    return MIDNIGHT + timedelta(hours=hours)


def taken(hours: int, spot: str, account: str = "main", uid: str = "1001") -> Reading:
    """A reading of two wallets, one of them with eight decimals."""
    return reading(
        {"sopt": spot, "USDTMPerp": "0.00000001"},
        account=account,
        uid=uid,
        slot_at=slot(hours),
        requested_at=slot(hours) + timedelta(seconds=2),
        interval_seconds=INTERVAL,
    )


def failed(hours: int) -> Failure:
    """A failure of main."""
    at = slot(hours) + timedelta(seconds=2)
    return failure(slot_at=slot(hours), interval_seconds=INTERVAL, first_at=at, last_at=at)


@pytest.fixture
def recorded(anywhere: Program) -> Program:
    """Three days of main, some of them with holes, and one reading of another account."""
    spool = Spool(anywhere.state)
    spool.prepare()
    spool.put(
        [
            taken(6, "100.00"),
            taken(12, "110"),
            taken(18, "90.5"),
            taken(24, "95"),  # the reading at midnight closes the day that ends
            failed(30),
            # nobody was there at 36
            taken(42, "98.123456789012345678"),
            taken(48, "99.5"),
            # nobody was there on the third day, up to
            taken(78, "101"),
            taken(54, "7", account="other", uid="2002"),
        ]
    )
    assert anywhere.run("spool", "load").code == 0
    return anywhere


def rows(ran: Ran) -> list[dict[str, Any]]:
    """The rows of JSON."""
    found: list[dict[str, Any]] = json.loads(ran.out)
    return found


def test_gaps_are_told_with_their_reasons_and_are_an_exit_code(recorded: Program) -> None:
    ran = recorded.run("gaps", "--account", "main", "--until", "2026-01-12", "--format", "json")
    assert (ran.code, ran.err) == (1, "")
    assert rows(ran) == [
        {
            "account": "main",
            "gap_from": "2026-01-11T06:00:00Z",
            "gap_to": "2026-01-11T06:00:00Z",
            "missed": 1,
            "reason": "unavailable",
        },
        {
            "account": "main",
            "gap_from": "2026-01-11T12:00:00Z",
            "gap_to": "2026-01-11T12:00:00Z",
            "missed": 1,
            "reason": None,
        },
        {
            "account": "main",
            "gap_from": "2026-01-12T06:00:00Z",
            "gap_to": "2026-01-13T00:00:00Z",
            "missed": 4,
            "reason": None,
        },
    ]
    table = recorded.run(
        "gaps", "--account", "main", "--since", "2026-01-11T06:00:00Z", "--until", "2026-01-11T06:00:00Z"
    )
    assert table.code == 1
    assert len(table.out.splitlines()) == 2
    assert "unavailable" in table.out
    later = recorded.run(
        "gaps", "--account", "main", "--since", "2026-01-11T06:00:01Z", "--until", "2026-01-12", "--format", "json"
    )
    assert [gap["gap_from"] for gap in rows(later)] == ["2026-01-11T12:00:00Z", "2026-01-12T06:00:00Z"]
    ran = recorded.run("gaps", "--account", "main", "--until", "2026-01-11T05:59:59Z", "--format", "csv")
    assert (ran.code, len(ran.out.splitlines()), ran.err) == (0, 1, "no gaps\n")


def test_a_day_is_asked_for_whole_from_after_its_midnight_to_the_next_one(recorded: Program) -> None:
    def begins(*arguments: str) -> list[str]:
        return [
            gap["gap_from"] for gap in rows(recorded.run("gaps", "--account", "main", *arguments, "--format", "json"))
        ]

    eleventh = ["2026-01-11T06:00:00Z", "2026-01-11T12:00:00Z"]
    assert begins("--since", "2026-01-11", "--until", "2026-01-11") == eleventh
    assert begins("--until", "2026-01-11") == eleventh
    assert recorded.run("gaps", "--account", "main", "--until", "2026-01-10").code == 0
    twelfth = "2026-01-12T06:00:00Z"  # to 2026-01-13T00:00:00Z, the last slot of the 12th
    assert begins("--since", "2026-01-12", "--until", "2026-01-12") == [twelfth]
    assert twelfth not in begins("--since", "2026-01-13")
    assert begins("--until", "9999-12-31")[:3] == [*eleventh, twelfth]


def test_an_account_never_heard_of_and_a_time_that_is_none_are_told(recorded: Program) -> None:
    ran = recorded.run("gaps", "--account", "nobody")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1)
    assert "bingx-etl account list" in ran.err
    for time in ("2026-02-30", "yesterday", "2026-01-01T00:00:00", "10.01.2026", "0001-01-01T00:00:00+12:00"):
        ran = recorded.run("gaps", "--since", time)
        assert (ran.code, ran.out) == (2, "")
        assert "2026-12-31T23:00:00Z" in ran.err
        assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", ["gaps", "export", "report"])
@pytest.mark.parametrize(
    ("since", "until"), [("2026-01-12", "2026-01-11"), ("2026-01-12T00:00:01Z", "2026-01-11T23:00:00Z")]
)
def test_a_range_that_ends_before_it_begins_is_refused(program: Program, command: str, since: str, until: str) -> None:
    ran = program.run(command, "--since", since, "--until", until)
    assert (ran.code, ran.out) == (2, "")
    assert "--since is after --until" in ran.err
    assert program.run(command, "--since", until, "--until", until).code == 0


@pytest.mark.parametrize("command", ["gaps", "export", "report"])
def test_a_second_account_is_refused_rather_than_the_first_left_out(program: Program, command: str) -> None:
    ran = program.run(command, "--account", "main", "--account", "other")
    assert (ran.code, ran.out) == (2, "")
    assert "more than once" in ran.err


def test_no_gaps_is_said_only_of_a_time_in_which_slots_were_expected(recorded: Program) -> None:
    def says(*arguments: str) -> tuple[int, str]:
        ran = recorded.run("gaps", "--account", "main", "--format", "csv", *arguments)
        return ran.code, ran.err

    nothing = "no slot was expected in that time, so nothing is missing: neither is anything known of it\n"
    before = "slots are expected from 2026-01-10T06:00:00Z on: what lies before is no gap\n"
    assert says("--since", "2025-01-01", "--until", "2025-12-31") == (0, nothing + before)
    assert says("--since", "2025-01-01", "--until", "2026-01-10") == (0, "no gaps\n" + before)
    assert says("--since", "2025-01-01", "--until", "2026-01-11") == (1, before)
    assert says("--since", "2026-01-10T06:00:00Z", "--until", "2026-01-10") == (0, "no gaps\n")
    assert says("--since", "9999-01-01") == (0, nothing)
    assert recorded.run("account", "retire", "other").code == 0
    assert recorded.run("gaps", "--account", "other", "--since", "9999-01-01").err == nothing


def test_a_history_that_is_all_imported_has_no_gaps_to_tell(program: Program) -> None:
    table = program.home / "old.csv"
    table.write_text("2025-12-30,100\n2025-12-31,101\n")
    assert program.run("import", str(table), "--account", "old", "--tz", "UTC").code == 0
    ran = program.run("gaps")
    assert (ran.code, ran.err) == (0, "no slot was ever expected: all of it is imported\n")
