"""Reading years of history: the views against a flat table and the least that could be asked, export, db copy."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.loading import postgresql
from benchmarks.measuring import ROOT, Cost, Row, duel, environment, interleaved, median, progress, run

CONTESTANTS = Path(__file__).parent / "contestants"
RIG = [sys.executable, "-m", "benchmarks.rigs.copying"]
ACCOUNTS = 500
MOST_GROWTH = 1.25
MOST_MS = 50

FLAT = {
    "SQLite": """
        SELECT l.day, sum(CAST(b.balance AS REAL))
        FROM balances AS b
        JOIN (SELECT date(captured_at) AS day, max(captured_at) AS last FROM balances GROUP BY 1) AS l
          ON b.captured_at = l.last
        GROUP BY 1""",
    "PostgreSQL": """
        SELECT l.day, sum(b.balance)
        FROM balances AS b
        JOIN (SELECT captured_at::date AS day, max(captured_at) AS last FROM balances GROUP BY 1) AS l
          ON b.captured_at = l.last
        GROUP BY 1""",
}
BARE = {
    "SQLite": """
        SELECT substr(slot_at, 1, 10), min(CAST(total_usdt AS REAL)), max(CAST(total_usdt AS REAL))
        FROM snapshot GROUP BY 1""",
    "PostgreSQL": "SELECT slot_at::date, min(total_usdt), max(total_usdt) FROM snapshot GROUP BY 1",
}
BY_KEY = (
    "SELECT s.id, s.account_id, s.slot_at, s.taken_at, b.account_type, b.usdt_balance, b.usdt_balance, s.status,"
    " s.provenance FROM snapshot AS s JOIN balance AS b ON b.snapshot_id = s.id"
)
CLOSES = "SELECT day, close_usdt FROM daily_equity"
HIGH_AND_LOW = "SELECT day, high_usdt, low_usdt, close_usdt FROM daily_equity"


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of database by its name, connections of its driver, and what is to be reached."""

    name: str
    ours: Any
    flat: Any
    fleet: Any
    closes_faster: float
    high_and_low_at_most: float


def measure(directory: Path, runs: int, years: int) -> list[Row]:
    """Both databases have the same five years, and the same 500 accounts."""
    progress(f"{years} years")
    _record(directory, years)
    progress(f"{ACCOUNTS} accounts")
    _record_fleet(directory / "fleet.db")
    return measure_recorded(directory, runs, years)


