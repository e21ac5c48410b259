"""What the next snapshot is compared with, found by the index whatever the planner believes; see also test_store.py."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import event, text

from etl.db import migrate
from etl.db.wallets import complete_wallets
from tests.db.recorded import START, Recorded


def test_sqlite_looks_up_spans_by_the_index_even_when_it_has_statistics(tmp_path: Path) -> None:
    migrate.ensure(f"sqlite:///{tmp_path}/balances.db")
    recorded = Recorded(f"sqlite:///{tmp_path}/balances.db")
    with recorded.at_once():
        for key in range(1, 21):
            recorded.account(f"a{key}")
            for hour in range(50):
                recorded.snapshot(START + timedelta(hours=hour), of=key)
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:  # noqa: ANN401
        if "span" in statement:
            driver = connection.connection.driver_connection
            plans.extend(row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    last = START + timedelta(hours=50)
    with recorded.database.write() as connection:
        connection.execute(text("ANALYZE"))
    with recorded.database.write() as connection:
        event.listen(connection, "before_cursor_execute", explain)
        found = complete_wallets(connection, dict.fromkeys(range(1, 21), (last, last)))
    assert {key: [w.slot_at for w in wallets] for key, wallets in found.items()} == {
        key: [last - timedelta(hours=1)] for key in range(1, 21)
    }
    of_snapshots = [plan for plan in plans if "snapshot" in plan and "annotation" not in plan]
    assert len(of_snapshots) == 2
    assert all("sqlite_autoindex_snapshot_1 (account_id=? AND slot_at" in plan for plan in of_snapshots), of_snapshots
