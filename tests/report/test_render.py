"""Rows as text: the same values in every format."""

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

from etl.report.render import render

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
