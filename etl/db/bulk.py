"""Many rows at a time, in the way that each driver is fastest at."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite

T = TypeVar("T")

VALUES_IN_STATEMENT = 1000
"""How many values are written into one list of a statement: far from every limit, and enough to make statements few."""


def insert_or_skip(dialect: str, table: Table) -> Any:  # noqa: ANN401 - the two classes share no base
    """An INSERT that leaves rows that conflict with another alone."""
    if dialect == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - costs time at every start, and most installations have no PostgreSQL

    return postgresql.insert(table).on_conflict_do_nothing()


def insert_rows(connection: Connection, table: Table, rows: Iterable[Sequence[object]]) -> None:
    """Insert rows of plain values, in the order of the table's columns, however many, without collecting them.

    Amounts are their canonical text on both.
    """
    driver: Any = connection.connection.driver_connection
    names = ", ".join(column.name for column in table.columns)
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" for _ in table.columns)
        driver.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({places})", rows)  # noqa: S608
        return
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def chunks(values: Iterable[T], size: int = VALUES_IN_STATEMENT) -> Iterator[list[T]]:
    """The values in lists of at most so many."""
    chunk: list[T] = []
    for value in values:
        chunk.append(value)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
