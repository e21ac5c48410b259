from collections.abc import Callable, Iterator
from typing import Any

import pytest

from etl.bingx.client import Client


@pytest.fixture
def client_of() -> Iterator[Callable[..., Client]]:
    """Make clients that are closed at the end."""
    made: list[Client] = []

    def make(base_url: str, **settings: Any) -> Client:  # whatever Client takes
        made.append(Client(base_url, **settings))
        return made[-1]

    yield make
    for client in made:
        client.close()
