"""docs/tables.md against the schema of both databases, and against a history with a bit of everything in it."""

import pytest

from etl.db.schema import metadata
from etl.db.views import VIEWS
from tests.docs.histories import Histories
from tests.docs.sql import BOTH, ask
from tests.docs.tables import Column, documented

DOCUMENTED = documented()
COLUMNS = [(table, column) for table, columns in DOCUMENTED.items() for column in columns]
NAMES = [f"{table}.{column.name}" for table, column in COLUMNS]
NEVER = "never"
# What the known history has none of.
ALWAYS_NULL_THERE = {"account.uid", "account.retired_at", "balance.raw_type"}
NEVER_NULL_THERE = {"latest_balance.usdt_balance", "latest_balance.usdt_balance_exact", "schedule.valid_to"}
ABBREVIATED = {"timestamptz": "timestamp with time zone", "varchar": "character varying"}


def real_columns(url: str, dialect: str) -> list[tuple[str, str]]:
    if dialect == "sqlite":
        sql = (
            "SELECT m.name, c.name FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c"
            " WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite%'"
        )
    else:
        sql = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    return [(str(table), str(column)) for table, column in ask(url, sql)]


@pytest.mark.parametrize("dialect", BOTH)
def test_every_column_there_is_documented_and_no_other(history: Histories, dialect: str) -> None:
    said = [(table, column.name) for table, column in COLUMNS]
    assert sorted(said) == sorted(real_columns(history("history", dialect), dialect))
    assert {*metadata.tables, *VIEWS[dialect], "alembic_version"} == set(DOCUMENTED)


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=NAMES)
def test_a_column_has_the_type_that_is_said_on_sqlite(history: Histories, table: str, column: Column) -> None:
    types = ask(history("history", "sqlite"), f'SELECT DISTINCT typeof("{column.name}") FROM {table}')
    expected = set() if f"{table}.{column.name}" in ALWAYS_NULL_THERE else {column.sqlite}
    assert {name for (name,) in types} - {"null"} == expected


def test_columns_have_the_types_that_are_said_on_postgresql(history: Histories) -> None:
    sql = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
    types = {(table, column): kind for table, column, kind in ask(history("history", "postgresql"), sql)}
    said = {(table, c.name): ABBREVIATED.get(c.postgresql, c.postgresql) for table, c in COLUMNS}
    assert said == types


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=NAMES)
def test_a_column_is_null_where_that_is_said_and_nowhere_else(history: Histories, table: str, column: Column) -> None:
    url = history("history", "sqlite")
    [(nulls, rows)] = ask(url, f'SELECT coalesce(sum("{column.name}" IS NULL), 0), count(*) FROM {table}')
    assert rows
    if column.null == NEVER or f"{table}.{column.name}" in NEVER_NULL_THERE:
        assert nulls == 0
    else:
        assert nulls > 0


def test_what_tables_promise_of_null_is_a_constraint_on_both(history: Histories) -> None:
    said = {
        (table, c.name) for table, c in COLUMNS if c.null == NEVER and table in {*metadata.tables, "alembic_version"}
    }
    sqlite = (
        "SELECT m.name, c.name FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c"
        " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND c.\"notnull\" = 1"
    )
    postgresql = (
        "SELECT c.table_name, c.column_name FROM information_schema.columns AS c"
        " JOIN information_schema.tables AS t USING (table_schema, table_name)"
        " WHERE table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.is_nullable = 'NO'"
    )
    for dialect, sql in (("sqlite", sqlite), ("postgresql", postgresql)):
        assert {(table, column) for table, column in ask(history("history", dialect), sql)} == said, dialect


def test_what_is_alike_in_two_views_is_told_alike() -> None:
    assert DOCUMENTED["latest_balance"] == DOCUMENTED["balance_history"]
    assert DOCUMENTED["equity"][:4] == DOCUMENTED["balance_history"][:4]


def test_every_amount_time_and_duration_tells_its_unit() -> None:
    for table, column in COLUMNS:
        if "usdt" in column.name:
            assert "USDT" in column.meaning, f"{table}.{column.name}"
        if column.name.endswith(("_at", "_from", "_to")) or column.name == "day":
            assert "UTC" in column.meaning, f"{table}.{column.name}"
        if column.name.endswith("_ms"):
            assert "millisecond" in column.meaning
        if column.name.endswith("_seconds"):
            assert "seconds" in column.meaning
