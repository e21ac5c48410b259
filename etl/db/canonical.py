"""Every row of the tables in values that are the same on both databases: numbers, bytes, and texts of all else.

A time is the text that SQLite has of it, longer where PostgreSQL has more of it than the contract's form holds. An
amount is its digits.
"""

from collections.abc import Generator
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Column, Connection, Integer, LargeBinary, Table

from etl.db.faults import translated
from etl.db.schema import metadata, snapshot
from etl.db.types import Amount, Instant, Slot
from etl.db.url import Address

TABLES: Final[tuple[Table, ...]] = tuple(metadata.sorted_tables)
"""Those that others refer to come first."""

Rows: TypeAlias = Generator[tuple[Any, ...], None, None]
"""To be closed by whoever does not come to their end: PostgreSQL answers nothing else before."""

_AT_A_TIME = 1000
_ID_AND_MONTH = ("int8", "text")


class Side(NamedTuple):
    """A history to read whole: a connection in a transaction, and what its database is called in errors."""

    connection: Connection
    address: Address

    def rows(self, table: Table) -> Rows:
        """The columns of every row, in order of the primary key."""
        order = ", ".join(f"t.{column.name}" for column in table.primary_key)
        sql = f"SELECT {self._listed(table)} FROM {table.name} AS t ORDER BY {order}"  # noqa: S608 - names of our own
        return self._fetched(sql, [_type(column) for column in table.columns])

    def rows_of_months(self, table: Table) -> Rows:
        """The same in any order, behind the id of the account and the month of the slot, as far as there are any.

        A month is ``2026-11``, in UTC.
        """
        joined = ""
        if "slot_at" in table.c:
            of = f"t.account_id, {self._month('t')}"
        elif "snapshot_id" in table.c:
            of = f"s.account_id, {self._month('s')}"
            joined = f" LEFT JOIN {snapshot.name} AS s ON s.id = t.snapshot_id"
        else:
            of = "t.account_id, NULL" if "account_id" in table.c else "t.id, NULL"
        sql = f"SELECT {of}, {self._listed(table)} FROM {table.name} AS t{joined}"  # noqa: S608 - names of our own
        return self._fetched(sql, [*_ID_AND_MONTH, *(_type(column) for column in table.columns)])

    def _fetched(self, sql: str, types: list[str]) -> Rows:
        driver: Any = self.connection.connection.driver_connection
        # Here rather than around whoever asks, for errors of the other side pass through the same loop.
        with translated(self.address):
            if self.connection.dialect.name == "sqlite":
                cursor = driver.execute(sql)
                while found := cursor.fetchmany(_AT_A_TIME):
                    yield from found
                return
            with driver.cursor() as cursor, cursor.copy(f"COPY ({sql}) TO STDOUT") as copy:
                copy.set_types(types)
                yield from copy.rows()

    def _listed(self, table: Table) -> str:
        is_sqlite = self.connection.dialect.name == "sqlite"
        return ", ".join(f"t.{column.name}" if is_sqlite else _postgresql(column) for column in table.columns)

    def _month(self, of: str) -> str:
        if self.connection.dialect.name == "sqlite":
            return f"substr({of}.slot_at, 1, 7)"
        return f"to_char(timezone('UTC', {of}.slot_at), 'YYYY-MM')"


def _postgresql(column: Column[Any]) -> str:
    name = f"t.{column.name}"
    if isinstance(column.type, Amount):
        return f"{name}::text"
    if isinstance(column.type, Instant):
        superfluous = r"\.000000" if isinstance(column.type, Slot) else "000"
        text = f"""to_char(timezone('UTC', {name}), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
        return f"regexp_replace({text}, '{superfluous}Z$', 'Z')"
    return name


def _type(column: Column[Any]) -> str:
    """PostgreSQL's name of the type of :func:`_postgresql`."""
    if isinstance(column.type, Integer):
        return "int8"
    return "bytea" if isinstance(column.type, LargeBinary) else "text"
