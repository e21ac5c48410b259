"""A person's two columns: what is clear is taken to the digit and the second, what could be two things is refused."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import NotUnderstood
from etl.grid import instant_text
from etl.model import Provenance, Status
from etl.transfer.portable import numbered_lines
from etl.transfer.spreadsheet import DAY_FIRST, MONTH_FIRST, Habits, parse_time, parse_total, read_totals

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
IN_UTC, IN_BERLIN = Habits(UTC), Habits(BERLIN)


def totals(text: str, habits: Habits = IN_UTC) -> list[tuple[str, str]]:
    """Times in UTC and totals."""
    lines = numbered_lines(io.BytesIO(text.encode()))
    return [
        (instant_text(entry.snapshot.taken_at), str(entry.snapshot.total))
        for entry in read_totals(lines, "main", habits, NOW)
    ]


def why_not(text: str, habits: Habits = IN_UTC) -> str:
    with pytest.raises(NotUnderstood) as caught:
        totals(text, habits)
    return str(caught.value)


@pytest.mark.parametrize("header", ["", "time,total\n", "\ufeffDate,Equity in USDT\r\n", "\n\n"])
def test_a_table_is_read_with_or_without_a_header(header: str) -> None:
    rows = "2025-12-30 17:00,100.50\n2025-12-31 17:00:30.25, -1.0 ,,\n\n"
    assert totals(header + rows) == [("2025-12-30T17:00:00.000Z", "100.50"), ("2025-12-31T17:00:30.250Z", "-1.0")]


@pytest.mark.parametrize(
    ("text", "habits"),
    [
        ("31.12.2025 17:00;1.234,50\n", IN_UTC),
        ("31.12.2025, 17:00\t1'234,50\n", IN_UTC),
        ('2025/12/31 17:00,"1,234.50"\n', IN_UTC),
        ("2025-12-31T17:00:00Z;1234,50\n", Habits()),
        ("2025-12-31T18:00+01:00;1234,50\n", Habits()),
        ("2025-12-31 12:00 -0500;1 234,50\n", IN_BERLIN),
        ("2025-12-31 17:00 UTC;1\u202f234,50\n", IN_BERLIN),
        ("31.12.2025 18:00;1234.50\n", IN_BERLIN),
        ("12/31/2025 12:00;1,234.50\n", Habits(NEW_YORK)),
        ("31/12/2025 17:00;+01234.50\n", IN_UTC),
    ],
)
def test_the_forms_of_spreadsheets_mean_the_same(text: str, habits: Habits) -> None:
    assert totals(text, habits) == [("2025-12-31T17:00:00.000Z", "1234.50")]


def test_what_comes_of_a_line_is_a_total_without_wallets_that_says_where_it_is_from() -> None:
    [entry] = read_totals(iter([(7, "2025-12-31 17:00:30.250,5\n")]), "old", IN_UTC, NOW)
    s = entry.snapshot
    assert (entry.line, entry.environment, s.account, s.balances) == (7, None, "old", ())
    assert (s.provenance, s.status, s.requested_at) == (Provenance.IMPORTED, Status.COMPLETE, None)
    assert s.slot_at == datetime(2025, 12, 31, 17, 0, 30, tzinfo=UTC)


def test_a_day_alone_stands_for_its_end() -> None:
    assert totals("2025-12-31,5\n")[0][0] == "2026-01-01T00:00:00.000Z"
    assert totals("31.12.2025;5\n", IN_BERLIN)[0][0] == "2025-12-31T23:00:00.000Z"
    assert totals("2025-12-31 24:00;5\n", IN_BERLIN)[0][0] == "2025-12-31T23:00:00.000Z"
    # On 31 March 2024 the clocks of Beirut went from 0:00 to 1:00.
    assert totals("2024-03-30;5\n", Habits(ZoneInfo("Asia/Beirut")))[0][0] == "2024-03-30T22:00:00.000Z"
    assert "2026-12-01 is not over yet" in why_not("2026-11-30,5\n2026-12-01,6\n")


@pytest.mark.parametrize(
    ("dates", "expected"), [(DAY_FIRST, "2026-04-03T17:00:00.000Z"), (MONTH_FIRST, "2026-03-04T17:00:00.000Z")]
)
def test_a_date_that_could_be_two_is_refused_until_somebody_says_which(dates: str, expected: str) -> None:
    said = why_not("03/03/2026 17:00,5\n03/04/2026 17:00,5\n")
    for word in ("line 2: 03/04/2026 could be two days", "2026-04-03", "2026-03-04", "--dates"):
        assert word in said
    assert totals("03/04/2026 17:00,5\n", Habits(UTC, dates))[0][0] == expected
    assert totals("03.04.2026 17:00,5\n", Habits(UTC, dates))[0][0] == "2026-04-03T17:00:00.000Z", "dots are day-first"


def test_a_total_that_could_be_two_is_refused_until_somebody_says_which() -> None:
    # What divides the columns tells nothing: a German sheet, saved on the web, has commas there and in its numbers.
    for text in ("2025-12-31;1.234\n", "2025-12-31\t-1,234\n", "31.12.2025,1.234\n", '2025-12-31,"12,345"\n'):
        assert "could mean two numbers: say by --decimal" in why_not(text)
    assert totals("2025-12-31;1.234\n", Habits(UTC, decimal=",")) == [("2026-01-01T00:00:00.000Z", "1234")]
    assert totals("2025-12-31;1.234\n", Habits(UTC, decimal=".")) == [("2026-01-01T00:00:00.000Z", "1.234")]
    assert totals('31.12.2025,"1234,5"\n')[0][1] == "1234.5"
    assert totals('2025-12-31,"12,345"\n', Habits(UTC, decimal=","))[0][1] == "12.345"


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [
        ("1.234.567", None, "1234567"),
        ("1,234,567.8900", None, "1234567.8900"),
        ("1.234.567,89", None, "1234567.89"),
        ("1234.567", None, "1234.567"),
        ("0.123", None, "0.123"),
        ("0,123", None, "0.123"),
        ("-0,00", None, "0.00"),
        ("1,5", None, "1.5"),
        ("1,5", ",", "1.5"),
        ("1.5", ",", None),
        ("1,23,456", None, None),
        ("1,234.567.890", None, None),
        ("1.234,567,890", None, None),
        ("12345,678.9", None, None),
        ("1.234,5", ".", None),
        ("1,234", ".", "1234"),
        ("1e5", None, None),
        ("$5", None, None),
        ("5 USDT", None, None),
        ("(5)", None, None),
        ("", None, None),
        ("NaN", None, None),
        ("1..5", None, None),
        ("\u0661", None, None),
        ("1" * 111, None, None),
    ],
)
def test_a_number_is_read_to_the_digit_or_refused(text: str, decimal: str | None, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(NotUnderstood, match=r"^line 3: "):
            parse_total(text, decimal, 3)
    else:
        assert str(parse_total(text, decimal, 3)) == expected


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2025-12-31 17:00,5,6", "3 columns instead of two"),
        ("2025-12-31 17:00", "1 columns instead of two"),
        ("31.12.25;5", "a year of four digits"),
        ("45992;5", "a year of four digits"),
        ("1767200400;5", "a year of four digits"),
        ("yesterday;5", "a year of four digits"),
        ("2025-02-29;5", "no day of the calendar"),
        ("31.11.2025;5", "no day of the calendar"),
        ("13/13/2025;5", "no day of the calendar"),
        ("2025-12-31 5 PM;5", "write 2026-12-31 17:00"),
        ("2025-12-311;5", "write 2026-12-31 17:00"),
        ("2025-12-3117:00;5", "write 2026-12-31 17:00"),
        ("2025-12-31 25:00;5", "no time of a day"),
        ("2025-12-31 17:60;5", "no time of a day"),
        ("2025-12-31 24:00:01;5", "no time of a day"),
        ("2025-12-31 17:00+99:00;5", "an offset"),
        ("2009-12-30;5", "before 2010"),
        ("9999-12-31;5", "no year of our days"),
        ("0001-01-01 00:00;5", "no year of our days"),
        ("2027-01-01 00:00;5", "in the future"),
        ("2025-12-30 00:00;5", "the same time as in line 1"),
        (";5", "a year of four digits"),
        ("2025-12-31;", "no plain number"),
        ('"2025-12-31;5', "no CSV"),
    ],
)
def test_what_is_no_row_is_told_with_its_line(line: str, why: str) -> None:
    said = why_not(f"2025-12-29{';' if ';' in line else ','}4\n\n{line}\n")
    assert said.startswith("line 3: "), said
    assert why in said


def test_a_time_without_a_zone_needs_one() -> None:
    assert "line 2: 2025-12-31 17:00 has no time zone: say which by --tz" in why_not(
        "2025-12-31T16:00Z,4\n2025-12-31 17:00,5\n", Habits()
    )


def test_an_hour_that_the_clocks_skipped_or_showed_twice_is_refused() -> None:
    assert "line 1: 2025-03-30 02:30 was skipped" in why_not("30.03.2025 02:30;5\n", IN_BERLIN)
    assert "line 1: 2025-10-26 02:30 came twice" in why_not("26.10.2025 02:30;5\n", IN_BERLIN)
    both = totals("26.10.2025 02:30+02:00;5\n26.10.2025 02:30+01:00;6\n", IN_BERLIN)
    assert [time for time, _ in both] == ["2025-10-26T00:30:00.000Z", "2025-10-26T01:30:00.000Z"]


@given(st.datetimes(datetime(2010, 1, 2), datetime(2026, 11, 1)), st.sampled_from([UTC, BERLIN, NEW_YORK]))  # noqa: DTZ001 - of a clock on the wall
def test_any_moment_comes_back_from_the_form_of_a_clock_on_the_wall(naive: datetime, zone: ZoneInfo) -> None:
    naive = naive.replace(microsecond=naive.microsecond // 1000 * 1000)
    early, late = naive.replace(tzinfo=zone), naive.replace(tzinfo=zone, fold=1)
    for form in ("%Y-%m-%d %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S,%f"):
        if early.utcoffset() == late.utcoffset():
            assert parse_time(naive.strftime(form), Habits(zone), 1) == early
        else:
            with pytest.raises(NotUnderstood, match=r"was skipped|came twice"):
                parse_time(naive.strftime(form), Habits(zone), 1)
    assert parse_time(f"{naive:%Y-%m-%d}", Habits(UTC), 1) - naive.replace(tzinfo=UTC) <= timedelta(days=1)


@given(st.decimals(-(10**9), 10**9, places=4), st.sampled_from([",", "."]))
def test_any_amount_comes_back_from_the_form_of_a_country(amount: Decimal, mark: str) -> None:
    grouped = f"{amount:,}".translate(str.maketrans(",.", {".": ",.", ",": ".,"}[mark]))
    for text in (grouped, str(amount).replace(".", mark)):
        assert parse_total(text, mark, 1) == amount
        assert parse_total(text, None, 1) == amount
