"""deploy/datasette: its SQL against known answers, by a Datasette that is really started; its words against docs/."""

import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from etl.db.engine import LOCK_SECONDS
from etl.db.views import VIEWS
from etl.grid import slot_text
from tests.cli.program import installed
from tests.db.recorded import at
from tests.deploy.datasette import DATABASE, Datasette, serving, told
from tests.docs.answers import ANSWERS, FEBRUARY, NEW_YEAR, Rows
from tests.docs.histories import Histories
from tests.docs.sql import ask, plain, same
from tests.docs.tables import documented

PERP, SPOT = ANSWERS["each wallet at the end of a day"][0][2], ANSWERS["each wallet at the end of a day"][2][2]
MARCH = {"since": "2026-03-01", "until": "2026-03-31"}
# Query → what is filled in, and what must come; by the titles of the cookbook where that asks the same.
KNOWN: Mapping[str, tuple[dict[str, str], Rows]] = {
    "totals_at_day_end": (
        {"day": "2026-03-31"},
        [
            ("main", 1460.5, "1460.500000000000000000", at("04-01 00:00")),
            ("second", 600, "600", at("04-01 00:00")),
        ],
    ),
    "wallets_at_day_end": (
        {"day": "2026-03-31", "account": "main"},
        [
            ("main", "USDTMPerp", float(PERP), PERP, at("04-01 00:00")),
            ("main", "grid", 0, "0.00", at("04-01 00:00")),
            ("main", "spot", float(SPOT), SPOT, at("04-01 00:00")),
        ],
    ),
    "month_ends": ({"account": ""}, ANSWERS["month ends, and the change from month to month"]),
    "months": ({"account": "main"}, ANSWERS["low, high and coverage of each month"][:4]),
    "change_by_wallet": (
        {"from_day": "2026-02-28", "to_day": "2026-03-31"},
        ANSWERS["the change of each wallet between the ends of two days"],
    ),
    "drawdown": (
        {"account": "main", "since": "2026-03-26"},
        [row[1:] for row in ANSWERS["drawdown from the running peak at the end of each day"] if row[0] == "main"],
    ),
    "wallet_shares": ({}, ANSWERS["each wallet's share of the last snapshot"]),
    "wallet_over_time": (
        {"account": "main", "wallet": "spot", "since": "2026-03-28", "until": "2026-03-29"},
        ANSWERS["a wallet over time"],
    ),
    "together": (MARCH, ANSWERS["all accounts together, wherever every one that is not retired has a figure"]),
    "missing_by_reason": ({}, ANSWERS["how much is missing, by reason"]),
    "days_not_covered": (
        {"since": "2026-03-28", "until": "2026-03-29"},
        [
            ("main", "2026-03-28", 3, 13, 23.1),
            ("main", "2026-03-29", 3, 24, 12.5),
            ("second", "2026-03-28", 3, 13, 15.4),
            ("second", "2026-03-29", 0, 24, 0),
        ],
    ),
    "failures_by_reason": ({}, ANSWERS["failures by reason"]),
    "doubted_and_partial": (MARCH, ANSWERS["snapshots that are partial, or of which something is said"]),
    "marks": ({}, [(*row, NEW_YEAR) for row in ANSWERS["what people have marked, and why"]]),
    "provenance": ({}, ANSWERS["what was measured and what was imported"]),
}
ABOUT_NOW = {"last_days"}


@pytest.fixture(scope="module")
def datasette(history: Histories) -> Iterator[Datasette]:
    with serving(Path(history("history", "sqlite").removeprefix("sqlite:///"))) as running:
        yield running


def shown(datasette: Datasette, query: str, **parameters: str) -> list[tuple[Any, ...]]:
    return [tuple(map(plain, row)) for row in datasette.rows(f"/{query}", **parameters)]


def test_every_query_has_a_known_answer_and_tells_its_parameters() -> None:
    assert {*KNOWN, *ABOUT_NOW} == set(DATABASE["queries"])
    for name, query in DATABASE["queries"].items():
        assert query["title"]
        assert set(re.findall(r"(?<!:):([a-z_]+)", query["sql"])) == set(query.get("params", ())), name
        if name in KNOWN:
            assert set(KNOWN[name][0]) == set(query.get("params", ()))


@pytest.mark.parametrize("query", KNOWN)
def test_a_query_answers_right(datasette: Datasette, query: str) -> None:
    parameters, known = KNOWN[query]
    found = shown(datasette, query, **parameters)
    assert found
    assert same(found, known), found


def test_the_last_days_are_seven_unless_somebody_says_how_many(history: Histories) -> None:
    with serving(Path(history("lately", "sqlite").removeprefix("sqlite:///"))) as datasette:
        for days, totals in (("", [102, 103, 104, 105]), ("4", [103, 104, 105])):
            assert [row[2] for row in datasette.rows("/last_days", days=days)] == totals
        before, found, after = yesterday(), datasette.rows("/totals_at_day_end", day=""), yesterday()
        assert found
        assert found in [datasette.rows("/totals_at_day_end", day=day) for day in (before, after)]


def yesterday() -> str:
    return (datetime.now(UTC) - timedelta(days=1)).date().isoformat()


@pytest.mark.parametrize("query", DATABASE["queries"])
def test_the_page_of_a_query_has_a_field_for_each_parameter(datasette: Datasette, query: str) -> None:
    page = datasette.page(f"/{query}", **KNOWN.get(query, ({}, []))[0])
    assert page.status_code == 200
    text = unescape(page.text)
    assert DATABASE["queries"][query]["title"] in text
    for name in DATABASE["queries"][query].get("params", ()):
        assert f'name="{name}"' in text
    for row in KNOWN.get(query, ({}, []))[1][:1]:
        assert str(row[0])[:10] in text


