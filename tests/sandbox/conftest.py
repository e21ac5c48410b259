from collections.abc import Iterator

import pytest

from etl.sandbox.exchange import Exchange
from etl.sandbox.limits import NO_LIMITS
from etl.sandbox.server import SandboxServer
from tests.sandbox.asking import Client, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[SandboxServer]:
    """Three accounts, a clock that stands still, no limits."""
    with SandboxServer(Exchange(3, 7, clock, limits=NO_LIMITS)) as running:
        yield running


@pytest.fixture
def client(server: SandboxServer) -> Iterator[Client]:
    with Client(server) as connected:
        yield connected
