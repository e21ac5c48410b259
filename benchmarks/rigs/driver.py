"""The rows of a history by the driver alone.

driver.py dump URL FILE      into the file, all rows of the tables
driver.py load URL FILE      out of it, into the same tables of an empty database: executemany for each table, one
                             commit; prints the seconds and CPU seconds that it took from the connection to the commit
"""

import pickle
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

TABLES = ("account", "schedule", "snapshot", "balance", "payload", "failure")


def connect(url: str) -> Any:  # noqa: ANN401 - two drivers
    """A connection of the driver, as it comes."""
    if url.startswith("sqlite:///"):
        return sqlite3.connect(url.removeprefix("sqlite:///"))
    return psycopg.connect(url)


def main() -> None:
    """As the first argument says."""
    what, url, file = sys.argv[1:]
    if what == "dump":
        with connect(url) as database:
            rows = {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
        Path(file).write_bytes(pickle.dumps(rows))
        return
    rows = pickle.loads(Path(file).read_bytes())
    place = "?" if url.startswith("sqlite") else "%s"
    began, cpu = time.perf_counter(), time.process_time()
    with connect(url) as database:
        for table in TABLES:
            if rows[table]:
                places = ", ".join([place] * len(rows[table][0]))
                database.cursor().executemany(f"INSERT INTO {table} VALUES ({places})", rows[table])
        database.commit()
    print(time.perf_counter() - began, time.process_time() - cpu)


if __name__ == "__main__":
    main()
