"""``report``: known answers, from outcomes in the spool to the text on stdout, in a pipe and on a terminal."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from etl.cli.report import report
from etl.model import Failure, Reading
from etl.report.curve import LEVELS
from etl.report.equity import COLUMNS
from etl.spool.spool import Spool
from tests.cli.program import Program, Ran, installed
from tests.cli.terminal import on_a_terminal
from tests.values import failure, reading

MIDNIGHT = datetime(2026, 1, 10, tzinfo=UTC)
INTERVAL = 21_600
FIGURES = ("open_usdt", "high_usdt", "low_usdt", "close_usdt", "change_usdt", "change_pct", "drawdown_pct")
WITHIN = ("--account", "main", "--until", "2026-01-13")


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


def filled(program: Program) -> Program:
    """Three days of main, some of them with holes, and one reading of another account."""
    spool = Spool(program.state)
    spool.prepare()
    partial = reading(
        {"sopt": "1000"}, slot_at=slot(60), requested_at=slot(60), interval_seconds=INTERVAL
    )  # without a wallet that held something
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
            partial,
            taken(78, "101"),
            taken(54, "7", account="other", uid="2002"),
        ]
    )
    assert program.run("spool", "load").code == 0
    return program


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One for all tests, which only read."""
    with installed(tmp_path_factory.mktemp("report") / "home") as program:
        yield filled(program)


def rows(ran: Ran) -> list[dict[str, Any]]:
    """The rows of a JSON report."""
    assert ran.code == 0, ran.err
    found: list[dict[str, Any]] = json.loads(ran.out)
    return found


def test_days_are_reported_exactly_and_a_gap_is_never_bridged(anywhere: Program) -> None:
    recorded = filled(anywhere)
    ran = recorded.run("report", *WITHIN, "--format", "json")
    assert ran.err == ""
    days = rows(ran)
    assert list(days[0]) == [name for name in COLUMNS if name != "account_type"]
    perp = "00000001"
    assert [(day["period"], *(day[key] for key in (*FIGURES, "snapshots", "expected", "partial"))) for day in days] == [
        ("2026-01-10", f"100.{perp}", f"110.{perp}", f"90.5{perp[1:]}", f"95.{perp}", None, None, "-13.6364", 4, 4, 0),
        (
            "2026-01-11", "98.123456799012345678", f"99.5{perp[1:]}", "98.123456799012345678", f"99.5{perp[1:]}",
            "4.50000000", "4.7368", "-9.5455", 2, 4, 0,
        ),
        ("2026-01-12", None, None, None, None, None, None, None, 0, 4, 1),
        ("2026-01-13", f"101.{perp}", f"101.{perp}", f"101.{perp}", f"101.{perp}", None, None, "-8.1818", 1, 4, 0),
    ]  # fmt: skip
    assert [day["coverage"] for day in days] == [1, 0.5, 0, 0.25]
    assert (days[0]["begins_at"], days[0]["ends_at"], days[0]["close_at"]) == (
        "2026-01-10T00:00:00Z",
        "2026-01-11T00:00:00Z",
        "2026-01-11T00:00:00Z",
    )
    same = list(csv.DictReader(io.StringIO(recorded.run("report", *WITHIN, "--format", "csv").out)))
    assert [{key: text for key, text in day.items() if key != "coverage"} for day in same] == [
        {key: "" if value is None else str(value) for key, value in day.items() if key != "coverage"} for day in days
    ]
    one = ("--account", "main", "--since", "2026-01-11", "--until", "2026-01-11", "--format", "json")
    assert rows(recorded.run("report", *one)) == days[1:2], "change and peak are measured from what was before"


def test_the_table_is_rounded_says_so_and_tells_what_took_no_part(recorded: Program) -> None:
    ran = recorded.run("report", *WITHIN)
    assert ran.out.splitlines() == [
        "main",
        "period        open    high     low    close  change  change %  drawdown %  coverage",
        "2026-01-10  100.00  110.00   90.50    95.00                        -13.64      100%",
        "2026-01-11   98.12   99.50   98.12    99.50   +4.50     +4.74       -9.55       50%",
        "2026-01-12                          missing                                      0%",
        "2026-01-13  101.00  101.00  101.00   101.00                         -8.18       25%",
    ]
    assert ran.err.splitlines() == [
        "took no part: 1 partial and 0 voided snapshots",
        "amounts are rounded to 2 decimals: --format json or csv has every digit",
    ]


