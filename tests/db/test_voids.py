"""Marks of wrong snapshots."""

import secrets
import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, make_url, select

from etl.db.engine import open_engine
from etl.db.history import History
from etl.db.imports import Imports
from etl.db.schema import annotation
from etl.db.views import daily_equity, equity, slot_gap
from etl.db.voids import Marked, Voids
from etl.errors import SchemaNotAtHead, SettingsError
from etl.model import Environment, Provenance
from etl.transfer.incoming import Incoming, total_only
from tests.db.recorded import START, Recorded, at
from tests.db.test_store import RIGHTS

HOUR = 3600
NOW = START + timedelta(days=40, milliseconds=5)


@pytest.fixture
def recorded(database_url: str) -> Recorded:
    recorded = Recorded(database_url)
    recorded.account("main", (HOUR, "01-01 01:00", "01-01 04:00"))
    for hour, total in enumerate(("10", "99.50", "12"), 1):
        recorded.snapshot(f"01-01 0{hour}:00", total)
    return recorded


@pytest.fixture
def voids(recorded: Recorded) -> Voids:
    return Voids(recorded.database, lambda: NOW)


def marks(recorded: Recorded) -> list[tuple[object, ...]]:
    c = annotation.c
    with recorded.database.read() as connection:
        return [tuple(row) for row in connection.execute(select(c.snapshot_id, c.kind, c.text).order_by(c.id))]


def test_a_void_snapshot_is_left_out_of_the_views_and_comes_back(recorded: Recorded, voids: Voids) -> None:
    days = recorded.rows(daily_equity, "high_usdt", "snapshots")
    marked = Marked(2, "main", at("01-01 02:00"), Provenance.MEASURED, Decimal("99.50"))
    assert voids.void(2, "spot twice") == marked
    assert [key for (key,) in recorded.rows(equity, "snapshot_id")] == [1, 3]
    assert recorded.rows(slot_gap, "gap_from", "missed", "reason") == [(at("01-01 02:00"), 1, "void")]
    assert recorded.rows(daily_equity, "high_usdt", "snapshots") == [(12, 2)]
    assert voids.unvoid(2, "it was right") == marked
    assert recorded.rows(daily_equity, "high_usdt", "snapshots") == days
    assert recorded.rows(slot_gap) == []
    assert marks(recorded) == [(2, "void", "spot twice"), (2, "unvoid", "it was right")]
    with recorded.database.read() as connection:
        assert set(connection.scalars(select(annotation.c.created_at))) == {NOW}


def test_what_is_void_or_is_not_is_told_and_not_marked_again(recorded: Recorded, voids: Voids) -> None:
    with pytest.raises(SettingsError, match="snapshot 2 of main is not void"):
        voids.unvoid(2, "")
    voids.void(2, "first")
    with pytest.raises(SettingsError, match=r"void already, since 2026-02-10T00:00:00Z: first"):
        voids.void(2, "second")
    recorded.mark(2, "note", text="accept c2c")
    with pytest.raises(SettingsError, match="void already"):
        voids.void(2, "a note is no word on it")
    voids.unvoid(2, "")
    voids.void(2, "third")
    assert [text for *_, text in marks(recorded)] == ["first", "accept c2c", "", "third"]


@pytest.mark.parametrize("key", [4, 2**63 - 1])
def test_a_snapshot_that_is_not_there_is_told_with_the_place_to_look(voids: Voids, key: int) -> None:
    for mark in (voids.void, voids.unvoid):
        with pytest.raises(SettingsError, match="snapshot_id of the view equity"):
            mark(key, "x")


def test_a_partial_snapshot_has_no_total_to_tell(recorded: Recorded, voids: Voids) -> None:
    key = recorded.snapshot("01-01 05:00", None)
    assert voids.void(key, "x").total is None


def test_without_tables_it_says_how_to_make_them(new_database: Callable[..., str], dialect: str) -> None:
    with pytest.raises(SchemaNotAtHead, match="db upgrade"):
        Voids(Recorded(new_database(dialect, migrated=False, name="empty.db")).database).void(1, "x")


def test_of_two_at_the_same_time_one_is_told_that_it_came_second(recorded: Recorded) -> None:
    said: list[str] = []
    barrier = threading.Barrier(6)

    def mark(number: int) -> None:
        voids = Voids(recorded.database, lambda: NOW)
        barrier.wait()
        try:
            voids.void(2, str(number))
        except SettingsError as error:
            said.append(str(error))

    threads = [threading.Thread(target=mark, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(marks(recorded)) == 1
    assert len(said) == 5


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.booleans()), max_size=8))
def test_whatever_is_marked_in_whatever_order_the_last_mark_counts(
    recorded: Recorded, voids: Voids, steps: list[tuple[int, bool]]
) -> None:
    with recorded.database.write() as connection:
        connection.execute(delete(annotation))
    void: set[int] = set()
    for key, wrong in steps:
        if wrong == (key in void):
            with pytest.raises(SettingsError):
                (voids.void if wrong else voids.unvoid)(key, "x")
        else:
            (voids.void if wrong else voids.unvoid)(key, "x")
            void ^= {key}
    assert {key for (key,) in recorded.rows(equity, "snapshot_id")} == {1, 2, 3} - void
    assert History(recorded.database).daily()[0]["snapshots"] == 3 - len(void)


def test_marking_and_importing_need_no_more_rights_than_recording(new_database: Callable[..., str]) -> None:
    url = new_database("postgresql")
    recorded = Recorded(url)
    recorded.account()
    recorded.snapshot("01-01 00:00")
    name = f"recorder_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'".encode())
        try:
            for right, tables in RIGHTS.items():
                admin.execute(f"GRANT {right} ON {tables} TO {name}".encode())
            database = open_engine(
                make_url(url).set(username=name, password=name).render_as_string(hide_password=False)
            )
            voids = Voids(database, lambda: NOW)
            voids.void(1, "x")
            voids.unvoid(1, "")
            old = Incoming(1, total_only("old", START, Decimal(5)), voided="x")
            assert Imports(database, lambda: NOW).add([old], {"old": Environment.LIVE}) == 1
        finally:
            admin.execute(f"DROP OWNED BY {name}".encode())
            admin.execute(f"DROP ROLE {name}".encode())
