"""Equity over time as people read it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from etl.report.equity import EVERYBODY, Row
from etl.report.equity_table import draw

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def row(
    day: int, close: str | None = "1", account: str = "main", account_type: str | None = None, **more: object
) -> Row:
    amount = None if close is None else Decimal(close)
    found = Row(
        account=account,
        account_type=account_type,
        period=f"2026-01-{day:02}",
        begins_at=BEGIN + timedelta(days=day - 1),
        ends_at=BEGIN + timedelta(days=day),
        open_usdt=amount,
        high_usdt=amount,
        low_usdt=amount,
        close_usdt=amount,
        close_at=None,
        change_usdt=None,
        change_pct=None,
        peak_usdt=amount,
        drawdown_usdt=None,
        drawdown_pct=None,
        snapshots=1,
        expected=1,
        coverage=1.0,
        partial=0,
        voided=0,
        accounts=1,
    )
    found.update(more)  # type: ignore[typeddict-item]
    return found


def test_amounts_are_rounded_half_to_even_without_a_negative_zero_and_it_is_told() -> None:
    drawn = draw([row(1, "0.005"), row(2, "0.015"), row(3, "-0.001"), row(4, "1" * 40 + ".994")])
    closes = [line.split()[4] for line in drawn.text.splitlines()[2:]]
    assert closes == ["0.00", "0.02", "0.00", "1" * 40 + ".99"]
    assert drawn.is_rounded
    assert not draw([row(1, "1.50"), row(2, None), row(3, "1.5000")]).is_rounded
    assert draw([row(1, change_usdt=Decimal("0.001"))]).is_rounded


def test_what_is_gained_has_a_sign_and_what_is_missing_is_called_so() -> None:
    rows = [
        row(1, change_usdt=Decimal(2), change_pct=Decimal("0.5000")),
        row(2, None),
        row(3, change_usdt=Decimal(-2)),
    ]
    lines = [line.split() for line in draw(rows).text.splitlines()[2:]]
    assert lines[0][5:7] == ["+2.00", "+0.50"]
    assert lines[1] == ["2026-01-02", "missing", "100%"]
    assert lines[2][5] == "-2.00"


def test_only_all_of_it_is_a_hundred_percent() -> None:
    rows = [row(1, expected=288, coverage=287 / 288), row(2, expected=288), row(3, expected=0, coverage=None)]
    assert [line.split()[-1] for line in draw(rows).text.splitlines()[2:]] == ["99%", "100%", "1.00"]


def test_each_account_and_wallet_has_a_table_and_a_curve_of_its_own() -> None:
    rows = [row(1, "1", "a"), row(2, "2", "a"), row(1, "5", "a", "spot"), row(1, "3", EVERYBODY)]
    text = draw(rows, blocks=True).text
    assert [part.splitlines()[0] for part in text.split("\n\n")] == ["a  ▁█", "a, spot  ▅", f"{EVERYBODY}  ▅"]
    assert [part.splitlines()[0] for part in draw(rows).text.split("\n\n")] == ["a", "a, spot", EVERYBODY]
    assert draw([]).text == ""


def test_a_narrower_terminal_gets_fewer_columns_and_never_a_broken_line() -> None:
    rows = [row(1, "1234567.891", change_usdt=Decimal("-1234567.89"), change_pct=Decimal(-50)), row(2, None)]
    widths = [200, 100, 90, 80, 70, 60, 50, 45]
    drawn = [draw(rows * 30, width=width, blocks=True) for width in widths]
    for each, width in zip(drawn, widths, strict=True):
        assert max(map(len, each.text.splitlines())) <= width
        assert {"period", "close", "change", "coverage"} <= set(each.text.splitlines()[1].split())
    for wider, narrower in pairwise(drawn):
        assert set(wider.left_out) <= set(narrower.left_out)
    assert drawn[0].left_out == []
    assert set(drawn[-1].left_out) == {"open", "high", "low", "drawdown %", "change %"}
    assert "open" in draw(rows).text, "a pipe has no width"
