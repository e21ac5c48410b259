"""Rows as text: the same values in every format."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

from etl.report.render import FORMATS, render

COLUMNS = ("account", "day", "total", "ratio", "at", "reason")
ROW = {
    "account": "main, [bold]or not[/bold]",
    "day": date(2026, 11, 22),
    "total": Decimal("1E+3"),
    "ratio": 1e-7,
    "at": datetime(2026, 11, 22, 15, 20, tzinfo=UTC),
    "reason": None,
}


def test_csv_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(render([ROW], COLUMNS, "csv"))))
    assert rows == [
        {
            "account": ROW["account"],
            "day": "2026-11-22",
            "total": "1000",
            "ratio": "0.0000001",
            "at": "2026-11-22T15:20:00Z",
            "reason": "",
        }
    ]


def test_json_reads_back_and_tells_missing_from_empty() -> None:
    [row] = json.loads(render([ROW], COLUMNS, "json"))
    assert (row["total"], row["reason"], row["account"]) == ("1000", None, ROW["account"])


def test_a_table_is_never_cut_in_a_pipe_and_says_what_stands_there() -> None:
    long = {**ROW, "account": "x" * 500}
    table = render([long, ROW], COLUMNS, "table")
    assert "x" * 500 in table
    assert "[bold]or not[/bold]" in table
    assert "\x1b" not in table


def test_nothing_is_an_empty_list_or_a_header() -> None:
    assert json.loads(render([], COLUMNS, "json")) == []
    assert render([], COLUMNS, "csv").strip() == ",".join(COLUMNS)
    assert render([], COLUMNS, "table").split() == list(COLUMNS)


def test_amounts_are_text_and_ratios_are_numbers_in_json() -> None:
    assert '"total": "1000"' in render([ROW], COLUMNS, "json")
    assert '"ratio": 1e-07' in render([ROW], COLUMNS, "json")
    assert '"ratio": 0.5' in render([{**ROW, "ratio": 0.5}], COLUMNS, "json")


def test_every_digit_of_an_amount_is_there_in_every_form() -> None:
    digits = "123456789012345678901234567890.12345678901234567890"
    row = {**ROW, "total": Decimal(digits)}
    for form in FORMATS:
        assert digits in render([row], COLUMNS, form)
    for scale in ("0.00", "0", "1000.0", "-0.50"):
        assert scale in render([{**ROW, "total": Decimal(scale)}], ("total",), "csv").split()


def test_times_are_utc_in_the_forms_of_the_contract() -> None:
    berlin = timezone(timedelta(hours=1))
    row = {"at": datetime(2026, 1, 1, 0, 30, 0, 250_999, tzinfo=berlin)}
    for form in FORMATS:
        assert "2025-12-31T23:30:00.250Z" in render([row], ("at",), form)


def test_numbers_stand_right_and_a_missing_one_is_left_open() -> None:
    rows: list[dict[str, object]] = [{"name": "a", "n": 1000}, {"name": "bbb", "n": None}, {"name": "c", "n": 7}]
    assert render(rows, ("name", "n"), "table").splitlines() == ["name     n", "a     1000", "bbb", "c        7"]


def test_a_terminal_gets_a_bold_head_and_nobody_else() -> None:
    assert "\x1b[1m" in render([ROW], COLUMNS, "table", terminal=True)
    for form in FORMATS:
        assert "\x1b" not in render([ROW], COLUMNS, form)
    assert "\x1b" not in render([ROW], COLUMNS, "csv", terminal=True)


def test_a_name_is_no_formula_in_csv_and_an_amount_below_zero_stays_bare() -> None:
    row = {"account": "=HYPERLINK(1)", "total": Decimal("-1.5")}
    assert render([row], tuple(row), "csv").splitlines()[1] == "'=HYPERLINK(1),-1.5"


def test_a_comma_a_quote_and_a_newline_survive_csv() -> None:
    row = {**ROW, "account": 'a,"b"\nc'}
    assert next(csv.DictReader(io.StringIO(render([row], COLUMNS, "csv"))))["account"] == row["account"]