@pytest.mark.parametrize("name", documented())
def test_the_page_of_a_table_shows_its_rows_and_explains_its_columns(
    datasette: Datasette, history: Histories, name: str
) -> None:
    page = datasette.page(f"/{name}")
    assert page.status_code == 200
    if name == "alembic_version":
        return
    text = unescape(page.text)
    about = DATABASE["tables"][name]
    assert about["title"] in text
    for column, meaning in about["columns"].items():
        assert f"<dt>{column}</dt><dd>{meaning}</dd>" in text
    if name != "payload":  # its bodies are no text
        there = ask(history("history", "sqlite"), f"SELECT * FROM {name}")
        found = [tuple(map(plain, row)) for row in datasette.rows(f"/{name}", _size="max")]
        columns = len(documented()[name])
        # A table without a number of its own for each row is shown with one more column, by which it is linked.
        assert sorted(map(str, (row[-columns:] for row in found))) == sorted(map(str, there))


def test_the_first_page_offers_views_and_queries_and_hides_what_is_alembics(datasette: Datasette) -> None:
    text = unescape(datasette.page("").text)
    for name in (*VIEWS["sqlite"], *DATABASE["queries"]):
        assert f'href="/balances/{name}"' in text
    tables = {table["name"]: table["hidden"] for table in datasette.page(".json").json()["tables"]}
    assert [name for name, hidden in tables.items() if hidden] == ["alembic_version"]


def test_own_sql_can_be_asked_and_nothing_be_changed(datasette: Datasette) -> None:
    sql = "SELECT count(*) FROM equity WHERE total_usdt > :least"
    assert datasette.rows("", sql=sql, least="1400") == [[6]]
    refused = datasette.page(".json", sql="DELETE FROM annotation")
    assert refused.status_code == 400
    cte = datasette.page(".json", sql="WITH x AS (SELECT 1) DELETE FROM annotation")
    assert cte.status_code == 400
    assert "readonly" in cte.text


def test_columns_are_explained_as_in_the_docs() -> None:
    there = documented()
    assert set(DATABASE["tables"]) == set(there)
    for name, columns in there.items():
        if name == "alembic_version":
            assert DATABASE["tables"][name] == {"hidden": True}
            continue
        said = {
            column.name: re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", column.meaning).replace("`", "") for column in columns
        }
        assert DATABASE["tables"][name]["columns"] == said, name


def test_amounts_that_are_text_are_never_offered_for_sorting() -> None:
    for name, columns in documented().items():
        texts = {c.name for c in columns if c.sqlite == "text" and "usdt" in c.name}
        sortable = DATABASE["tables"][name].get("sortable_columns")
        if texts:
            assert set(sortable) <= {c.name for c in columns} - texts, name
        assert {DATABASE["tables"][name].get("sort_desc"), *DATABASE["tables"][name].get("facets", ())} <= {
            None,
            *(c.name for c in columns),
        }


def test_a_commit_that_was_cut_off_is_shown_by_nobody_but_who_says_that_nobody_writes(
    history: Histories, tmp_path: Path
) -> None:
    recording, left = tmp_path / "recording.db", tmp_path / "left" / "balances.db"
    left.parent.mkdir()
    shutil.copy(history("history", "sqlite").removeprefix("sqlite:///"), recording)
    shutil.copy(recording, left)
    with serving(left) as datasette, closing(sqlite3.connect(recording, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")  # so that its pages get into the file before COMMIT
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE snapshot SET total_usdt = '1' WHERE status = 'complete'")
        writer.execute("UPDATE failure SET detail = hex(zeroblob(9000))")
        shutil.copy(recording, left)
        shutil.copy(f"{recording}-journal", f"{left}-journal")

        counted = "SELECT count(*) FROM snapshot WHERE total_usdt = '1'"
        with closing(sqlite3.connect(f"file:{left}?immutable=1", uri=True)) as believer:
            assert believer.execute(counted).fetchone() > (0,), "what was never committed"
        refused = datasette.page(".json", sql=counted)
        assert (refused.status_code, "attempt to write a readonly database" in refused.text) == (500, True)
        with closing(sqlite3.connect(left)) as recorder:
            recorder.execute("SELECT 1 FROM snapshot").fetchone()
        assert datasette.rows("", sql=counted) == [[0]]


def test_no_page_takes_longer_than_a_recorder_waits_for_its_commit() -> None:
    arguments = told({})
    limit = arguments[arguments.index("sql_time_limit_ms") + 1]
    assert int(limit) <= LOCK_SECONDS * 1000 / 2


def test_what_the_program_records_is_seen_at_once_while_it_goes_on_recording(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as program:
        [recorded] = program.run("snapshot", "--json").lines
        assert recorded["stored"]
        with serving(program.state / "balances.db") as datasette:
            rows = datasette.rows("/latest_balance", _size="max")
            assert {row[4]: row[6] for row in rows} == recorded["balances"]
            assert {row[2] for row in rows} == {recorded["slot_at"]}
            old = tmp_path / "old.csv"
            old.write_text("2025-12-31,1000.10\n2026-01-31,1100.20\n")
            imported = program.run("import", str(old), "--account", "main", "--tz", "UTC")
            assert imported.code == 0, imported.err
            rows = datasette.rows("/equity", provenance="imported")
            assert [(row[2], row[5]) for row in rows] == [
                (slot_text(NEW_YEAR), "1000.10"),
                (slot_text(FEBRUARY), "1100.20"),
            ]
            page = datasette.page("/month_ends", account="main").text
            assert "1100.2" in page
            assert "2026-01-31" in page