def test_a_terminal_gets_a_curve_and_what_fits(recorded: Program) -> None:
    lines = on_a_terminal(recorded, "report", *WITHIN)
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"main  {LEVELS[0]}{LEVELS[6]} {LEVELS[7]}"
    assert lines[1] == "period        high     low    close  change  change %  drawdown %  coverage"
    assert lines[4].split() == ["2026-01-12", "missing", "0%"]
    narrow = on_a_terminal(recorded, "report", *WITHIN, columns=50)
    assert max(map(len, narrow)) <= 50
    assert {"period", "close", "change", "coverage"} <= set(narrow[1].split())
    assert "open" in on_a_terminal(recorded, "report", *WITHIN, columns=120)[1]
    assert not set(LEVELS) & set(recorded.run("report", *WITHIN).out)


def test_weeks_months_and_wallets_in_any_zone(recorded: Program) -> None:
    def told(*arguments: str) -> list[dict[str, Any]]:
        return rows(recorded.run("report", *WITHIN, "--format", "json", *arguments))

    [*_, first, second] = told("--every", "week")
    assert [(week["period"], week["close_usdt"], week["change_usdt"]) for week in (first, second)] == [
        ("2026-W02", "99.50000001", None),
        ("2026-W03", "101.00000001", "1.50000000"),
    ]
    [month] = told("--every", "month", "--tz", "Asia/Tokyo")
    assert (month["period"], month["begins_at"], month["close_usdt"]) == (
        "2026-01",
        "2025-12-31T15:00:00Z",
        "101.00000001",
    )
    wallets = told("--by", "account-type", "--every", "month")
    assert [(row["account_type"], row["close_usdt"]) for row in wallets] == [
        ("USDTMPerp", "0.00000001"),
        ("spot", "101"),
    ]
    table = recorded.run("report", *WITHIN, "--by", "account-type").out
    assert {"main, USDTMPerp", "main, spot"} <= set(table.splitlines())


def test_all_together_is_told_after_each(recorded: Program) -> None:
    days = rows(recorded.run("report", "--until", "2026-01-12", "--format", "json"))
    closes = {(day["account"], day["period"]): (day["close_usdt"], day["accounts"]) for day in days}
    assert closes["other", "2026-01-12"] == ("7.00000001", 1)
    assert closes["(all)", "2026-01-11"] == ("99.50000001", 1)
    assert closes["(all)", "2026-01-12"] == (None, None), "main has nothing there"
    assert [day["account"] for day in days][-3:] == ["(all)"] * 3


def test_a_time_without_anything_is_an_empty_report_and_a_hint(recorded: Program) -> None:
    for form, lines in (("csv", 1), ("json", 1), ("table", 0)):
        ran = recorded.run("report", "--until", "2020-01-01", "--format", form)
        assert (ran.code, len(ran.out.splitlines()), len(ran.err.splitlines())) == (0, lines, 1)
        assert ran.err == "nothing recorded in that time\n"


def test_before_the_first_snapshot_it_is_empty_too(program: Program) -> None:
    ran = program.run("report", "--format", "json")
    assert (ran.code, json.loads(ran.out), len(ran.err.splitlines())) == (0, [], 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "2026-02-30"), "2026-12-31T23:00:00Z"),
        (("--until", "yesterday"), "2026-12-31T23:00:00Z"),
        (("--until", "2026-01-01T00:00:00"), "2026-12-31T23:00:00Z"),
        (("--since", "0001-01-01", "--tz", "Asia/Tokyo"), "out of range"),
        (("--tz", "Europe/Atlantis"), "Europe/Berlin"),
        (("--tz", "../../etc/passwd"), "Europe/Berlin"),
        (("--tz", "Europe"), "Europe/Berlin"),
        (("--tz", ""), "Europe/Berlin"),
        (("--every", "year"), "'month'"),
        (("--by", "wallet"), "'account-type'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_does_not_exist_is_told_with_the_remedy(arguments: tuple[str, ...], words: str) -> None:
    ran = CliRunner().invoke(report, arguments)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert words in ran.stderr
    assert "--help" in ran.stderr


def test_an_account_never_heard_of_is_told_with_those_there_are(recorded: Program) -> None:
    ran = recorded.run("report", "--account", "nobody")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1)
    assert "bingx-etl account list" in ran.err


def test_the_ends_of_the_calendar_are_no_error(recorded: Program) -> None:
    within = ("report", "--account", "main", "--format", "json")
    days = rows(recorded.run(*within))
    same = rows(recorded.run(*within, "--since", "0001-01-02", "--until", "9999-12-31"))
    assert [day["period"] for day in same] == [day["period"] for day in days]
