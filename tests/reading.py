"""Asking a database directly, as its owner would: past all of our own code but the URL."""

import sqlite3
from contextlib import closing
from typing import Any

import psycopg


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query, or of a statement, which is committed."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as there:
            return there.execute(sql).fetchall()
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []
