"""Fixtures for everybody: databases, real ones, of both kinds."""

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url

from etl.db import migrate
from tests.postgres import PostgresServer, started_server


def pytest_configure() -> None:
    """What a shell starts in the background ignores SIGINT, and so would every process that a test interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Half as many again as there are cores: the tests wait for slots, disks and processes about half of the time."""
    return max(2, len(os.sched_getaffinity(0)) * 3 // 2 if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What is there now stays to the end: no search for cycles need look at it, above all none that a test asks for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that lives as long as this process of the tests."""
    with started_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a database with the schema of this version: copying it is faster than migrating each anew."""
    with postgres_server.database() as url:
        migrate.upgrade(url)
        yield str(make_url(url).database)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema of this version: copying it is faster than migrating each anew."""
    file = tmp_path_factory.mktemp("template") / "template.db"
    migrate.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes fresh databases by dialect, migrated or empty; on SQLite an empty one is a file that is not there yet."""
    with ExitStack() as made:

        def new(dialect: str, *, migrated: bool = True, name: str = "balances.db") -> str:
            if dialect == "sqlite":
                if migrated and not (tmp_path / name).exists():
                    shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / name)
                return f"sqlite:///{tmp_path / name}"
            server: PostgresServer = request.getfixturevalue("postgres_server")
            template = request.getfixturevalue("postgres_template") if migrated else "template0"
            return made.enter_context(server.database(template))

        yield new


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Each in turn: what is promised of one is promised of the other."""
    return str(request.param)


@pytest.fixture
def empty_database_url(dialect: str, new_database: Callable[..., str]) -> str:
    """A fresh database without a schema."""
    return new_database(dialect, migrated=False)


@pytest.fixture
def database_url(dialect: str, new_database: Callable[..., str]) -> str:
    """A fresh database with the schema of this version."""
    return new_database(dialect)
