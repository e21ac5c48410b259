"""The views as they are now, and how to select from them. Their SQL is in views_sqlite.py and views_postgresql.py.

Migrations carry copies of their own: what a revision did must never change. A test compares the two.

Their shape is for speed over years of slots. Figures of a day are scalar subqueries over the index on (account_id,
slot_at), so that a filter reaches it and a column nobody asks for costs nothing. Coverage counts the snapshots of a day
once more: of each schedule in force then, those on its grid. One that nobody expected, such as an imported one, stands
for none that is missing. A gap is found at its beginning, a known slot whose successor is unknown; the slots that
should be there are never generated.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Float, Integer, TableClause, column, table

from etl.db.types import Amount, Day, Instant, Slot, Words
from etl.db.views_postgresql import POSTGRESQL
from etl.db.views_sqlite import SQLITE

VIEWS: Final[Mapping[str, Mapping[str, str]]] = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
"""By dialect and name, in an order in which they can be created."""


def _balances(name: str) -> TableClause:
    return table(
        name,
        column("snapshot_id", Integer),
        column("account", Words),
        column("slot_at", Slot),
        column("taken_at", Instant),
        column("account_type", Words),
        column("usdt_balance"),
        column("usdt_balance_exact", Amount),
        column("status", Words),
        column("provenance", Words),
    )


# Only the exact columns are decimals on both; the plain ones are floats on SQLite, so they have no type here.
balance_history = _balances("balance_history")
latest_balance = _balances("latest_balance")
equity = table(
    "equity",
    column("snapshot_id", Integer),
    column("account", Words),
    column("slot_at", Slot),
    column("taken_at", Instant),
    column("total_usdt"),
    column("total_usdt_exact", Amount),
    column("status", Words),
    column("provenance", Words),
)
daily_equity = table(
    "daily_equity",
    column("account", Words),
    column("day", Day),
    column("open_usdt"),
    column("high_usdt"),
    column("low_usdt"),
    column("close_usdt"),
    column("close_at", Slot),
    column("change_usdt"),
    column("snapshots", Integer),
    column("expected", Integer),
    column("coverage", Float),
)
slot_gap = table(
    "slot_gap",
    column("account", Words),
    column("gap_from", Slot),
    column("gap_to", Slot),
    column("missed", Integer),
    column("reason", Words),
)
