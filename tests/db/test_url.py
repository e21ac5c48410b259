"""Which URLs are taken, and that none of the others is quoted."""

from pathlib import Path

import pytest

from etl.db.last_snapshots import sqlite_file
from etl.db.url import parse
from etl.errors import SettingsError


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_means_psycopg(scheme: str) -> None:
    address = parse(f"{scheme}://me:hunter2@db.example:5433/balances?sslmode=require")
    assert address.url.drivername == "postgresql+psycopg"
    assert (address.name, address.path) == ("balances at db.example:5433", None)
    assert address.url.query == {"sslmode": "require"}
    assert "hunter2" not in repr(address)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql:///balances", "balances at the local server"),
        ("postgresql:///balances?host=/run/postgresql", "balances at /run/postgresql"),
        ("postgresql://h", "PostgreSQL at h"),
    ],
)
def test_a_server_is_named_without_what_is_secret(url: str, name: str) -> None:
    assert parse(url).name == name


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite"])
def test_sqlite_is_a_file(scheme: str) -> None:
    assert parse(f"{scheme}:////var/lib/x/balances.db").path == Path("/var/lib/x/balances.db")


@pytest.mark.parametrize("slashes", [5, 6, 7])
def test_a_slash_too_many_before_a_path_changes_nothing(slashes: int) -> None:
    url = f"sqlite:{'/' * slashes}var/lib/x/balances.db"
    assert parse(url).path == Path("/var/lib/x/balances.db")
    assert parse(url).name == sqlite_file(url) == "/var/lib/x/balances.db"


def test_a_relative_path_is_made_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("sqlite:///balances.db").path == tmp_path / "balances.db"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hunter2",
        "postgresql",
        "mysql://me:hunter2@h/d",
        "postgresql+psycopg2://me:hunter2@h/d",
        "postgresql+asyncpg://me:hunter2@h/d",
        "postgresql://me:hunter2@h:port/d",
        "postgresql://me:hunter2@h:54 32/d",
        "hunter2!://h/d",
        "sqlite+aiosqlite:////tmp/hunter2",
        "sqlite+pysqlcipher://:hunter2@//tmp/x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:hunter2?mode=memory&uri=true",
        "sqlite:////tmp/x.db?key=hunter2",
        "sqlite://tmp/hunter2.db",
        "sqlite://me:hunter2@h/x.db",
    ],
)
def test_anything_else_is_a_setting_to_mend_and_is_not_quoted(url: str) -> None:
    with pytest.raises(SettingsError, match="database_url") as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
