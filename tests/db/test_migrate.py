"""Making and changing the schema: nothing half done, nothing lost, nothing of others touched."""

import multiprocessing
import os
import re
import secrets
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from etl.db import backup, migrate
from etl.db.engine import open_engine
from etl.db.schema import HEAD, metadata
from etl.db.views import VIEWS
from etl.errors import CannotCreate, DatabaseUnavailable, SchemaNotAtHead, SettingsError
from tests.db.recorded import Recorded
from tests.forked import FORKED

ROOT = Path(__file__).parents[2]

SECOND_REVISION = '''
"""A column more, by copying the table."""
import sqlalchemy as sa
from alembic import op
from pathlib import Path
revision = "{revision}"
down_revision = "{before}"
VIEWS = {views}

def upgrade() -> None:
    for name in VIEWS:
        op.execute(f"DROP VIEW {{name}}")
    with op.batch_alter_table("snapshot") as batch:
        batch.add_column(sa.Column("note", sa.Text()))
    {then}
    for name in VIEWS:
        views = Path(__file__).parents[1] / "views"
        [*_, last] = sorted(views.glob(f"*/{{op.get_context().dialect.name}}/{{name}}.sql"))
        op.execute(f"CREATE VIEW {{name}} AS " + last.read_text())

def downgrade() -> None:
    raise NotImplementedError
'''


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Turns this program into one with a revision more; returns it."""

    def make(then: str = "pass") -> str:
        home = tmp_path / "scripts"
        shutil.copytree(ROOT / "migrations", home / "migrations")
        shutil.copy(ROOT / "alembic.ini", home)
        revision = f"{int(HEAD) + 1:04d}"
        script = SECOND_REVISION.format(revision=revision, before=HEAD, views=tuple(VIEWS["sqlite"]), then=then)
        (home / "migrations" / "versions" / f"{revision}_later.py").write_text(script)
        monkeypatch.setattr(migrate, "home", lambda: home)
        for module in ("etl.db.migrate", "etl.db.revision"):
            monkeypatch.setattr(f"{module}.HEAD", revision)
        return revision

    return make


def config(connection: Connection) -> Config:
    made = migrate.configuration()
    made.attributes["connection"] = connection
    return made


def described(url: str) -> dict[str, Any]:
    """Everything that a database says of its own schema, alembic's table apart."""
    with open_engine(url).read() as connection:
        if connection.dialect.name == "sqlite":
            query = "SELECT type || ' ' || name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%'"
            return {name: normal(sql) for name, sql in connection.execute(text(query))}
        return {
            part: sorted(tuple(row) for row in connection.execute(text(query)))
            for part, query in POSTGRESQL_SCHEMA.items()
        }


POSTGRESQL_SCHEMA = {
    "columns": """
        SELECT table_name, ordinal_position, column_name, data_type, is_nullable, numeric_precision, numeric_scale,
          datetime_precision, is_identity, identity_generation, column_default
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'""",
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'""",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
}


def normal(sql: str | None) -> list[str] | None:
    """The parts of a definition, whatever their order: two ways of saying the same order constraints differently."""
    if sql is None or sql.startswith("CREATE VIEW"):
        return sql.split() if sql else None
    return sorted(re.sub(r"\s+", " ", line).strip(" ,") for line in sql.split("\n") if line.strip(" ,"))


def tables_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]


# --- the scripts ---


def test_there_is_one_head_and_the_program_knows_it() -> None:
    scripts = ScriptDirectory.from_config(migrate.configuration())
    assert scripts.get_heads() == [HEAD]


def test_they_are_found_wherever_the_program_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "a place; 100% mine %(here)s"
    elsewhere.symlink_to(ROOT)
    monkeypatch.setattr(migrate, "home", lambda: elsewhere)
    assert ScriptDirectory.from_config(migrate.configuration()).get_heads() == [HEAD]
    migrate.upgrade(f"sqlite:///{tmp_path / 'balances.db'}")


def test_revisions_are_numbered_in_their_order() -> None:
    scripts = ScriptDirectory.from_config(migrate.configuration())
    revisions = [script.revision for script in scripts.walk_revisions("base", "heads")]
    assert all(re.fullmatch(r"[0-9]{4}", revision) for revision in revisions)
    assert revisions == sorted(revisions, reverse=True)


def test_migrations_import_nothing_of_the_program() -> None:
    for script in (ROOT / "migrations" / "versions").glob("*.py"):
        assert not re.search(r"^\s*(from|import) etl", script.read_text(), re.MULTILINE), script


