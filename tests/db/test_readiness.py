"""Whether there is work for alembic is known without it."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from etl.db import migrate
from etl.db.engine import open_engine
from etl.db.readiness import is_at_head, prepare
from etl.errors import SchemaNotAtHead

WITHOUT_ALEMBIC = """
import sys
from etl.db.readiness import prepare
from etl.db.engine import open_engine
from etl.db.store import SqlStore
from datetime import UTC, datetime
prepare(sys.argv[1])
with SqlStore(open_engine(sys.argv[1]), lambda: datetime.now(UTC)).transaction() as transaction:
    transaction.accounts({})
print(sorted({name.partition(".")[0] for name in sys.modules} & {"alembic", "psycopg", "mako", "rich"}))
"""


def test_a_ready_sqlite_database_is_used_without_alembic_and_psycopg(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/balances.db"
    migrate.ensure(url)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ALEMBIC, url], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_sqlite_is_made_ready_and_postgresql_left_to_its_owner(empty_database_url: str) -> None:
    prepare(empty_database_url)
    prepare(empty_database_url)
    assert is_at_head(open_engine(empty_database_url)) is empty_database_url.startswith("sqlite")


def test_a_newer_sqlite_database_is_not_made_ready(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/balances.db"
    migrate.ensure(url)
    with open_engine(url).write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaNotAtHead, match="newer"):
        prepare(url)
