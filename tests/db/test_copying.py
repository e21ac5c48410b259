"""A whole history into another database: everything, to the digit, or nothing."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, make_url, select, text

from etl.db import copying, engine
from etl.db.aside import file_beside
from etl.db.bulk import insert_rows
from etl.db.copying import Copied, copy_history
from etl.db.engine import open_engine
from etl.db.schema import account, annotation, balance, failure, metadata, payload, schedule, snapshot
from etl.db.store import SqlStore
from etl.db.views import balance_history, daily_equity, equity, latest_balance, slot_gap
from etl.errors import (
    CannotCreate,
    CopyDiffers,
    DatabaseUnavailable,
    EtlError,
    RecordRefused,
    SchemaNotAtHead,
    SettingsError,
    TryAgain,
)
from etl.load.store import Added
from etl.model import Environment
from tests.db.recorded import START, Recorded, at
from tests.db.test_store import a_snapshot
from tests.reading import rows

ROOT = Path(__file__).parents[2]
STEP = timedelta(minutes=5)
LONG = "-1234567890123456789012.345678901234567890"
HOSTILE_WALLETS = (
    "\\N",
    "\\.",
    "",
    "tab\there",
    "line\nbreak",
    "'; DROP TABLE balance; --",
    "Größe 💰",
    '"\\x41"',
    "NULL",
)
BODIES = (b"", b'{"code":0}', bytes(range(256)), b"\\x41\\N\n\t")
ACROSS = [("sqlite", "postgresql"), ("postgresql", "sqlite")]
ALL = [*ACROSS, ("sqlite", "sqlite"), ("postgresql", "postgresql")]
NewDatabase = Callable[..., str]


@contextmanager
def silence(_: str, __: int | None) -> Iterator[Callable[[int], None]]:
    """Nobody looks."""
    yield lambda _: None


def copied(source: str, target: str) -> Copied:
    return copy_history(source, target, silence)


def hostile(url: str) -> Recorded:
    """A history with everything in it that there can be."""
    recorded = Recorded(url)
    gone = recorded.account("gone")
    main = recorded.account("main", (300, "01-01 00:00", "01-02 00:00"), (60, "01-02 00:00", "01-02 01:00"), uid="1001")
    with recorded.at_once():
        recorded.account("re-opened", (3600, "01-01 00:00", "01-03 00:00"), (86400, "02-01 00:00", None), uid="ü")
        other = recorded.account("a.b_C", (300, "01-01 00:00", None), retired_at=START + STEP / 7, environment="vst")
    with recorded.database.write() as connection:
        connection.execute(delete(account).where(account.c.id == gone))
    with recorded.at_once():
        keys = [
            recorded.snapshot(START + n * STEP, f"{n}.{'0' * n}", {"spot": f"{n}.{'0' * n}", "grid": "0"}, of=main)
            for n in range(12)
        ]
        wallets = {name: LONG if n % 2 else "0.000000000000000000" for n, name in enumerate(HOSTILE_WALLETS)}
        odd = recorded.snapshot("01-02 00:30", "1" + "0" * 39, wallets, of=main, reason="\\N\r\n'ü", attempts=0)
        recorded.snapshot("01-02 00:31", None, {"spot": None, "x": "1.10"}, of=main, reason="no amount: spot")
        recorded.snapshot("01-31 23:55", LONG, {}, of=other, latency_ms=None, requested_at=None, provenance="imported")
        last = recorded.snapshot("02-01 00:00", "-0.00000001", of=other, taken_at=START - STEP / 7)
        for slot in ("01-02 00:32", "01-02 00:35", "01-02 00:30"):
            recorded.failure(slot, of=main)
        recorded.failure("02-01 00:05", "\\N", of=other)
        recorded.mark(keys[3], "void", "unvoid", "note", text="weil\\N")
        recorded.mark(keys[4], "note", "void")
    with recorded.database.write() as connection:
        connection.execute(
            insert(payload), [_body(key, n, body) for key in (odd, keys[0]) for n, body in enumerate(BODIES, 1)]
        )
        connection.execute(insert(balance).values(snapshot_id=last, account_type="spot", raw_type="sopt"))
        connection.execute(delete(snapshot).where(snapshot.c.id == keys[-1]))
    return recorded


def _body(key: int, seq: int, body: bytes) -> dict[str, Any]:
    return {"snapshot_id": key, "seq": seq, "encoding": "zlib-v1", "body": body}


def everything(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table and view, by the types of the program, with the digits of each amount."""
    found = {}
    exact = [
        "snapshot_id",
        "account",
        "slot_at",
        "taken_at",
        "account_type",
        "usdt_balance_exact",
        "status",
        "provenance",
    ]
    views: list[tuple[Any, list[str]]] = [
        (balance_history, exact),
        (latest_balance, exact),
        (equity, ["snapshot_id", "account", "slot_at", "taken_at", "total_usdt_exact", "status", "provenance"]),
        (slot_gap, ["account", "gap_from", "reason"]),
        (daily_equity, ["account", "day", "close_at", "snapshots"]),
    ]
    with open_engine(url).read() as connection:
        for table in metadata.sorted_tables:
            found[table.name] = [_digits(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
        for view, names in views:
            columns = [view.c[name] for name in names]
            found[view.name] = sorted(map(_digits, connection.execute(select(*columns))), key=repr)
    return found


def _digits(row: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a row of any table
    return tuple(value.as_tuple() if isinstance(value, Decimal) else value for value in row)


@pytest.fixture(params=ACROSS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The dialects of source and target."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def dialect(pair: tuple[str, str]) -> str:
    return pair[0]


@pytest.fixture
def to(pair: tuple[str, str]) -> str:
    return pair[1]


@pytest.fixture
def history(dialect: str, new_database: NewDatabase) -> Recorded:
    return hostile(new_database(dialect))


@pytest.fixture
def empty(to: str, new_database: NewDatabase) -> str:
    """A target without tables; on SQLite without a file."""
    return new_database(to, migrated=False, name="copy.db")


@pytest.mark.parametrize("pair", ALL, indirect=True, ids="-".join)
def test_everything_is_there_to_the_digit(history: Recorded, empty: str) -> None:
    before = everything(history.url)
    found = copied(history.url, empty)
    assert everything(empty) == everything(history.url) == before
    assert not found.was_there
    by_month = {(m["account"], m["month"]): (m["snapshots"], m["balances"], m["failures"]) for m in found.months}
    assert by_month == {
        ("a.b_C", None): (0, 0, 0),
        ("a.b_C", "2026-01"): (1, 0, 0),
        ("a.b_C", "2026-02"): (1, 1, 1),
        ("main", None): (0, 0, 0),
        ("main", "2026-01"): (13, 33, 3),
        ("re-opened", None): (0, 0, 0),
    }
    others = [(m["schedules"], m["payloads"], m["annotations"]) for m in found.months]
    assert others == [(1, 0, 0), (0, 0, 0), (0, 0, 0), (2, 0, 0), (0, 8, 5), (2, 0, 0)]


def test_recording_goes_on_in_the_copy_as_if_nothing_had_happened(history: Recorded, empty: str) -> None:
    copied(history.url, empty)
    database = open_engine(empty)
    with SqlStore(database, lambda: START).transaction() as transaction:
        stored = transaction.accounts({"main": Environment.LIVE, "new": Environment.LIVE})
        ids = {name: found.id for name, found in stored.items()}
        first = a_snapshot(slot_at=START)
        added = transaction.add_snapshots(
            ids, [first, replace(first, slot_at=at("03-01 00:00")), replace(first, account="new")]
        )
        assert added == [Added.DUPLICATE, Added.STORED, Added.STORED]
        assert transaction.owners(["1001", "ü"]) == {"1001": "main", "ü": "re-opened"}
        with pytest.raises(RecordRefused, match="another UID"):
            transaction.set_uid(ids["main"], "1002")
    for table, row in (
        (annotation, {"snapshot_id": 1, "kind": "note", "text": "", "created_at": START}),
        (schedule, {"account_id": ids["new"], "interval_seconds": 60, "valid_from": START}),
    ):
        with database.write() as connection:
            highest = connection.scalars(select(table.c.id).order_by(table.c.id.desc())).first()
            key = connection.execute(insert(table).values(row).returning(table.c.id)).scalar_one()
            assert key == (highest or 0) + 1
    with database.read() as connection:
        assert connection.scalar(select(account.c.id).where(account.c.name == "new")) == 5
        assert len(connection.execute(select(snapshot)).all()) == 15 + 2


def test_a_postgresql_that_writes_times_and_bytes_in_other_forms_holds_the_same(new_database: NewDatabase) -> None:
    source, there = hostile(new_database("sqlite")), new_database("postgresql")
    with psycopg.connect(there, autocommit=True) as admin:
        for change in ("DateStyle = 'SQL, DMY'", "standard_conforming_strings = off", "bytea_output = 'escape'"):
            admin.execute(f"ALTER DATABASE {make_url(there).database} SET {change}".encode())
    copied(source.url, there)
    assert everything(there) == everything(source.url)
    back = new_database("sqlite", migrated=False, name="back.db")
    copied(there, back)
    assert everything(back) == everything(source.url)


def test_a_second_copy_finds_it_there_and_the_way_back_is_the_same(
    history: Recorded, empty: str, new_database: NewDatabase
) -> None:
    first, second = copied(history.url, empty), copied(history.url, empty)
    assert (first.was_there, second.was_there) == (False, True)
    assert first.months == second.months
    back = new_database(history.database.dialect, name="back.db")
    assert copied(empty, back).months == first.months, "checksums too"
    assert everything(back) == everything(history.url)


@pytest.mark.parametrize("kind", ["tables", "nothing at all"])
def test_an_empty_target_that_is_there_is_filled(
    history: Recorded, to: str, kind: str, new_database: NewDatabase
) -> None:
    target = new_database(to, migrated=kind == "tables", name="copy.db")
    if to == "sqlite" and kind != "tables":
        Path(target.removeprefix("sqlite:///")).touch()
    copied(history.url, target)
    assert everything(target) == everything(history.url)


def test_another_history_is_refused_and_left_alone(history: Recorded, to: str, new_database: NewDatabase) -> None:
    target = new_database(to, name="copy.db")
    other = Recorded(target)
    other.account("somebody")
    other.snapshot(START, "1")
    with pytest.raises(SettingsError, match=r"another history \(1 snapshots of somebody\).*empty database"):
        copied(history.url, target)
    assert [len(found) for found in everything(target).values()][:2] == [1, 0]


def test_a_history_that_begins_in_the_last_moment_is_refused_too(
    history: Recorded, to: str, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = new_database(to, name="copy.db")
    Recorded(target).account("somebody")
    monkeypatch.setattr(copying, "_has_history", lambda _: False)
    with pytest.raises(SettingsError, match="another history"):
        copied(history.url, target)


CHANGES = [
    ("balance SET usdt_balance = {} WHERE account_type = 'x'", "'1.1'", "'1.10'"),
    ("snapshot SET attempts = {} WHERE id = 2", "3", "1"),
    ("account SET uid = {} WHERE name = 'main'", "'1002'", "'1001'"),
    ("account SET retired_at = {} WHERE name = 'main'", "created_at", "NULL"),
    ("failure SET reason = {} WHERE reason LIKE 'unreach%'", "'unreachable '", "'unreachable'"),
    ("payload SET encoding = {} WHERE seq = 2", "'x'", "'zlib-v1'"),
    ("annotation SET kind = {} WHERE id = 3", "'void'", "'note'"),
]


def test_one_value_that_differs_is_another_history(history: Recorded, empty: str) -> None:
    copied(history.url, empty)
    for update, other, same in CHANGES:
        rows(empty, f"UPDATE {update.format(other)}")
        with pytest.raises(SettingsError, match="another history"):
            copied(history.url, empty)
        rows(empty, f"UPDATE {update.format(same)}")
    assert copied(history.url, empty).was_there


def test_the_same_database_by_another_name_is_refused(
    dialect: str, history: Recorded, tmp_path: Path, new_database: NewDatabase
) -> None:
    if dialect == "sqlite":
        real = Path(history.url.removeprefix("sqlite:///"))
        (tmp_path / "soft.db").symlink_to(real)
        os.link(real, tmp_path / "hard.db")
        names = [
            f"sqlite:///{tmp_path}/{name}" for name in ("balances.db", "soft.db", "hard.db", "../x/../balances.db")
        ]
        names[3] = f"sqlite:///{tmp_path}/../{tmp_path.name}/balances.db"
    else:
        url = make_url(history.url)
        others = (url, url.set(drivername="postgresql+psycopg"), url.set(host="localhost"))
        names = [other.render_as_string(hide_password=False) for other in others]
    before = everything(history.url)
    for name in names:
        with pytest.raises(SettingsError, match="very database"):
            copied(history.url, name)
    assert everything(history.url) == before


def test_another_schema_of_the_same_postgresql_is_another_place(new_database: NewDatabase) -> None:
    source = hostile(new_database("postgresql")).url
    rows(source, "CREATE SCHEMA elsewhere")
    target = (
        make_url(source).update_query_dict({"options": "-csearch_path=elsewhere"}).render_as_string(hide_password=False)
    )
    copied(source, target)
    assert everything(target) == everything(source)


def test_a_new_file_is_private_and_alone(history: Recorded, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    copied(history.url, f"sqlite:///{tmp_path}/new.db")
    assert set(tmp_path.iterdir()) - before == {tmp_path / "new.db"}
    status = (tmp_path / "new.db").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o600, 1)


def test_a_target_behind_a_link_is_made_where_the_link_points(history: Recorded, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "there" / "real.db")
    copied(history.url, f"sqlite:///{tmp_path}/link.db")
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["real.db"]
    assert (tmp_path / "link.db").is_symlink()


def test_an_empty_history_gives_an_empty_copy(dialect: str, new_database: NewDatabase, empty: str) -> None:
    database_url = new_database(dialect)
    assert copied(database_url, empty).months == []
    assert not any(everything(empty).values())
    Recorded(empty).account()


def test_how_far_it_is_is_told_in_rows(history: Recorded, empty: str) -> None:
    told: dict[str, list[int]] = {}

    @contextmanager
    def counting(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        told[what] = [total or 0, 0]

        def advance(more: int) -> None:
            told[what][1] += more

        yield advance

    copy_history(history.url, empty, counting)
    number = sum(len(everything(empty)[table.name]) for table in metadata.sorted_tables)
    assert told == {"copying": [number, number], "comparing": [2 * number, 2 * number]}


class Full(Exception):
    """Of the test."""


@pytest.mark.parametrize("fails_at", [20, 110])
def test_whatever_fails_in_between_nothing_is_left(
    history: Recorded, to: str, empty: str, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_AT_A_TIME", 1)
    left = fails_at

    @contextmanager
    def failing(_: str, __: int | None) -> Iterator[Callable[[int], None]]:
        def advance(more: int) -> None:
            nonlocal left
            left -= more
            if left <= 0:
                raise Full

        yield advance

    with pytest.raises(Full):
        copy_history(history.url, empty, failing)
    if to == "sqlite":
        directory = Path(empty.removeprefix("sqlite:///")).parent
        assert [path for path in directory.iterdir() if path.name != "balances.db" and not path.is_dir()] == []
    else:
        assert rows(empty, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    copied(history.url, empty)
    assert everything(empty) == everything(history.url)


def test_a_copy_that_is_not_the_same_is_undone_and_told(history: Recorded, to: str, new_database: NewDatabase) -> None:
    """A trigger stands for whatever bends a value on its way."""
    target = new_database(to, name="copy.db")
    change = "UPDATE balance SET usdt_balance = '1.100' WHERE account_type = 'x'"
    if to == "sqlite":
        rows(target, f"CREATE TRIGGER bend AFTER INSERT ON payload BEGIN {change}; END")
    else:
        body = f"BEGIN {change}; RETURN NEW; END"
        rows(target, f"CREATE FUNCTION bend() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        rows(target, "CREATE TRIGGER bend AFTER INSERT ON payload EXECUTE FUNCTION bend()")
    with pytest.raises(CopyDiffers, match=r"balance of main in 2026-01: other values"):
        copied(history.url, target)
    assert not any(everything(target).values())


def test_what_a_hand_has_bent_is_not_copied_to_the_other_side(new_database: NewDatabase) -> None:
    source = hostile(new_database("sqlite")).url
    target = new_database("postgresql", migrated=False)
    for change, error in (
        ("UPDATE balance SET usdt_balance = '1e2' WHERE account_type = 'x'", CopyDiffers),
        ("UPDATE balance SET usdt_balance = 'much' WHERE account_type = 'x'", RecordRefused),
        ("UPDATE balance SET usdt_balance = '1.10' WHERE account_type = 'x'", None),
        ("UPDATE annotation SET created_at = '2026-01-01 00:00:00'", CopyDiffers),
        ("UPDATE annotation SET created_at = '2026-01-01T00:00:00.000Z', text = 'a' || char(0)", EtlError),
    ):
        rows(source, change)
        if error is not None:
            with pytest.raises(error) as caught:
                copied(source, target)
            assert "1e2" not in str(caught.value)
            assert "much" not in str(caught.value)
            assert rows(target, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_times_that_only_postgresql_holds_are_told_before_anything_is_done(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    source = hostile(new_database("postgresql")).url
    rows(source, "UPDATE annotation SET created_at = '2026-01-01 00:00:00.000001+00' WHERE id = 1")
    with pytest.raises(SettingsError, match=r"1 rows of annotation.*created_at.*date_trunc"):
        copied(source, f"sqlite:///{tmp_path}/new.db")
    assert not (tmp_path / "new.db").exists()
    other = new_database("postgresql", migrated=False)
    copied(source, other)
    assert everything(other) == everything(source)


def test_an_older_schema_and_none_are_refused_with_the_remedy(
    dialect: str, empty: str, new_database: NewDatabase
) -> None:
    source = new_database(dialect)
    rows(source, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(SchemaNotAtHead, match=r"older \(0000\).*db upgrade"):
        copied(source, empty)
    with pytest.raises(SchemaNotAtHead, match="db upgrade"):
        copied(new_database(dialect, migrated=False, name="none.db"), empty)


def test_a_target_of_another_program_or_version_is_left_alone(history: Recorded, to: str, empty: str) -> None:
    if to == "sqlite":
        Path(empty.removeprefix("sqlite:///")).touch()
    rows(empty, "CREATE TABLE account (id INTEGER)")
    with pytest.raises(SettingsError, match="another program"):
        copied(history.url, empty)
    assert rows(empty, "SELECT * FROM account") == []
    rows(empty, "DROP TABLE account")
    copied(history.url, empty)
    rows(empty, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaNotAtHead, match="upgrade bingx-etl"):
        copied(history.url, empty)


def test_a_role_that_may_not_create_is_told_of_the_upgrade(new_database: NewDatabase) -> None:
    source = hostile(new_database("sqlite")).url
    target = new_database("postgresql", migrated=False)
    role = f"copier_{os.getpid()}"
    rows(target, f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(DatabaseUnavailable, match="db upgrade"):
            copied(source, make_url(target).set(username=role).render_as_string(hide_password=False))
    finally:
        rows(target, f"DROP ROLE {role}")


def test_a_directory_that_is_not_there_or_may_not_be_written_is_told(history: Recorded, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        copied(history.url, f"sqlite:///{tmp_path}/none/new.db")
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(CannotCreate):
            copied(history.url, f"sqlite:///{tmp_path}/closed/new.db")


def test_a_file_that_comes_meanwhile_is_left_alone(
    history: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new.db"

    @contextmanager
    def meanwhile(_: str, __: int | None) -> Iterator[Callable[[int], None]]:
        new.write_bytes(b"mine")
        yield lambda _: None

    with pytest.raises(TryAgain, match="somebody else"):
        copy_history(history.url, f"sqlite:///{new}", meanwhile)
    assert new.read_bytes() == b"mine"
    assert not list(tmp_path.glob(".new.db*"))

    def without_links(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", without_links)
    with pytest.raises(TryAgain, match="somebody else"):
        copy_history(history.url, f"sqlite:///{tmp_path}/new2.db", _making(tmp_path / "new2.db"))
    copied(history.url, f"sqlite:///{tmp_path}/new3.db")
    assert everything(f"sqlite:///{tmp_path}/new3.db") == everything(history.url)


def _making(path: Path) -> Callable[[str, int | None], Any]:
    @contextmanager
    def progress(_: str, __: int | None) -> Iterator[Callable[[int], None]]:
        path.touch()
        yield lambda _: None

    return progress


def test_what_is_recorded_meanwhile_waits_for_nobody_and_is_not_copied(history: Recorded, empty: str) -> None:
    """Between every two phases somebody records, voids and renames; the copy is that of the beginning."""
    before = everything(history.url)
    hour = 0

    @contextmanager
    def recording(_: str, __: int | None) -> Iterator[Callable[[int], None]]:
        nonlocal hour
        hour += 1
        with SqlStore(open_engine(history.url), lambda: START).transaction() as transaction:
            ids = {"main": transaction.accounts({"main": Environment.LIVE})["main"].id}
            transaction.add_snapshots(ids, [a_snapshot(slot_at=at(f"05-01 0{hour}:00"))])
        history.mark(1, "void")
        yield lambda _: None

    copy_history(history.url, empty, recording)
    assert everything(empty) == before
    assert len(everything(history.url)["snapshot"]) == len(before["snapshot"]) + 2


def test_whoever_records_into_the_target_waits_and_goes_on_with_the_whole(
    history: Recorded, to: str, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = new_database(to, name="copy.db")
    monkeypatch.setattr(engine, "LOCK_SECONDS", 0.2)
    refused: list[str] = []

    @contextmanager
    def intruding(what: str, _: int | None) -> Iterator[Callable[[int], None]]:
        if what == "comparing":
            try:
                Recorded(target).account("somebody")
            except DatabaseUnavailable as error:
                refused.append(str(error))
        yield lambda _: None

    copy_history(history.url, target, intruding)
    assert len(refused) == 1
    assert "is locked" in refused[0]
    assert everything(target) == everything(history.url)


def test_what_killed_copies_have_left_is_removed_and_what_others_work_on_is_not(
    history: Recorded, tmp_path: Path
) -> None:
    left = [tmp_path / f".copy.db.{name}.copying" for name in ("aa", "bb")]
    left += [tmp_path / f".copy.db.aa.copying{more}" for more in ("-journal", ".held")]
    if history.database.dialect == "sqlite":
        left += [tmp_path / ".balances.db.aa.copied", tmp_path / ".balances.db.aa.copied.bb.partial"]
    for path in left:
        path.write_bytes(b"half a page")
    used = tmp_path / ".copy.db.cc.copying"
    with closing(sqlite3.connect(used, isolation_level=None)) as other:
        other.execute("CREATE TABLE x (x)")
        other.execute("BEGIN IMMEDIATE")
        copied(history.url, f"sqlite:///{tmp_path}/copy.db")
    assert [path for path in [*left, used] if path.exists()] == [used]


def test_a_copy_that_nobody_has_open_at_the_moment_is_nothing_that_was_left(tmp_path: Path) -> None:
    """While it is flushed, checked, and given its name."""
    with file_beside(tmp_path / "copy.db", "copying") as one:
        begun = one.with_name(f"{one.name}.bb.partial")
        for path in (one, begun):
            path.write_bytes(b"complete")
        with file_beside(tmp_path / "copy.db", "copying") as other:
            assert other != one
        assert [path.read_bytes() for path in (one, begun)] == [b"complete"] * 2
        begun.unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_source_with_a_write_ahead_log_is_copied_with_what_stands_in_it(
    new_database: NewDatabase, to: str, empty: str
) -> None:
    source = hostile(new_database("sqlite"))
    with closing(sqlite3.connect(source.url.removeprefix("sqlite:///"))) as keeper:
        keeper.execute("PRAGMA journal_mode = WAL")
        source.snapshot("06-01 00:00", "1", {"spot": "1"}, of=2)
        copied(source.url, empty)
        assert everything(empty) == everything(source.url)
    if to == "sqlite":
        directory = Path(empty.removeprefix("sqlite:///")).parent
        assert sorted(p.name for p in directory.iterdir() if p.is_file()) == ["balances.db", "copy.db"]


def many(url: str, count: int) -> None:
    """So many snapshots of two wallets, quickly."""
    Recorded(url).account("many", (300, "01-01 00:00", None))
    slots = [START + n * STEP for n in range(count)]
    with open_engine(url).write() as connection:
        one = connection.scalar(select(account.c.id))
        texts = [f"{slot:%Y-%m-%dT%H:%M:%S}" for slot in slots]
        insert_rows(
            connection,
            snapshot,
            (
                (n, one, f"{t}Z", f"{t}.250Z", f"{t}.000Z", 1, f"{t}.500Z", "complete", None, "measured", f"{n}.50", 1)
                for n, t in enumerate(texts, 1)
            ),
        )
        wallets = (("grid", ".50"), ("spot", ".00"))
        insert_rows(
            connection, balance, ((n, kind, f"{n}{tail}", None) for n in range(1, count + 1) for kind, tail in wallets)
        )
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT setval('snapshot_id_seq', max(id)) FROM snapshot"))


def test_a_recorder_loses_nothing_while_its_history_is_copied(
    dialect: str, new_database: NewDatabase, empty: str
) -> None:
    database_url = new_database(dialect)
    many(database_url, 2_000)
    stop, stored, troubles = threading.Event(), list[datetime](), list[Exception]()

    def record() -> None:
        slot_at = START + timedelta(days=1000)
        while not stop.is_set():
            slot_at += STEP
            try:
                with SqlStore(open_engine(database_url), lambda: START).transaction() as transaction:
                    ids = {"many": transaction.accounts({"many": Environment.LIVE})["many"].id}
                    transaction.add_snapshots(ids, [a_snapshot(account="many", slot_at=slot_at)])
            except DatabaseUnavailable as error:
                troubles.append(error)
            else:
                stored.append(slot_at)
            stop.wait(0.01)

    thread = threading.Thread(target=record)
    thread.start()
    try:
        copied(database_url, empty)
    finally:
        stop.set()
        thread.join()
    assert troubles == []
    assert stored
    with open_engine(empty).read() as connection:
        there = connection.scalars(select(snapshot.c.slot_at).order_by(snapshot.c.slot_at)).all()[2_000:]
        wallets = connection.execute(select(balance)).all()
    assert list(there) == stored[: len(there)]
    assert len(wallets) == 2 * (2_000 + len(there))


AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=None).filter(lambda d: abs(d.adjusted()) < 300)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TIMES = st.integers(-30_000_000_000_000, 250_000_000_000_000).map(lambda ms: START + ms * timedelta(milliseconds=1))
ROWS = st.lists(
    st.tuples(AMOUNTS, TEXTS, st.dictionaries(TEXTS, AMOUNTS | st.none(), max_size=3), TIMES, st.binary(max_size=20)),
    min_size=5,
    max_size=60,
)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=ROWS, number=st.uuids())
def test_any_value_survives_the_way_there_and_back(
    drawn: list[Any],
    number: uuid.UUID,
    new_database: NewDatabase,
    tmp_path: Path,
) -> None:
    source = new_database("sqlite", name=f"{number}.db")
    recorded = Recorded(source)
    with recorded.at_once():
        recorded.account()
        for n, (total, reason, wallets, taken_at, body) in enumerate(drawn):
            amounts = {name: None if amount is None else format(amount, "f") for name, amount in wallets.items()}
            key = recorded.snapshot(START + n * STEP, format(total, "f"), amounts, reason=reason, taken_at=taken_at)
            assert recorded._open is not None
            recorded._open.execute(insert(payload).values(_body(key, 1, body)))
            row = {"account_id": 1, "slot_at": START + n * STEP, "reason": reason or "x", "detail": reason}
            recorded._open.execute(
                insert(failure).values(row | {"attempts": n, "first_at": taken_at, "last_at": START})
            )
    target = new_database("postgresql", migrated=False)
    back = f"sqlite:///{tmp_path}/{number}-back.db"
    assert copied(source, target).months == copied(target, back).months
    assert everything(back) == everything(source) == everything(target)


# In a process of its own, that halts when so many rows have come into the target, or were compared.
HALTING = """
import sys, time
from contextlib import contextmanager
from etl.db.copying import copy_history

@contextmanager
def progress(what, total):
    left = int(sys.argv[4])
    def advance(more):
        nonlocal left
        left -= more
        if what == sys.argv[3] and left < 0:
            print("halted", flush=True)
            time.sleep(60)
    yield advance

copy_history(sys.argv[1], sys.argv[2], progress)
"""


@pytest.mark.parametrize(
    ("phase", "number"), [("copying", signal.SIGKILL), ("comparing", signal.SIGKILL), ("copying", signal.SIGINT)]
)
def test_a_copy_that_is_killed_leaves_nothing_that_looks_like_one(
    dialect: str, to: str, empty: str, new_database: NewDatabase, *, phase: str, number: signal.Signals
) -> None:
    source = new_database(dialect)
    many(source, 1_500)
    directory = Path(new_database("sqlite", migrated=False).removeprefix("sqlite:///")).parent
    before = {path.name for path in directory.iterdir() if path.is_file()}
    command = [sys.executable, "-c", HALTING, source, empty, phase, "4000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "halted\n"
        process.send_signal(number)
        process.wait(60)
    there = {path.name for path in directory.iterdir() if path.is_file()}
    if number is signal.SIGINT:
        assert there == before
    if to == "postgresql":
        assert rows(empty, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    else:
        assert "copy.db" not in there
    copied(source, empty)
    assert {path.name for path in directory.iterdir() if path.is_file()} == before | (
        {"copy.db"} if to == "sqlite" else set()
    )
    assert everything(empty) == everything(source)


def test_a_file_that_was_there_is_what_it_was_after_a_kill(new_database: NewDatabase) -> None:
    source, target = new_database("sqlite"), new_database("sqlite", name="copy.db")
    many(source, 10_000)
    command = [sys.executable, "-c", HALTING, source, target, "comparing", "30000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "halted\n"
        assert Path(f"{target.removeprefix('sqlite:///')}-journal").stat().st_size > 0
        process.kill()
    assert not any(everything(target).values())
    copied(source, target)
    assert everything(target) == everything(source)


def test_a_server_that_is_gone_and_a_password_are_told_without_it(history: Recorded, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1") as caught:
        copied(history.url, "postgresql://somebody:hunter22@127.0.0.1:1/balances")
    assert "hunter22" not in str(caught.value)
    assert not list(tmp_path.glob(".*"))


def test_the_error_names_the_side_that_had_it(new_database: NewDatabase, tmp_path: Path) -> None:
    source = hostile(new_database("postgresql")).url
    name = str(make_url(source).database)

    @contextmanager
    def ending(what: str, _: int | None) -> Iterator[Callable[[int], None]]:
        if what == "copying":
            with psycopg.connect(
                make_url(source).set(database="postgres").render_as_string(False), autocommit=True
            ) as admin:
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield lambda _: None

    with pytest.raises(DatabaseUnavailable, match=name):
        copy_history(source, f"sqlite:///{tmp_path}/new.db", ending)
    assert not (tmp_path / "new.db").exists()
