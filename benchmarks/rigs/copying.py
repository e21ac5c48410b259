"""A history into PostgreSQL. Each prints the seconds and CPU seconds that it took.

copying.py copy SOURCE TARGET       as `db copy` does, without the comparison of both sides
copying.py dump SOURCE DIRECTORY    out of PostgreSQL, each table into a file of COPY's
copying.py load TARGET DIRECTORY    those files by COPY into the tables of an empty database, and a commit
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from etl.db.canonical import TABLES
from etl.db.copying import copy_history

BLOCK = 1 << 20


def copy(source: str, target: str) -> tuple[float, float]:
    """Without the seconds, and CPU seconds, of the comparison."""
    compared = [0.0, 0.0]

    @contextmanager
    def progress(what: str, _: int | None) -> Iterator[Callable[[int], None]]:
        began, cpu = time.perf_counter(), time.process_time()
        yield lambda _: None
        if what == "comparing":
            compared[:] = [time.perf_counter() - began, time.process_time() - cpu]

    copy_history(source, target, progress)
    return compared[0], compared[1]


def dump(source: str, directory: str) -> None:
    """The tables as COPY writes them."""
    with psycopg.connect(source) as connection, connection.cursor() as cursor:
        for table in TABLES:
            with (
                cursor.copy(f"COPY {table.name} TO STDOUT".encode()) as rows,
                (Path(directory) / table.name).open("wb") as file,
            ):
                for block in rows:
                    file.write(block)


def load(target: str, directory: str) -> None:
    """And as it reads them."""
    with psycopg.connect(target) as connection, connection.cursor() as cursor:
        for table in TABLES:
            with (
                cursor.copy(f"COPY {table.name} FROM STDIN".encode()) as rows,
                (Path(directory) / table.name).open("rb") as file,
            ):
                while block := file.read(BLOCK):
                    rows.write(block)


def main() -> None:
    """As the first argument says."""
    what, first, second = sys.argv[1:]
    began, cpu = time.perf_counter(), time.process_time()
    apart = (0.0, 0.0)
    if what == "copy":
        apart = copy(first, second)
    elif what == "dump":
        dump(first, second)
    else:
        load(first, second)
    print(time.perf_counter() - began - apart[0], time.process_time() - cpu - apart[1])


if __name__ == "__main__":
    main()
