"""Fixtures for everybody: databases, real ones, of both kinds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.db import migrate
from tests.postgres import PostgresServer, started_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that lives as long as this process of the tests."""
    with started_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database without a schema; on SQLite a file that is not there yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'balances.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    with server.database() as url:
        yield url


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """A fresh database with the schema of this version."""
    migrate.upgrade(empty_database_url)
    return empty_database_url
