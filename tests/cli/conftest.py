from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.sandbox.exchange import Exchange
from etl.sandbox.limits import NO_LIMITS
from etl.sandbox.server import SandboxServer
from tests.cli.program import Program


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    """A BingX with three accounts, without limits and without memory for signatures."""
    with SandboxServer(Exchange(3, 7, limits=NO_LIMITS, refuse_replays=False)) as running:
        yield running


@pytest.fixture
def program(tmp_path: Path, server: SandboxServer) -> Program:
    """The program with SQLite."""
    home = tmp_path / "home"
    home.mkdir()
    return Program(home, server, f"sqlite:///{home / 'state' / 'balances.db'}")


@pytest.fixture
def anywhere(tmp_path: Path, server: SandboxServer, database_url: str) -> Program:
    """The program with a database of either kind, ready."""
    home = tmp_path / "home"
    home.mkdir()
    return Program(home, server, database_url)