def test_the_migrated_schema_is_the_one_of_the_tables_and_views(new_database: Callable[..., str], dialect: str) -> None:
    migrated = new_database(dialect, name="migrated.db")
    created = new_database(dialect, migrated=False, name="created.db")
    with migrate.migrating(created) as connection:
        metadata.create_all(connection)
        for name, sql in VIEWS[dialect].items():
            connection.execute(text(f"CREATE VIEW {name} AS {sql}"))
        if dialect == "postgresql":
            connection.commit()
    assert described(migrated) == described(created)
    assert len(described(migrated)) >= 4


def test_a_migrated_schema_checks_clean(database_url: str) -> None:
    assert migrate.current(database_url) == HEAD
    assert migrate.check(database_url) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE snapshot ADD COLUMN note TEXT", "note"),
        ("DROP INDEX ix_annotation_snapshot_id", "ix_annotation_snapshot_id"),
        ("DROP VIEW slot_gap", "slot_gap"),
        ("DROP VIEW equity; CREATE VIEW equity AS SELECT id AS snapshot_id FROM snapshot", "equity"),
        ("UPDATE alembic_version SET version_num = '0000'", "older"),
        ("UPDATE alembic_version SET version_num = '9999'", "newer"),
        ("UPDATE alembic_version SET version_num = 'f00f'", "another program"),
    ],
)
def test_drift_is_found_and_named(database_url: str, change: str, words: str) -> None:
    with open_engine(database_url).write() as connection:
        for statement in change.split(";"):
            connection.execute(text(statement))
    [finding] = migrate.check(database_url)
    assert words in finding


def test_a_database_without_a_schema_does_not_check_clean(empty_database_url: str) -> None:
    [finding] = migrate.check(empty_database_url)
    assert "bingx-etl db upgrade" in finding


def test_up_down_and_up_again(database_url: str) -> None:
    before = described(database_url)
    with migrate.migrating(database_url) as connection:
        command.downgrade(config(connection), "base")
    assert not any(described(database_url).values()), "base leaves nothing"
    migrate.upgrade(database_url)
    assert described(database_url) == before


def test_the_view_of_the_first_revision_comes_back_and_goes_again(database_url: str) -> None:
    recorded = Recorded(database_url)
    recorded.account("main", (3600, "03-02 12:00", "03-02 14:01"))
    for slot in ("03-02 10:00", "03-02 11:00", "03-02 12:00"):
        recorded.snapshot(slot)
    before = described(database_url)
    for revision, coverage in (("0001", 1.0), (HEAD, 1 / 3)):
        with migrate.migrating(database_url) as connection:
            (command.downgrade if revision < HEAD else command.upgrade)(config(connection), revision)
        with open_engine(database_url).read() as connection:
            assert connection.execute(text("SELECT snapshots, expected, coverage FROM daily_equity")).all() == [
                (3, 3, coverage)
            ]
        assert migrate.current(database_url) == revision
        assert (described(database_url) == before) is (revision == HEAD)
    assert migrate.check(database_url) == ()


def test_what_others_may_read_of_postgresql_they_may_read_after_an_upgrade(new_database: Callable[..., str]) -> None:
    url = new_database("postgresql")
    with migrate.migrating(url) as connection:
        command.downgrade(config(connection), "0001")
    name = f"reader_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name}".encode())
        try:
            admin.execute(f"GRANT SELECT ON {', '.join(VIEWS['postgresql'])} TO {name}".encode())
            admin.execute(b"CREATE VIEW of_mine AS SELECT account, coverage FROM daily_equity")
            migrate.upgrade(url)
            admin.execute(f"SET ROLE {name}".encode())
            for view in VIEWS["postgresql"]:
                assert admin.execute(f"SELECT * FROM {view}".encode()).fetchall() == []
            admin.execute(b"RESET ROLE")
            assert admin.execute(b"SELECT * FROM of_mine").fetchall() == []
        finally:
            admin.execute(b"RESET ROLE")
            admin.execute(f"DROP OWNED BY {name}".encode())
            admin.execute(f"DROP ROLE {name}".encode())


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    before = described(database_url)
    assert migrate.upgrade(database_url) == HEAD
    assert described(database_url) == before