def measure_recorded(directory: Path, runs: int, years: int) -> list[Row]:
    """The rows, of what is in the directory."""
    sqlite, fleet, flat = directory / "years.db", directory / "fleet.db", directory / "flat.db"
    rows: list[Row] = []
    with postgresql() as create:
        url, fleet_url = create(), create()
        progress("the same in PostgreSQL")
        for source, target in ((sqlite, url), (fleet, fleet_url)):
            run([*RIG, "copy", f"sqlite:///{source}", target], environment())
        _flat_in_postgresql(flat, url)
        for each in (url, fleet_url):  # as autovacuum would, in a while
            with psycopg.connect(each, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
        with (
            closing(sqlite3.connect(sqlite)) as a,
            closing(sqlite3.connect(flat)) as b,
            closing(sqlite3.connect(fleet)) as c,
            closing(psycopg.connect(url, options="-c jit=off")) as d,
            closing(psycopg.connect(fleet_url, options="-c jit=off")) as e,
        ):
            for place in (Place("SQLite", a, b, c, 100, 2), Place("PostgreSQL", d, d, e, 15, 3)):
                rows += _queries(place, runs, years)
        for name, each in (("SQLite", f"sqlite:///{sqlite}"), ("PostgreSQL", url)):
            rows += _export(directory, name, each, years, max(1, runs // 5))
        rows.append(_copies(directory, f"sqlite:///{sqlite}", url, create, max(1, runs // 5)))
    return rows


def _queries(place: Place, runs: int, years: int) -> list[Row]:
    progress(f"{place.name}: queries")
    closes, flat = _duel(runs, lambda: _ask(place.ours, CLOSES), lambda: _ask(place.flat, FLAT[place.name]))
    ratio = flat.wall / closes.wall
    rows = [
        Row(
            f"daily closes of {years} years, {place.name}",
            "the same from a flat table with an index on time",
            f"{ratio:.0f} times faster ({_ms(closes)} : {_ms(flat)})",
            f"≥ {place.closes_faster:g} times",
            ratio >= place.closes_faster,
            {"ratio": ratio, "seconds": closes.wall, "baseline_seconds": flat.wall},
        )
    ]
    high, bare = _duel(runs, lambda: _ask(place.ours, HIGH_AND_LOW), lambda: _ask(place.ours, BARE[place.name]))
    what = f"daily closes with high and low, {place.name}"
    against = "a bare SELECT of min and max per day over `snapshot`"
    rows.append(_at_most(what, against, high, bare, place.high_and_low_at_most))
    day = str(_ask(place.ours, f"SELECT day FROM daily_equity ORDER BY day LIMIT 1 OFFSET {years * 200}")[0][0])
    one = _alone(runs, lambda: _ask(place.ours, f"SELECT * FROM daily_equity WHERE day = '{day}'"), 1)
    rows.append(_within(f"daily_equity for one day of {years} years, {place.name}", one))
    gaps = _alone(runs, lambda: _ask(place.fleet, f"SELECT * FROM slot_gap WHERE account = 'a{ACCOUNTS // 2}'"), 2)
    rows.append(_within(f"slot_gap for one of {ACCOUNTS} accounts, {place.name}", gaps))
    following = date.fromisoformat(day) + timedelta(days=1)
    begins, ends = f"{day}T00:00:00Z", f"{following}T00:00:00Z"
    history = f"SELECT * FROM balance_history WHERE account = 'main' AND slot_at > '{begins}' AND slot_at <= '{ends}'"
    wanted = _ask(place.ours, history)
    ids = sorted({row[0] for row in wanted})
    by_key = f"{BY_KEY} WHERE s.id BETWEEN {ids[0]} AND {ids[-1]}"
    if len(_ask(place.ours, by_key)) != len(wanted):
        raise RuntimeError("these are not the same rows")
    view, key = _duel(runs * 5, lambda: _ask(place.ours, history), lambda: _ask(place.ours, by_key))
    what = f"balance_history for one day of {years} years ({len(wanted)} rows), {place.name}"
    rows.append(_at_most(what, "the same rows by primary key", view, key, 3))
    return rows


def _ask(connection: Any, sql: str) -> list[Any]:  # noqa: ANN401 - two drivers
    found: list[Any] = connection.execute(sql).fetchall()
    return found


def _duel(runs: int, ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[Cost, Cost]:
    costs = interleaved({"ours": _timed(ours), "theirs": _timed(theirs)}, runs)
    return median(costs["ours"]), median(costs["theirs"])


def _alone(runs: int, ask: Callable[[], list[Any]], at_least: int) -> Cost:
    if len(ask()) < at_least:
        raise RuntimeError("there is nothing to be found")
    return median(interleaved({"ours": _timed(ask)}, runs)["ours"])


def _timed(work: Callable[[], object]) -> Callable[[], Cost]:
    def timed() -> Cost:
        began, cpu = time.perf_counter(), time.process_time()
        work()
        return Cost(time.perf_counter() - began, time.process_time() - cpu)

    return timed


def _ms(cost: Cost) -> str:
    if cost.wall >= 10:
        return f"{cost.wall:.1f} s"
    return f"{cost.wall * 1000:.{0 if cost.wall > 0.02 else 1}f} ms"


def _at_most(what: str, against: str, ours: Cost, theirs: Cost, most: float) -> Row:
    ratio = ours.wall / theirs.wall
    return Row(
        what,
        against,
        f"{ratio:.2f} times ({_ms(ours)} : {_ms(theirs)})",
        f"≤ {most:g} times",
        ratio <= most,
        {"ratio": ratio, "seconds": ours.wall, "baseline_seconds": theirs.wall},
    )


def _within(what: str, cost: Cost) -> Row:
    return Row(what, "", _ms(cost), f"< {MOST_MS} ms", cost.wall * 1000 < MOST_MS, {"seconds": cost.wall})


def _export(directory: Path, name: str, url: str, years: int, runs: int) -> list[Row]:
    settings = environment(BINGX_ETL_DATABASE_URL=url, BINGX_ETL_STATE_DIR=str(directory / "state"))
    command = [sys.executable, "-m", "etl", "export"]
    script: list[str | Path] = [sys.executable, CONTESTANTS / "export.py", url]
    costs = interleaved({"export": lambda: run(command, settings), "script": lambda: run(script, settings)}, runs)
    # As many days as make a tenth.
    since = datetime.now(UTC).date() - timedelta(days=years * 36)
    tenth = run([*command, "--since", str(since)], settings)
    peak = median(costs["export"]).peak_bytes
    growth = peak / tenth.peak_bytes
    return [
        duel(
            f"export of {years} years as CSV, whole process, {name}",
            costs["export"],
            "the driver's own cursor written by the csv module",
            costs["script"],
            most=3,
        ),
        Row(
            "",
            "its peak memory with a tenth",
            f"{growth:.2f} times ({peak / 1e6:.0f} MB : {tenth.peak_bytes / 1e6:.0f} MB)",
            f"flat (≤ {MOST_GROWTH:g} times)",
            growth <= MOST_GROWTH,
            {"peak_bytes": peak, "peak_bytes_of_a_tenth": tenth.peak_bytes},
        ),
    ]


def _copies(directory: Path, source: str, filled: str, create: Callable[[], str], runs: int) -> Row:
    tables = directory / "tables"
    tables.mkdir(exist_ok=True)
    run([*RIG, "dump", filled, tables], environment())
    ours, theirs = list[Cost](), list[Cost]()
    for number in range(runs):
        progress(f"db copy {number + 1}/{runs}")
        ours.append(_told("copy", source, create()))
        target = create()
        state = environment(BINGX_ETL_DATABASE_URL=target, BINGX_ETL_STATE_DIR=str(directory / "state"))
        run([sys.executable, "-m", "etl", "db", "upgrade"], state)
        progress(f"COPY {number + 1}/{runs}")
        theirs.append(_told("load", target, str(tables)))
    progress("")
    what = "db copy of them from SQLite to PostgreSQL, without the comparison of both sides"
    return _at_most(what, "COPY of the same rows from files into the same tables", median(ours), median(theirs), 6)


def _told(*arguments: str) -> Cost:
    done = subprocess.run([*RIG, *arguments], env=environment(), cwd=ROOT, capture_output=True, text=True, check=True)
    wall, cpu = map(float, done.stdout.split())
    return Cost(wall, cpu)


def _record(directory: Path, years: int) -> None:
    """Until today's midnight, a snapshot of each thousand missing."""
    state = environment(
        BINGX_ETL_DATABASE_URL=f"sqlite:///{directory}/years.db", BINGX_ETL_STATE_DIR=str(directory / "state")
    )
    run([sys.executable, "-m", "etl", "db", "upgrade"], state)
    first = datetime.now(UTC).date() - timedelta(days=365 * years)
    day = (first - date(1970, 1, 1)).days
    run([sys.executable, "-m", "benchmarks.rigs.years", directory, str(years), str(day)], environment())
    with closing(sqlite3.connect(directory / "years.db")) as database, database:
        database.execute("INSERT INTO schedule VALUES (1, 1, 300, ?, NULL)", [f"{first}T00:00:00Z"])
        for table, key in (("balance", "snapshot_id"), ("snapshot", "id")):
            database.execute(f"DELETE FROM {table} WHERE {key} % 1000 = 500")


def _record_fleet(path: Path) -> None:
    """As many snapshots as one account has in five years, of 500: the last days, a snapshot of each hundred missing."""
    state = environment(BINGX_ETL_DATABASE_URL=f"sqlite:///{path}", BINGX_ETL_STATE_DIR=str(path.with_name("state")))
    run([sys.executable, "-m", "etl", "db", "upgrade"], state)
    slots = 5 * 365 * 288 // ACCOUNTS
    began = int(datetime.now(UTC).timestamp()) // 300 * 300 - slots * 300
    at = f"strftime('%Y-%m-%dT%H:%M:%SZ', {began} + n * 300, 'unixepoch')"
    series = "WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {}) "
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            f"INSERT INTO account {series.format(ACCOUNTS - 1)}"
            "SELECT n + 1, 'a' || n, NULL, 'live', '2026-01-01T00:00:00.000Z', NULL FROM s"
        )
        database.execute(f"INSERT INTO schedule SELECT id, id, 300, {at}, NULL FROM account, (SELECT 0 AS n)")
        database.execute(
            f"INSERT INTO snapshot {series.format(slots - 1)}"
            f"SELECT n * {ACCOUNTS} + a.id, a.id, {at}, replace({at}, 'Z', '.500Z'), replace({at}, 'Z', '.000Z'), 100,"
            f" replace({at}, 'Z', '.700Z'), 'complete', NULL, 'measured', (a.id + n) || '.50', 1 FROM s"
            " CROSS JOIN account AS a WHERE (a.id + n) % 100 <> 0"
        )
        database.execute("INSERT INTO balance SELECT id, 'spot', total_usdt, NULL FROM snapshot")


def _flat_in_postgresql(flat: Path, url: str) -> None:
    with closing(sqlite3.connect(flat)) as source, psycopg.connect(url) as target:
        target.execute("CREATE TABLE balances (captured_at timestamptz, account_type text, balance numeric)")
        with target.cursor().copy("COPY balances FROM STDIN") as copy:
            for row in source.execute("SELECT captured_at, account_type, balance FROM balances"):
                copy.write_row(row)
        target.execute("CREATE INDEX balances_captured_at ON balances (captured_at)")
