"""The histories whose answers are known, on both databases, for whoever asks them something."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TypeAlias

import pytest

from etl.db import migrate
from tests.docs.large_history import fill
from tests.known_history import record, record_lately
from tests.postgres import PostgresServer

NOW = datetime.now(UTC)
MAKE: Mapping[str, Callable[[str], None]] = {
    "history": record,
    "lately": lambda url: record_lately(url, NOW),
    "large": fill,
}
Histories: TypeAlias = Callable[[str, str], str]


@pytest.fixture(scope="module")
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Histories]:
    """The URL of a history that is known, by its name and dialect; made when first asked for. Nobody writes into it."""
    made: dict[tuple[str, str], str] = {}
    with ExitStack() as databases:

        def url(name: str, dialect: str) -> str:
            if (name, dialect) not in made:
                if dialect == "sqlite":
                    found = f"sqlite:///{tmp_path_factory.mktemp(name) / 'balances.db'}"
                    migrate.upgrade(found)
                else:
                    server: PostgresServer = request.getfixturevalue("postgres_server")
                    found = databases.enter_context(server.database(request.getfixturevalue("postgres_template")))
                MAKE[name](found)
                made[name, dialect] = found
            return made[name, dialect]

        yield url
