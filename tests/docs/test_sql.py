"""Every query in docs/sql.md and in the README, on both databases, against answers worked out by hand."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.db.recorded import at
from tests.docs.answers import ANSWERS
from tests.docs.histories import NOW, Histories
from tests.docs.large_history import effort, fully_read
from tests.docs.sql import BOTH, ROOT, Query, ask, queries, same
from tests.known_history import ANSWER, GLITCH

PAGE = ROOT / "docs" / "sql.md"
COOKBOOK = list(queries(PAGE))
README = list(queries(ROOT / "README.md"))
# The README asks about a year's end, which the known history does not have: it is asked about another day.
DAYS_OF_THE_README = {"'2026-12-31'": "'2026-03-31'", "'2026-01-01T": "'2026-03-31T"}
# PostgreSQL knows zones, SQLite has to be told.
BERLIN = "days of Berlin, with the days on which clocks are changed", "days of Berlin, their midnights spelled out"
LATELY = "the last seven days"
EACH = [
    pytest.param(query, dialect, id=f"{dialect}: {query.title}") for query in COOKBOOK for dialect in query.dialects
]
# For a span of time: steps of SQLite's machine, rows that PostgreSQL looks at; and as many more for each row of the
# answer. A calendar of its days, which daily_equity lays out, takes the most of it.
ENOUGH = {"sqlite": (80_000, 15), "postgresql": (3_000, 3)}
# What asks about the whole history, all of it or of an account, reads all snapshots, but never all balances.
WHOLE_HISTORY = {
    "low, high and coverage of each month",
    "month ends, and the change from month to month",
    "drawdown from the running peak at the end of each day",
    "the deepest drawdown of each account, and when it was reached",
    "how much is missing, by reason",
    "what is missing, and why; no reason means that nobody was there to know. A slot counts from its first second on.",
    "what is missing in a span of time",
    "what was measured and what was imported",
}


def needs_sqlite3() -> str:
    """The shell of SQLite, which the page and the README tell people to use."""
    found = shutil.which("sqlite3")
    if found is None:
        pytest.skip("sqlite3 is not installed")
    return found


def test_every_query_has_a_known_answer_on_each_database_and_every_answer_a_query() -> None:
    asked = [(query.title, dialect) for query in COOKBOOK for dialect in query.dialects]
    assert len(asked) == len(set(asked)), "two queries have one title"
    answered = {(title, dialect) for title in {*ANSWERS, LATELY} for dialect in BOTH}
    assert set(asked) == answered - {(BERLIN[0], "sqlite"), (BERLIN[1], "postgresql")}
    assert all(ANSWERS.values())


@pytest.mark.parametrize(("query", "dialect"), EACH)
def test_a_query_of_the_cookbook_answers_right(history: Histories, query: Query, dialect: str) -> None:
    if query.title == LATELY:
        found = ask(history("lately", dialect), query.sql)
        hours = [NOW - timedelta(days=days, hours=1) for days in (6, 3, 1, 0)]
        slots = [hour.replace(minute=0, second=0, microsecond=0) for hour in hours]
        known: list[tuple[Any, ...]] = [*zip(slots, (102, 103, 104, 105), strict=True)]
    else:
        found, known = ask(history("history", dialect), query.sql), ANSWERS[query.title]
    # Which of two names comes first is a matter of the server's collation.
    assert same(found, known, in_order="ORDER BY" in query.sql and "account_type" not in query.sql), found


def test_the_days_of_berlin_can_be_those_of_autumn_or_months_as_the_page_says(history: Histories) -> None:
    [sql] = [query.sql for query in COOKBOOK if query.title == BERLIN[0]]
    url = history("history", "postgresql")
    autumn = sql.replace("'2026-03-28'", "'2026-10-24'").replace("'2026-03-30'", "'2026-10-26'")
    assert [row[:2] for row in ask(url, autumn)] == [("2026-10-24", 24), ("2026-10-25", 25), ("2026-10-26", 24)]
    months = sql.replace("'2026-03-28'", "'2026-01-01'").replace("'2026-03-30'", "'2026-03-01'")
    found = ask(url, months.replace("'1 day'", "'1 month'"))
    # The reading at midnight UTC that closes January there is of 1 February in Berlin.
    closes = [("2026-01-01", "1000"), ("2026-02-01", "1250"), ("2026-03-01", "1450")]
    slots = [at("01-01 00:00"), at("02-28 00:00"), at("03-31 12:00")]
    known = [(first, usdt, slot) for (first, usdt), slot in zip(closes, slots, strict=True)]
    assert same([(first, usdt, slot) for first, _, usdt, slot in found], known)


def test_the_sql_to_start_with_answers_right(history: Histories) -> None:
    known = {
        "what is there now": ANSWERS["what is there now"],
        "what was there on 31 December, 24:00 UTC: the reading at midnight closes the day that ends then"
        " (put a day you have)": ANSWERS["the totals at the end of a day, 24:00 UTC"],
        "equity over time": [(at("03-31 00:00"), 1440), (at("03-31 12:00"), 1450), (at("04-01 00:00"), 1460.5)],
    }
    assert len(README) == 4
    for dialect in BOTH:
        for query in README:
            sql = query.sql
            for told, there in DAYS_OF_THE_README.items():
                sql = sql.replace(told, there)
            found = ask(history("history", dialect), sql)
            if query.title in known:
                assert same(found, known[query.title], in_order="ORDER BY" in sql), query.title
            else:
                assert query.title.startswith("what is missing, and why")
                assert len(found) == 11 + 7, "the gaps of both accounts"
                assert found[0] == ("second", at("03-01 00:00"), at("03-01 00:00"), 1, "rate_limited")


def test_the_python_on_the_page_shows_what_bingx_answered(history: Histories) -> None:
    [snippet] = PAGE.read_text(encoding="utf-8").split("```python\n")[1:]
    for_sqlite = snippet.split("```")[0]
    url = history("history", "postgresql")
    for_postgresql = (
        for_sqlite.replace("import sqlite3", "import psycopg")
        .replace('sqlite3.connect("file:balances.db?mode=ro", uri=True)', f"psycopg.connect({url!r})")
        .replace("= ?", "= %s")
    )
    database = Path(history("history", "sqlite").removeprefix("sqlite:///"))
    for code in (for_sqlite, for_postgresql):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=database.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
        assert done.stdout.splitlines() == [GLITCH, ANSWER]


def test_the_midnights_of_a_report_cut_the_days_of_berlin(history: Histories, tmp_path: Path) -> None:
    needs_sqlite3()
    [script] = [
        part.split("```")[0] for part in PAGE.read_text().split("```sh\n") if part.startswith("bingx-etl report")
    ]
    program = tmp_path / "bin" / "bingx-etl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m etl "$@"\n')
    program.chmod(0o755)
    shutil.copy(history("history", "sqlite").removeprefix("sqlite:///"), tmp_path / "balances.db")
    environ = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "BINGX_ETL_DATABASE_URL": f"sqlite:///{tmp_path / 'balances.db'}",
    }
    done = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "2026" in line]
    assert (done.returncode, done.stderr) == (0, "")
    assert cells == [["2026-03-28", "1700.0", "2"], ["2026-03-29", "1400.0", "2"], ["2026-03-30", "1380.0", "2"]]


@pytest.mark.parametrize("dialect", BOTH)
def test_a_query_of_a_span_of_time_costs_what_that_holds_however_long_the_history(
    history: Histories, dialect: str
) -> None:
    url = history("large", dialect)
    asked = [query for query in (*COOKBOOK, *README) if dialect in query.dialects]
    costs = {query.title: effort(url, query.sql) for query in asked}
    allowed = ENOUGH[dialect]
    dear = {title for title, (rows, looked_at) in costs.items() if looked_at > allowed[0] + allowed[1] * rows}
    assert dear <= WHOLE_HISTORY, {title: costs[title] for title in dear - WHOLE_HISTORY}
    assert [query.title for query in asked if "balance" in fully_read(url, query.sql)] == []


@pytest.mark.parametrize("dialect", BOTH)
def test_a_query_that_is_dear_is_seen(history: Histories, dialect: str) -> None:
    url = history("large", dialect)
    assert fully_read(url, "SELECT avg(1) FROM balance AS b WHERE b.raw_type = 'x'") == {"balance"}
    rows, looked_at = effort(url, "SELECT * FROM balance_history WHERE account_type = 'spot' AND usdt_balance > 100")
    assert (rows, looked_at > 2 * ENOUGH[dialect][0]) == (0, True)


def test_a_backup_whose_name_is_mistyped_takes_nothing_away(tmp_path: Path) -> None:
    """The README's way back, as it is typed: from a backup, from none, from an empty file, while somebody records."""
    needs_sqlite3()
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Backup, and the way back\n")[1]
    command = section.split("```sh\n")[2].split("pg_restore")[0]
    backup, database = tmp_path / "backups" / "balances-2026-12-31.db", tmp_path / ".local/share/bingx-etl/balances.db"
    for file, slot_at in ((backup, "2026-12-31T00:00:00Z"), (database, "2027-01-01T00:00:00Z")):
        file.parent.mkdir(parents=True)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("CREATE TABLE snapshot (slot_at)")
            connection.execute("INSERT INTO snapshot VALUES (?)", [slot_at])

    def typed(command: str) -> tuple[bool, str]:
        ran = subprocess.run(
            ["sh", "-c", command],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        with closing(sqlite3.connect(database)) as connection:
            return ran.returncode == 0, connection.execute("SELECT slot_at FROM snapshot").fetchone()[0]

    before, after = (False, "2027-01-01T00:00:00Z"), (True, "2026-12-31T00:00:00Z")
    assert typed(command.replace("12-31", "12-32")) == before
    (tmp_path / "backups" / "balances-2026-12-32.db").touch()
    assert typed(command.replace("12-31", "12-32")) == before
    with closing(sqlite3.connect(database, isolation_level=None)) as recorder:
        recorder.execute("BEGIN IMMEDIATE")
        assert typed(command) == before
        recorder.execute("ROLLBACK")
    assert typed(command) == after
