"""Equity over time, against a model that is too slow and too simple to be wrong in the same way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.model import Schedule
from etl.report.equity import COLUMNS, EVERYBODY, TOTAL, Question, Report, Row, Seen, report
from etl.report.expected import Known
from etl.report.periods import Every
from etl.report.series import percent
from tests.plain_equity import Snap, plain_rows

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 27, tzinfo=UTC)


@dataclass
class Pages:
    """A source that has everything in memory, in pages that end where ``cuts`` are."""

    known: list[Known]
    snaps: list[Snap]
    cuts: Sequence[datetime] = ()
    read_until: list[datetime] = field(default_factory=list)

    def accounts(self, name: str | None) -> list[Known]:
        return [known for known in self.known if name in {None, known.name}]

    def pages(self, accounts: Sequence[Known], until: datetime, *, by_type: bool) -> Iterator[list[Seen]]:
        self.read_until.append(until)
        asked = {known.id for known in accounts}
        before = datetime.min.replace(tzinfo=UTC)
        for cut in [*sorted({cut for cut in self.cuts if cut < until}), until]:
            page = [s for s in self.snaps if s.account in asked and before < s.slot_at <= cut]
            yield [
                Seen(s.account, s.slot_at, s.is_void, s.wallets if by_type or s.wallets is None else {TOTAL: s.total})
                for s in sorted(page, key=lambda s: (s.account, s.slot_at))
            ]
            before = cut


def known(number: int, *schedules: Schedule, snaps: Sequence[Snap] = (), is_retired: bool = False) -> Known:
    slots = [s.slot_at for s in snaps if s.account == number]
    first, last = min(slots, default=None), max(slots, default=None)
    return Known(number, f"a{number}", schedules, first, last, is_retired=is_retired)


def at(hours: float) -> datetime:
    return START + HOUR * hours


def snap(hours: float, total: str | None, account: int = 1, *, is_void: bool = False) -> Snap:
    return Snap(account, at(hours), None if total is None else {"spot": Decimal(total)}, is_void)


def told(*snaps: Snap, schedules: Mapping[int, tuple[Schedule, ...]] | None = None, **asked: Any) -> Report:
    numbers = {s.account for s in snaps} | set(schedules or {})
    accounts = [known(n, *(schedules or {}).get(n, ()), snaps=snaps) for n in sorted(numbers)]
    return report(Pages(accounts, list(snaps)), Question(**asked), at(24 * 30))


def column(rows: Sequence[Row], *names: str) -> list[Any]:
    return [tuple(str(row[name]) for name in names) for row in rows]  # type: ignore[literal-required]


def test_the_columns_are_the_keys_of_a_row() -> None:
    [row] = told(snap(1, "1")).rows
    assert tuple(row) == COLUMNS


def test_nothing_recorded_is_an_empty_report() -> None:
    assert report(Pages([known(1)], []), Question(), START) == Report([], 0, 0)
    later = (Schedule(3600, at(100)),)
    assert report(Pages([known(1, *later)], []), Question(), START).rows == []
    assert told(snap(1, "1"), until=at(-30)).rows == []
    assert told(snap(1, "1"), since=at(60)).rows == []


def test_a_gap_is_shown_and_never_bridged() -> None:
    rows = told(snap(1, "100"), snap(24, "110.5"), snap(25, "90"), snap(73, "99")).rows
    assert column(rows, "period", "open_usdt", "close_usdt", "change_usdt", "change_pct") == [
        ("2026-03-27", "100", "110.5", "None", "None"),
        ("2026-03-28", "90", "90", "-20.5", "-18.5520"),
        ("2026-03-29", "None", "None", "None", "None"),
        ("2026-03-30", "99", "99", "None", "None"),
    ]
    assert column(rows, "peak_usdt", "drawdown_usdt", "drawdown_pct") == [
        ("110.5", "0.0", "0.0000"),
        ("110.5", "-20.5", "-18.5520"),
        ("None", "None", "None"),
        ("110.5", "-11.5", "-10.4072"),
    ]


def test_the_peak_is_that_of_all_of_the_history_and_of_every_snapshot() -> None:
    snaps = snap(1, "100"), snap(2, "400"), snap(3, "100"), snap(25, "200"), snap(26, "100")
    [row] = told(*snaps, since=at(24)).rows
    assert column([row], "period", "change_usdt", "high_usdt", "peak_usdt", "drawdown_pct") == [
        ("2026-03-28", "0", "200", "400", "-75.0000")
    ]


def test_what_is_void_or_partial_takes_no_part_and_is_counted() -> None:
    found = told(snap(1, "100"), snap(2, "900", is_void=True), snap(3, None), snap(4, None, is_void=True))
    assert column(found.rows, "high_usdt", "close_usdt", "close_at", "peak_usdt", "snapshots", "partial", "voided") == [
        ("100", "100", str(at(1)), "100", "1", "1", "2")
    ]
    assert (found.partial, found.voided) == (1, 2)
    snaps = snap(1, None), snap(30, "1"), snap(60, None)
    assert told(*snaps, since=at(24), until=at(48)).partial == 0
    assert told(*snaps).partial == 2


def test_there_is_no_percentage_of_nothing_or_of_a_debt() -> None:
    rows = told(snap(1, "0"), snap(25, "5"), snap(49, "-10"), snap(73, "-5.0"), snap(97, "-0.00")).rows
    assert column(rows, "change_usdt", "change_pct", "drawdown_usdt", "drawdown_pct") == [
        ("None", "None", "0", "None"),
        ("5", "None", "0", "0.0000"),
        ("-15", "-300.0000", "-15", "-300.0000"),
        ("5.0", "None", "-10.0", "-200.0000"),
        ("5.00", "None", "-5.00", "-100.0000"),
    ]


@pytest.mark.parametrize(
    ("new", "base", "found"),
    [
        ("100.00005", "100", "0.0000"),
        ("100.00015", "100", "0.0002"),
        ("99.99995", "100", "0.0000"),
        ("2", "3", "-33.3333"),
    ],
)
def test_percentages_are_rounded_half_to_even(new: str, base: str, found: str) -> None:
    assert str(percent(Decimal(new), Decimal(base))) == found


def test_every_digit_stays() -> None:
    high, low = (
        "12345678901234567890123456789012345678901234567890.000000000000000000000000000001",
        "0." + "0" * 900 + "1",
    )
    first, second = told(snap(1, high), snap(25, low)).rows
    assert str(first["close_usdt"]) == high
    assert second["change_usdt"] is not None
    assert second["change_usdt"].compare(Decimal(0)) == -1
    assert len(str(second["change_usdt"])) > 950
    several = told(snap(1, high), snap(1, low, 2)).rows
    assert len(str(several[-1]["close_usdt"])) > 950


def test_all_together_has_a_figure_only_where_every_account_has_one() -> None:
    grid = (Schedule(3600, at(1)),)
    rows = told(
        *(snap(1, "100"), snap(2, "110"), snap(3, "130")),
        *(snap(1, "10", 2), snap(2, "90", 2, is_void=True), snap(3, None, 2)),
        snap(25, "100"),
        schedules={1: grid, 2: grid},
        until=at(48),
    ).rows
    figures = (
        "account",
        "period",
        "open_usdt",
        "high_usdt",
        "low_usdt",
        "close_usdt",
        "snapshots",
        "expected",
        "accounts",
    )
    assert column(rows, *figures) == [
        ("a1", "2026-03-27", "100", "130", "100", "130", "3", "24", "1"),
        ("a1", "2026-03-28", "100", "100", "100", "100", "1", "24", "1"),
        ("a2", "2026-03-27", "10", "10", "10", "10", "1", "24", "1"),
        ("a2", "2026-03-28", "None", "None", "None", "None", "0", "24", "None"),
        (EVERYBODY, "2026-03-27", "110", "110", "110", "110", "1", "24", "2"),
        (EVERYBODY, "2026-03-28", "None", "None", "None", "None", "0", "24", "None"),
    ]
    assert column(rows[-2:], "partial", "voided") == [("1", "1"), ("0", "0")]


def test_one_who_comes_later_or_has_retired_is_not_missed_and_makes_no_change() -> None:
    snaps = [snap(day * 24 + 12, "100") for day in range(5)]
    snaps += [snap(day * 24 + 12, "50", 2) for day in (1, 2)] + [snap(3 * 24 + 12, "49", 2)]
    grids = {1: (Schedule(43_200, at(0.5)),), 2: (Schedule(43_200, at(30), at(90)),)}
    rows = told(*snaps, schedules=grids, until=at(24 * 5)).rows
    together = [row for row in rows if row["account"] == EVERYBODY]
    assert column(
        together, "period", "close_usdt", "change_usdt", "peak_usdt", "drawdown_usdt", "expected", "accounts"
    ) == [
        ("2026-03-27", "100", "None", "100", "0", "2", "1"),
        ("2026-03-28", "150", "None", "150", "0", "2", "2"),
        ("2026-03-29", "150", "0", "150", "0", "2", "2"),
        ("2026-03-30", "149", "-1", "150", "-1", "2", "2"),
        ("2026-03-31", "100", "None", "100", "0", "2", "1"),
    ]
    assert column([row for row in rows if row["account"] == "a2"], "period", "expected") == [
        ("2026-03-28", "2"),
        ("2026-03-29", "2"),
        ("2026-03-30", "1"),
    ]


def test_accounts_of_different_intervals_are_expected_together_where_both_are() -> None:
    grids = {1: (Schedule(3600 * 4, at(1)),), 2: (Schedule(3600 * 6, at(1)),)}
    rows = told(snap(12, "1"), snap(12, "2", 2), snap(24, "3"), schedules=grids, until=at(24)).rows
    assert column(rows[-1:], "close_usdt", "close_at", "snapshots", "expected") == [("3", str(at(12)), "1", "2")]


def test_wallets_are_lines_of_their_own_from_where_they_are_first_named() -> None:
    def named(hours: float, account: int = 1, **amounts: str) -> Snap:
        return Snap(account, at(hours), {name: Decimal(amount) for name, amount in amounts.items()}, False)

    rows = told(
        named(1, spot="1", grid="5"),
        named(25, spot="2", c2c="0.50"),
        named(25, 2, spot="40", eran="7"),
        named(49, spot="3", c2c="0.75"),
        named(49, 2),  # an imported total, without its wallets
        by_type=True,
    ).rows
    assert column(rows, "account", "account_type", "period", "close_usdt", "change_usdt") == [
        ("a1", "c2c", "2026-03-28", "0.50", "None"),
        ("a1", "c2c", "2026-03-29", "0.75", "0.25"),
        ("a1", "grid", "2026-03-27", "5", "None"),
        ("a1", "grid", "2026-03-28", "None", "None"),
        ("a1", "grid", "2026-03-29", "None", "None"),
        ("a1", "spot", "2026-03-27", "1", "None"),
        ("a1", "spot", "2026-03-28", "2", "1"),
        ("a1", "spot", "2026-03-29", "3", "1"),
        ("a2", "eran", "2026-03-28", "7", "None"),
        ("a2", "eran", "2026-03-29", "None", "None"),
        ("a2", "spot", "2026-03-28", "40", "None"),
        ("a2", "spot", "2026-03-29", "None", "None"),
        (EVERYBODY, "c2c", "2026-03-28", "0.50", "None"),
        (EVERYBODY, "c2c", "2026-03-29", "None", "None"),
        (EVERYBODY, "eran", "2026-03-28", "7", "None"),
        (EVERYBODY, "eran", "2026-03-29", "None", "None"),
        (EVERYBODY, "grid", "2026-03-27", "5", "None"),
        (EVERYBODY, "grid", "2026-03-28", "None", "None"),
        (EVERYBODY, "grid", "2026-03-29", "None", "None"),
        (EVERYBODY, "spot", "2026-03-27", "1", "None"),
        (EVERYBODY, "spot", "2026-03-28", "42", "None"),
        (EVERYBODY, "spot", "2026-03-29", "None", "None"),
    ]


def test_an_account_of_imports_alone_is_missed_until_it_is_retired() -> None:
    snaps = [snap(1, "1000"), snap(1, "9000", 2), snap(25, "1010")]
    for is_retired, total, accounts in ((False, "None", "None"), (True, "1010", "1")):
        both = [known(1, snaps=snaps), known(2, snaps=snaps, is_retired=is_retired)]
        rows = report(Pages(both, snaps), Question(), at(48)).rows
        assert column(rows, "account", "close_usdt", "change_usdt", "accounts")[-2:] == [
            (EVERYBODY, "10000", "None", "2"),
            (EVERYBODY, total, "None", accounts),
        ]


def test_nothing_is_read_of_what_comes_after() -> None:
    source = Pages([known(1, snaps=[snap(1, "1"), snap(900, "1")])], [])
    report(source, Question(zone=ZoneInfo("Europe/Berlin"), every=Every.WEEK, until=at(30)), at(1000))
    assert source.read_until == [datetime(2026, 3, 29, 22, tzinfo=UTC)]


# --- against the model ------------------------------------------------------------------------------------------------

HOURS = st.integers(1, 150)
TOTALS = st.decimals(-100, 1000, places=2) | st.sampled_from([Decimal(0), Decimal("1E-20"), Decimal("99.999")])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Known], list[Snap]]:
    """Up to three accounts with schedules that come and go, and snapshots in and out of them."""
    accounts, snaps = [], []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        edges = sorted(draw(st.sets(st.integers(0, 300), max_size=4)))
        schedules = [
            Schedule(3600 * draw(st.sampled_from([1, 2, 3, 12])), at(begin / 2), at(end / 2))
            for begin, end in zip(edges[::2], edges[1::2], strict=False)
        ]
        if len(edges) % 2:
            schedules.append(Schedule(3600 * draw(st.sampled_from([1, 2, 3, 12])), at(edges[-1] / 2)))
        for hour in draw(st.sets(HOURS, max_size=25)):
            types = draw(st.sets(st.sampled_from(["spot", "grid", "c2c"])))
            wallets = {name: draw(TOTALS) for name in sorted(types)}
            kind = draw(st.sampled_from(["good"] * 6 + ["partial", "void"]))
            snaps.append(Snap(number, at(hour), None if kind == "partial" else wallets, kind == "void"))
        accounts.append(known(number, *schedules, snaps=snaps, is_retired=draw(st.booleans())))
    return accounts, snaps


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    history=histories(),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    every=st.sampled_from(Every),
    by_type=st.booleans(),
    since=st.none() | HOURS,
    until=st.none() | HOURS,
    now=st.integers(60, 320),
    cuts=st.lists(HOURS),
)
def test_it_says_what_the_model_says(
    *,
    history: tuple[list[Known], list[Snap]],
    zone: str,
    every: Every,
    by_type: bool,
    since: int | None,
    until: int | None,
    now: int,
    cuts: list[int],
) -> None:
    accounts, snaps = history
    asked = Question(
        every=every,
        zone=ZoneInfo(zone),
        by_type=by_type,
        since=None if since is None else at(since),
        until=None if until is None else at(until),
    )
    found = report(Pages(accounts, snaps, [at(cut) for cut in cuts]), asked, at(now / 2))
    assert [dict(row) for row in found.rows] == plain_rows(accounts, snaps, asked, at(now / 2))
