"""A year of hourly snapshots of two accounts, four wallets each, and what a query would read of them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg

HOURS = 365 * 24
BEGINS = 1_751_328_000  # 1 July 2025, in Unix seconds
_ACCOUNTS = """
INSERT INTO account (id, name, environment, created_at) VALUES
  (1, 'main', 'live', '2025-07-01T00:00:00.000Z'), (2, 'second', 'live', '2025-07-01T00:00:00.000Z');
INSERT INTO schedule (account_id, interval_seconds, valid_from, valid_to) VALUES
  (1, 3600, '2025-07-01T00:00:00Z', '2026-07-01T00:00:00Z'), (2, 3600, '2025-07-01T00:00:00Z', '2026-07-01T00:00:00Z');
"""
_SNAPSHOTS = """
INSERT INTO snapshot (
  id, account_id, slot_at, taken_at, requested_at, latency_ms, recorded_at, status, provenance, total_usdt, attempts
)
"""
_BALANCES = """
INSERT INTO balance (snapshot_id, account_type, usdt_balance)
  SELECT s.id, w.name, '25' FROM snapshot AS s
  CROSS JOIN (SELECT 'spot' AS name UNION SELECT 'grid' UNION SELECT 'eran' UNION SELECT 'c2c') AS w;
"""
_SQLITE = f"""
{_ACCOUNTS}
{_SNAPSHOTS}
WITH RECURSIVE hour(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM hour WHERE n < {2 * HOURS - 1})
SELECT n + 1, n % 2 + 1, at.slot, at.slot, at.slot, 1, at.slot, 'complete', 'measured', '100', 1
FROM (SELECT n, strftime('%Y-%m-%dT%H:%M:%SZ', {BEGINS} + n / 2 * 3600, 'unixepoch') AS slot FROM hour) AS at;
{_BALANCES}
"""
_POSTGRESQL = f"""
{
    _ACCOUNTS.replace(
        "INSERT INTO account (id, name, environment, created_at) VALUES",
        "INSERT INTO account (id, name, environment, created_at) OVERRIDING SYSTEM VALUE VALUES",
    )
}
{_SNAPSHOTS} OVERRIDING SYSTEM VALUE
SELECT n + 1, n % 2 + 1, at.slot, at.slot, at.slot, 1, at.slot, 'complete', 'measured', 100, 1
FROM (SELECT n, to_timestamp({BEGINS} + n / 2 * 3600) AS slot FROM generate_series(0, {2 * HOURS - 1}) AS n) AS at;
{_BALANCES.replace("'25'", "25")}
ANALYZE;
"""


def fill(url: str) -> None:
    """Write it into a database that has the schema and nothing else."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript(f"BEGIN; {_SQLITE} COMMIT;")
    else:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(_POSTGRESQL.encode())


def effort(url: str, sql: str) -> tuple[int, int]:
    """How many rows a query returns, and what it took: steps of SQLite's machine, rows that PostgreSQL looked at."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            hundreds = iter(range(10**9))
            connection.set_progress_handler(lambda: next(hundreds) < 0, 100)
            rows = len(connection.execute(sql).fetchall())
            return rows, next(hundreds) * 100
    with psycopg.connect(url) as server:
        [[[found]]] = server.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}".encode()).fetchall()
    assert isinstance(found, dict)
    return round(found["Plan"]["Actual Rows"]), round(sum(_looked_at(found["Plan"])))


def _looked_at(node: dict[str, Any]) -> Iterator[float]:
    if "Relation Name" in node:
        unwanted = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        yield (node["Actual Rows"] + unwanted) * node["Actual Loops"]
    for child in node.get("Plans", ()):
        yield from _looked_at(child)


def fully_read(url: str, sql: str) -> set[str]:
    """The tables that a query would read from one end to the other, by its plan."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return _scanned(connection, sql)
    with psycopg.connect(url) as server:
        [[[plan]]] = server.execute(f"EXPLAIN (FORMAT JSON) {sql}".encode()).fetchall()
    assert isinstance(plan, dict)
    return set(_sequential(plan["Plan"]))


def _scanned(connection: sqlite3.Connection, sql: str) -> set[str]:
    """By the program of SQLite's machine, which knows tables where the plan knows the aliases of a view."""
    pages = dict(connection.execute("SELECT rootpage, tbl_name FROM sqlite_schema WHERE rootpage > 0"))
    steps = [step[1:5] for step in connection.execute(f"EXPLAIN {sql}")]
    of_cursor = {cursor: pages.get(page) for name, cursor, page, _ in steps if name == "OpenRead"}
    found = {of_cursor.get(cursor) for name, cursor, _, _ in steps if name in {"Rewind", "Last", "Sort"}}
    return {table for table in found if table is not None}


def _sequential(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"]
    for child in node.get("Plans", ()):
        yield from _sequential(child)