def test_a_later_revision_keeps_the_rows_and_what_refers_to_them(database_url: str, later: Callable[..., str]) -> None:
    recorded = Recorded(database_url)
    recorded.account()
    recorded.mark(recorded.snapshot("01-01 00:00", "1.50", {"spot": "1.50"}), "note")
    revision = later()
    migrate.upgrade(database_url)
    assert migrate.current(database_url) == revision
    with open_engine(database_url).read() as connection:
        for table in ("snapshot", "balance", "annotation", "balance_history", "equity"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 1, table


def test_a_newer_schema_is_left_alone(database_url: str) -> None:
    with open_engine(database_url).write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = described(database_url)
    with pytest.raises(SchemaNotAtHead, match="upgrade bingx-etl"):
        migrate.upgrade(database_url)
    assert described(database_url) == before


def test_a_table_of_another_program_is_left_alone(empty_database_url: str) -> None:
    if empty_database_url.startswith("sqlite"):
        Path(empty_database_url.removeprefix("sqlite:///")).touch()
    with open_engine(empty_database_url).write() as connection:
        connection.execute(text("CREATE TABLE snapshot (precious INTEGER)"))
    before = described(empty_database_url)
    with pytest.raises(SettingsError, match="another program"):
        migrate.upgrade(empty_database_url)
    assert described(empty_database_url) == before


# --- SQLite makes and upgrades itself ---


def test_a_new_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "balances.db"
    before = os.umask(0)
    try:
        migrate.ensure(f"sqlite:///{path}")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_missing_directory_is_a_setting_to_mend(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        migrate.ensure(f"sqlite:///{tmp_path}/none/balances.db")


def test_a_directory_in_place_of_the_file_is_a_setting_to_mend(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a file"):
        migrate.ensure(f"sqlite:///{tmp_path}")


def test_a_file_that_cannot_be_created_says_so(tmp_path: Path) -> None:
    with pytest.raises(CannotCreate, match="cannot be created"):
        migrate.ensure(f"sqlite:///{tmp_path / ('x' * 300)}")


def test_something_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "balances.db"
    path.write_bytes(b"my diary " * 1000)
    with pytest.raises(DatabaseUnavailable, match="no SQLite database"):
        migrate.ensure(f"sqlite:///{path}")
    assert path.read_bytes() == b"my diary " * 1000


def test_only_sqlite_upgrades_itself() -> None:
    with pytest.raises(SettingsError, match="db upgrade"):
        migrate.ensure("postgresql://nobody@localhost/none")


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "balances.db").touch()
    migrate.ensure(f"sqlite:///{tmp_path}/balances.db")
    assert "snapshot" in tables_of(tmp_path / "balances.db")


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_database_with_data_is_copied_before_it_is_upgraded(
    tmp_path: Path, later: Callable[..., str], journal: str
) -> None:
    path = tmp_path / "balances.db"
    migrate.ensure(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
    Recorded(f"sqlite:///{path}").account("precious")
    later()
    migrate.ensure(f"sqlite:///{path}")
    [copied] = tmp_path.glob("balances.db.backup-*")
    assert re.fullmatch(rf"balances\.db\.backup-{HEAD}-[0-9]{{8}}T[0-9]{{6}}Z", copied.name)
    assert stat.S_IMODE(copied.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copied)) as connection:
        assert connection.execute("SELECT name FROM account").fetchall() == [("precious",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (journal,), "the owner's choice stays"


def test_no_upgrade_without_its_backup(
    tmp_path: Path, later: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "balances.db"
    migrate.ensure(f"sqlite:///{path}")
    Recorded(f"sqlite:///{path}").account()
    later()

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "flush_file", full)
    with pytest.raises(CannotCreate, match="was not upgraded"):
        migrate.ensure(f"sqlite:///{path}")
    assert migrate.current(f"sqlite:///{path}") == HEAD
    assert not list(tmp_path.glob("*backup*"))


def test_a_database_without_data_needs_no_backup(tmp_path: Path, later: Callable[..., str]) -> None:
    migrate.ensure(f"sqlite:///{tmp_path}/balances.db")
    later()
    migrate.ensure(f"sqlite:///{tmp_path}/balances.db")
    assert not list(tmp_path.glob("*backup*"))


def test_a_migration_that_fails_leaves_nothing_half_done(database_url: str, later: Callable[..., str]) -> None:
    Recorded(database_url).account()
    before = described(database_url)
    later(then='op.execute("SELECT * FROM no_such_table")')
    with pytest.raises(SchemaNotAtHead):
        migrate.upgrade(database_url)
    assert described(database_url) == before
    assert migrate.current(database_url) == HEAD


def test_a_migration_that_leaves_rows_without_their_parents_is_undone(
    tmp_path: Path, later: Callable[..., str]
) -> None:
    url = f"sqlite:///{tmp_path}/balances.db"
    migrate.ensure(url)
    recorded = Recorded(url)
    recorded.account()
    recorded.snapshot("01-01 00:00", "1", {"spot": "1"})
    later(then='op.execute("DELETE FROM snapshot")')
    with pytest.raises(DatabaseUnavailable, match="undone"):
        migrate.ensure(url)
    assert migrate.current(url) == HEAD
    assert recorded.database.dialect == "sqlite"


def _ensure(url: str, results: "multiprocessing.Queue[str]", start: Any) -> None:  # noqa: ANN401 - a barrier
    start.wait()
    try:
        migrate.upgrade(url)
        results.put("done")
    except BaseException as error:
        results.put(repr(error))
        raise


def test_any_number_of_processes_may_upgrade_at_once(empty_database_url: str) -> None:
    results, start = FORKED.Queue(), FORKED.Barrier(4)
    processes = [FORKED.Process(target=_ensure, args=(empty_database_url, results, start)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ["done"] * 4
    for process in processes:
        process.join()
    assert migrate.check(empty_database_url) == ()


def _be_killed(url: str, statement: int, pipe: Pipe) -> None:
    """Upgrade, and stop for ever before the statement of that number."""
    seen = 0

    def trace(_: str) -> None:
        nonlocal seen
        seen += 1
        if seen == statement:
            pipe.send("here")
            signal.pause()

    real = sqlite3.connect

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*args, **options)
        connection.set_trace_callback(trace)
        return connection

    sqlite3.connect = connect  # type: ignore[assignment]
    migrate.ensure(url)
    pipe.send("done")


@pytest.mark.parametrize("statement", [4, 9, 14, 19, 23, 26])
def test_a_kill_in_the_middle_of_an_upgrade_leaves_nothing_half_done(tmp_path: Path, statement: int) -> None:
    path = tmp_path / "balances.db"
    here, there = FORKED.Pipe()
    process = FORKED.Process(target=_be_killed, args=(f"sqlite:///{path}", statement, there))
    process.start()
    assert here.poll(30)
    assert here.recv() == "here", "the upgrade has fewer statements"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert tables_of(path) == []
    migrate.ensure(f"sqlite:///{path}")
    assert migrate.check(f"sqlite:///{path}") == ()


# --- the plain command, in a checkout ---


def alembic(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    run = [sys.executable, "-m", "alembic", *arguments]
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment}
    return subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_the_plain_command_upgrades_and_checks_the_database_it_is_given(empty_database_url: str) -> None:
    done = alembic("-x", f"url={empty_database_url}", "upgrade", "head")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Running upgrade" in done.stderr
    assert migrate.check(empty_database_url) == ()
    checked = alembic("-x", f"url={empty_database_url}", "check")
    assert (checked.returncode, checked.stdout) == (0, "No new upgrade operations detected.\n"), checked.stderr


def test_the_plain_command_takes_the_database_of_the_settings(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/balances.db"
    done = alembic("upgrade", "head", BINGX_ETL_DATABASE_URL=url, BINGX_ETL_STATE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert migrate.current(url) == HEAD


def test_the_plain_command_says_what_is_wrong_in_one_line() -> None:
    done = alembic("-x", "url=mysql://u:hunter2@h/d", "upgrade", "head")
    assert done.returncode
    assert "neither SQLite nor PostgreSQL" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_the_plain_command_prints_the_statements_for_someone_else_to_run() -> None:
    done = alembic("-x", "url=postgresql://h/d", "upgrade", "head", "--sql")
    assert done.returncode == 0, done.stderr
    assert "CREATE TABLE snapshot" in done.stdout
    assert "CREATE VIEW slot_gap" in done.stdout
    assert done.stdout.strip().endswith("COMMIT;")


def test_a_new_revision_gets_the_next_number_and_the_rules(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    shutil.copy(ROOT / "alembic.ini", tmp_path)
    url = f"sqlite:///{tmp_path}/balances.db"
    migrate.ensure(url)
    run = [sys.executable, "-m", "alembic", "-c", str(tmp_path / "alembic.ini"), "-x", f"url={url}"]
    done = subprocess.run(
        [*run, "revision", "--autogenerate", "-m", "a thing"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = (tmp_path / "migrations" / "versions" / f"{int(HEAD) + 1:04d}_a_thing.py").read_text()
    assert "Every constraint has a name" in made


def test_a_second_upgrade_of_postgresql_waits_for_the_first(new_database: Callable[..., str]) -> None:
    url = new_database("postgresql", migrated=False)
    results, start = FORKED.Queue(), FORKED.Barrier(1)
    process = FORKED.Process(target=_ensure, args=(url, results, start))
    with migrate.migrating(url):
        process.start()
        time.sleep(1.5)
        assert results.empty()
        assert migrate.current(url) is None
    assert results.get(timeout=60) == "done"
    process.join()
