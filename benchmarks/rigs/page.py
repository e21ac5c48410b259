"""The daily query and the page of a report, taking turns, as one process has them. page.py DATABASE PAGE RUNS

Prints the medians of both in seconds, and the bytes of the page.
"""

import gc
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from etl.cli import COLLECT_AFTER_OBJECTS
from etl.cli.html import write_page
from etl.db.engine import open_engine
from etl.db.equity import Equity
from etl.report.equity import Question

SCHEDULE = """
    INSERT INTO schedule (account_id, interval_seconds, valid_from)
    SELECT account_id, 300, min(slot_at) FROM snapshot WHERE NOT EXISTS (SELECT 1 FROM schedule) GROUP BY account_id
"""


def main() -> None:
    """Once each to warm up, then the runs."""
    database, page, runs = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    source = Equity(open_engine(f"sqlite:///{database}"))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(SCHEDULE)
        connection.commit()
        [(last,)] = connection.execute("SELECT max(slot_at) FROM snapshot")
        now = datetime.fromisoformat(last) + timedelta(seconds=1)
        daily, built = [], []
        for _ in range(runs + 1):
            daily.append(
                taken(lambda: connection.execute("SELECT * FROM daily_equity WHERE account = 'main'").fetchall())
            )
            built.append(taken(lambda: write_page(source, Question(), now, page)))
    print(statistics.median(daily[1:]), statistics.median(built[1:]), page.stat().st_size)


def taken(call: Callable[[], object]) -> float:
    """Its seconds."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
