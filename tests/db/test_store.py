"""What load relies on, held against the fake, SQLite and PostgreSQL alike."""

import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, make_url, select

from etl.db import migrate
from etl.db.engine import Database, open_engine
from etl.db.schema import account, annotation, balance, failure, metadata, payload, schedule, snapshot
from etl.db.store import SqlStore
from etl.errors import DatabaseUnavailable, RecordRefused, SchemaNotAtHead
from etl.load.store import Added, Store
from etl.model import (
    Balance,
    CompleteWallets,
    Environment,
    Failure,
    Mark,
    Provenance,
    Reason,
    Schedule,
    Snapshot,
    Status,
)
from tests.fakes import FakeStore
from tests.forked import FORKED

SLOT = datetime(2026, 11, 22, 15, 20, tzinfo=UTC)
STEP = timedelta(minutes=5)
NOW = datetime(2026, 11, 22, 16, 0, 0, 123_000, tzinfo=UTC)


def a_snapshot(wallets: Mapping[str, str | None] | None = None, **changes: Any) -> Snapshot:
    amounts = {"spot": "100.00", "USDTMPerp": "7.50"} if wallets is None else wallets
    balances = tuple(Balance(name, None if text is None else Decimal(text)) for name, text in amounts.items())
    known = [b.amount for b in balances if b.amount is not None]
    complete = len(known) == len(balances)
    slot_at = changes.get("slot_at", SLOT)
    plain = Snapshot(
        account="main",
        slot_at=slot_at,
        taken_at=slot_at + timedelta(seconds=1, milliseconds=250),
        requested_at=slot_at + timedelta(seconds=1),
        latency_ms=120,
        status=Status.COMPLETE if complete else Status.PARTIAL,
        reason=None if complete else "USDTMPerp came without an amount",
        provenance=Provenance.MEASURED,
        total=sum(known, Decimal(0)) if complete else None,
        attempts=1,
        balances=balances,
        bodies=(b'{"code":0}',),
    )
    return replace(plain, **changes)


def imported(wallets: Mapping[str, str | None] | None = None, **changes: Any) -> Snapshot:
    of_a_file = {"provenance": Provenance.IMPORTED, "requested_at": None, "latency_ms": None, "bodies": ()}
    return a_snapshot(wallets, **(of_a_file | changes))


def a_failure(**changes: Any) -> Failure:
    plain = Failure("main", Environment.LIVE, SLOT, 300, Reason.UNREACHABLE, "no answer", 3, SLOT, SLOT + STEP)
    return replace(plain, **changes)


Stored: TypeAlias = dict[datetime, tuple[str, Decimal | None, dict[str, Decimal | None]]]
"""By slot: provenance, total, wallets."""


class House(Protocol):
    """A store, and a way to look into it that is not the store's own."""

    @property
    def store(self) -> Store: ...

    def snapshots(self) -> Stored: ...
    def failures(self) -> dict[datetime, str]: ...
    def annotate(self, slot_at: datetime, kind: str, text: str = "") -> None: ...


class FakeHouse:
    def __init__(self) -> None:
        self.store: FakeStore = FakeStore(lambda: NOW)

    def snapshots(self) -> Stored:
        return {
            slot_at: (s.provenance.value, s.total, {b.account_type: b.amount for b in s.balances})
            for (_, slot_at), s in self.store.history.snapshots.items()
        }

    def failures(self) -> dict[datetime, str]:
        return {slot_at: f.reason.value for (_, slot_at), f in self.store.history.failures.items()}

    def annotate(self, slot_at: datetime, kind: str, text: str = "") -> None:
        self.store.history.annotations.setdefault((1, slot_at), []).append((kind, text))


class SqlHouse:
    def __init__(self, url: str) -> None:
        self.database: Database = open_engine(url)
        self.store = SqlStore(self.database, lambda: NOW)

    def snapshots(self) -> Stored:
        with self.database.read() as connection:
            found = connection.execute(select(snapshot)).all()
            wallets = connection.execute(select(balance)).all()
        return {
            s.slot_at: (
                s.provenance,
                s.total_usdt,
                {w.account_type: w.usdt_balance for w in wallets if w.snapshot_id == s.id},
            )
            for s in found
        }

    def failures(self) -> dict[datetime, str]:
        with self.database.read() as connection:
            return {row.slot_at: row.reason for row in connection.execute(select(failure))}

    def annotate(self, slot_at: datetime, kind: str, text: str = "") -> None:
        with self.database.write() as connection:
            of = connection.scalar(select(snapshot.c.id).where(snapshot.c.slot_at == slot_at))
            row = {"snapshot_id": of, "kind": kind, "text": text, "created_at": NOW}
            connection.execute(insert(annotation).values(row))


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, new_database: Callable[..., str]) -> House:
    return FakeHouse() if request.param == "fake" else SqlHouse(new_database(request.param))


@pytest.fixture
def sql(database_url: str) -> SqlHouse:
    return SqlHouse(database_url)


def add(house: House, *snapshots: Snapshot) -> list[Added]:
    with house.store.transaction() as transaction:
        names = {s.account: Environment.LIVE for s in snapshots}
        ids = {name: stored.id for name, stored in transaction.accounts(names).items()}
        return transaction.add_snapshots(ids, snapshots)


def fail(house: House, *failures: Failure) -> None:
    with house.store.transaction() as transaction:
        ids = {name: stored.id for name, stored in transaction.accounts({"main": Environment.LIVE}).items()}
        transaction.add_failures(ids, failures)


def wallets_of(house: House, first: datetime, last: datetime) -> list[CompleteWallets]:
    with house.store.transaction() as transaction:
        main = transaction.accounts({"main": Environment.LIVE})["main"]
        return transaction.complete_wallets({main.id: (first, last)})[main.id]


# --- the history as a whole ---


def test_a_history_knows_when_it_was_begun_and_what_it_has(house: House) -> None:
    """So that one that is older than what was stored is noticed: an imported snapshot is none that was stored."""
    first, second = SLOT, SLOT + STEP
    with house.store.transaction() as transaction:
        assert transaction.begun_at() == (None, False)
        assert transaction.last_slot() is None
        of_nobody = Mark(1, first, is_snapshot=True)
        assert transaction.begun_at(of_nobody) == (None, False)
    add(house, a_snapshot(), imported({"spot": "1"}, slot_at=second))
    fail(house, a_failure(slot_at=second))
    with house.store.transaction() as transaction:
        main = transaction.accounts({"main": Environment.LIVE})["main"]
        transaction.accounts({"another": Environment.LIVE})

        def has(slot_at: datetime, *, is_snapshot: bool) -> tuple[datetime | None, bool]:
            return transaction.begun_at(Mark(main.id, slot_at, is_snapshot=is_snapshot))

        assert has(first, is_snapshot=True) == (main.created_at, True)
        assert has(first, is_snapshot=False) == (main.created_at, False)
        assert has(second, is_snapshot=True) == (main.created_at, False)
        assert has(second, is_snapshot=False) == (main.created_at, True)
        assert transaction.last_slot() == second


# --- snapshots ---


def test_a_snapshot_is_stored_with_its_wallets_and_their_digits(house: House) -> None:
    wallets = {"spot": "100.00", "grid": "0.00000000", "eran": "44.37692200000000237300"}
    assert add(house, a_snapshot(wallets)) == [Added.STORED]
    [(provenance, total, stored)] = house.snapshots().values()
    assert (provenance, str(total)) == ("measured", "144.37692200000000237300")
    assert {name: f"{amount:f}" for name, amount in stored.items() if amount is not None} == wallets


def test_a_wallet_without_an_amount_stays_without_one(house: House) -> None:
    assert add(house, a_snapshot({"spot": "1", "grid": None})) == [Added.STORED]
    assert list(house.snapshots().values()) == [("measured", None, {"spot": Decimal(1), "grid": None})]


def test_the_first_reading_of_a_slot_wins(house: House) -> None:
    add(house, a_snapshot({"spot": "1"}))
    assert add(house, a_snapshot({"spot": "2"}, requested_at=SLOT + timedelta(seconds=2))) == [Added.DUPLICATE]
    assert house.snapshots()[SLOT][1] == 1


def test_the_first_reading_of_a_slot_wins_within_one_batch_too(house: House) -> None:
    late = a_snapshot({"spot": "2"}, requested_at=SLOT + timedelta(seconds=2))
    other = a_snapshot({"spot": "3"}, slot_at=SLOT + STEP)
    assert add(house, a_snapshot({"spot": "1"}), late, other) == [Added.STORED, Added.DUPLICATE, Added.STORED]
    assert [total for _, total, _ in house.snapshots().values()] == [1, 3]


def test_a_replay_of_the_very_same_reading_counts_as_stored_and_changes_nothing(house: House) -> None:
    batch = [a_snapshot(slot_at=SLOT + n * STEP) for n in range(3)]
    add(house, *batch)
    before = house.snapshots()
    assert add(house, *batch, batch[0]) == [Added.STORED] * 4
    assert house.snapshots() == before


def test_a_replay_is_known_although_databases_keep_milliseconds(house: House) -> None:
    asked = SLOT + timedelta(seconds=1, microseconds=123_456)
    add(house, a_snapshot(requested_at=asked))
    assert add(house, a_snapshot(requested_at=asked)) == [Added.STORED]


def test_accounts_have_slots_of_their_own(house: House) -> None:
    assert add(house, a_snapshot(), a_snapshot(account="other")) == [Added.STORED, Added.STORED]


def test_a_measured_reading_replaces_an_imported_one(house: House) -> None:
    add(house, imported({"spot": "1", "fund": "2"}))
    assert add(house, a_snapshot({"spot": "5"})) == [Added.STORED]
    assert house.snapshots() == {SLOT: ("measured", Decimal(5), {"spot": Decimal(5)})}


def test_a_measured_reading_replaces_an_imported_one_of_the_same_batch(house: House) -> None:
    assert add(house, imported({"spot": "1"}), a_snapshot({"spot": "5"})) == [Added.STORED, Added.STORED]
    assert house.snapshots() == {SLOT: ("measured", Decimal(5), {"spot": Decimal(5)})}


def test_an_import_never_touches_a_measured_reading(house: House) -> None:
    add(house, a_snapshot({"spot": "5"}))
    asked = SLOT + timedelta(seconds=1)
    again = imported({"spot": "1"}, requested_at=asked, latency_ms=1)
    assert add(house, imported({"spot": "1"}), again) == [Added.DUPLICATE, Added.DUPLICATE]
    assert house.snapshots() == {SLOT: ("measured", Decimal(5), {"spot": Decimal(5)})}


def test_importing_twice_changes_nothing(house: House) -> None:
    add(house, imported({"spot": "1"}))
    assert add(house, imported({"spot": "2"})) == [Added.DUPLICATE]
    assert house.snapshots()[SLOT][1] == 1


def test_an_imported_total_needs_no_wallets(house: House) -> None:
    assert add(house, imported({}, total=Decimal("1234.5"))) == [Added.STORED]
    assert house.snapshots() == {SLOT: ("imported", Decimal("1234.5"), {})}


def test_nothing_to_add_is_no_error(house: House) -> None:
    assert add(house) == []
    fail(house)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({"reason": "a\0b"}, id="a NUL"),
        pytest.param({"reason": "a\ud800b"}, id="a lone surrogate"),
        pytest.param({"total": Decimal("NaN")}, id="no number"),
        pytest.param({"total": Decimal("Infinity")}, id="no finite number"),
        pytest.param({"balances": (Balance("a\0", Decimal(1)),)}, id="a NUL in a type"),
        pytest.param({"balances": (Balance("a\udfff", Decimal(1)),)}, id="a lone surrogate in a type"),
        pytest.param({"balances": (Balance("a", Decimal("-Infinity")),)}, id="no finite amount"),
        pytest.param({"balances": (Balance("a", Decimal(1)), Balance("a", Decimal(2)))}, id="a type twice"),
    ],
)
def test_a_record_that_cannot_be_stored_is_refused_and_takes_its_transaction_with_it(
    house: House, bad: dict[str, Any]
) -> None:
    with pytest.raises(RecordRefused):
        add(house, a_snapshot(), a_snapshot(slot_at=SLOT + STEP, **bad))
    assert house.snapshots() == {}
    assert add(house, a_snapshot()) == [Added.STORED]


# --- failures, schedules, identity ---


def test_the_first_failure_of_a_slot_wins(house: House) -> None:
    fail(house, a_failure(), a_failure(reason=Reason.DEFECT), a_failure(slot_at=SLOT + STEP))
    fail(house, a_failure(reason=Reason.OVERRUN))
    assert house.failures() == {SLOT: "unreachable", SLOT + STEP: "unreachable"}


@pytest.mark.parametrize("detail", ["a\0b", "\ud83d"])
def test_a_failure_that_cannot_be_stored_is_refused(house: House, detail: str) -> None:
    with pytest.raises(RecordRefused):
        fail(house, a_failure(detail=detail))


def test_an_account_is_created_once_and_keeps_its_environment(house: House) -> None:
    with house.store.transaction() as transaction:
        first = transaction.accounts({"b": Environment.LIVE, "a": Environment.VST})
    with house.store.transaction() as transaction:
        again = transaction.accounts({"a": Environment.LIVE, "b": Environment.LIVE, "c": Environment.LIVE})
    assert again["a"] == first["a"]
    assert (first["a"].environment, first["a"].created_at, first["a"].uid) == (Environment.VST, NOW, None)
    assert len({stored.id for stored in again.values()}) == 3


def test_a_uid_is_given_once(house: House) -> None:
    with house.store.transaction() as transaction:
        stored = transaction.accounts({"main": Environment.LIVE, "other": Environment.LIVE})
        transaction.set_uid(stored["main"].id, "1001")
        transaction.set_uid(stored["main"].id, "1001")
        assert transaction.owners(["1001", "1002"]) == {"1001": "main"}
    for name, uid in (("main", "1002"), ("other", "1001")):
        with pytest.raises(RecordRefused), house.store.transaction() as transaction:
            transaction.set_uid(stored[name].id, uid)
    with house.store.transaction() as transaction:
        assert transaction.accounts({"main": Environment.LIVE})["main"].uid == "1001"


def test_schedules_are_replaced_by_those_given(house: House) -> None:
    first = Schedule(300, SLOT, SLOT + STEP)
    for wanted in ([Schedule(300, SLOT)], [first, Schedule(3600, SLOT + STEP)], [first], []):
        with house.store.transaction() as transaction:
            main = transaction.accounts({"main": Environment.LIVE})["main"]
            transaction.set_schedules(main.id, wanted)
        with house.store.transaction() as transaction:
            assert transaction.accounts({"main": Environment.LIVE})["main"].schedules == tuple(wanted)


def test_what_is_done_in_a_transaction_that_raises_is_forgotten(house: House) -> None:
    with pytest.raises(ZeroDivisionError), house.store.transaction() as transaction:  # noqa: PT012 - it must do something
        main = transaction.accounts({"main": Environment.LIVE})["main"]
        transaction.add_snapshots({"main": main.id}, [a_snapshot()])
        raise ZeroDivisionError
    assert house.snapshots() == {}


# --- what the next snapshot is compared with ---


def test_wallets_of_a_span_come_with_those_of_the_last_snapshot_before_it(house: House) -> None:
    add(house, *(a_snapshot({"spot": str(n)}, slot_at=SLOT + n * STEP) for n in range(6)))
    found = wallets_of(house, SLOT + 3 * STEP, SLOT + 4 * STEP)
    assert [(w.slot_at, w.amounts) for w in found] == [(SLOT + n * STEP, {"spot": Decimal(n)}) for n in (2, 3, 4)]
    assert wallets_of(house, SLOT - STEP, SLOT - STEP) == []


def test_partial_imported_and_void_snapshots_are_nothing_to_compare_with(house: House) -> None:
    add(
        house,
        a_snapshot({"spot": "1"}),
        a_snapshot({"spot": None}, slot_at=SLOT + STEP),
        imported({"spot": "3"}, slot_at=SLOT + 2 * STEP),
        a_snapshot({"spot": "4"}, slot_at=SLOT + 3 * STEP),
    )
    house.annotate(SLOT + 3 * STEP, "void")
    last = SLOT + 4 * STEP
    assert [w.slot_at for w in wallets_of(house, last, last)] == [SLOT]
    assert [w.slot_at for w in wallets_of(house, SLOT, last)] == [SLOT]
    house.annotate(SLOT + 3 * STEP, "unvoid")
    assert [w.slot_at for w in wallets_of(house, last, last)] == [SLOT + 3 * STEP]
    house.annotate(SLOT + 3 * STEP, "void")
    assert [w.slot_at for w in wallets_of(house, last, last)] == [SLOT]


def test_what_a_person_accepted_comes_with_the_snapshot_it_was_noted_on(house: House) -> None:
    add(house, a_snapshot({"c2c": "1"}))
    house.annotate(SLOT, "note", "accept c2c")
    [wallets] = wallets_of(house, SLOT + STEP, SLOT + STEP)
    assert wallets.accepted == {"c2c"}


def test_wallets_of_many_accounts_come_together(house: House) -> None:
    names = [f"a{n}" for n in range(1100)]
    add(house, *(a_snapshot({"spot": str(n)}, account=name) for n, name in enumerate(names)))
    with house.store.transaction() as transaction:
        stored = transaction.accounts(dict.fromkeys(names, Environment.LIVE))
        found = transaction.complete_wallets({s.id: (SLOT, SLOT) for s in stored.values()})
    assert [found[stored[name].id][0].amounts["spot"] for name in names] == list(range(1100))


# --- what only databases do ---


def test_everything_about_a_snapshot_is_kept(sql: SqlHouse) -> None:
    body = b'{"code":0,"data":[]}'
    add(sql, a_snapshot(bodies=(b"first", body), reason="read again", balances=(Balance("spot", Decimal(1), "sopt"),)))
    with sql.database.read() as connection:
        s = connection.execute(select(snapshot)).one()
        assert (s.taken_at, s.requested_at) == (SLOT + timedelta(seconds=1.25), SLOT + timedelta(seconds=1))
        assert (s.latency_ms, s.recorded_at, s.status, s.reason, s.attempts) == (120, NOW, "complete", "read again", 1)
        assert connection.execute(select(balance.c.account_type, balance.c.raw_type)).all() == [("spot", "sopt")]
        assert connection.scalars(select(payload.c.seq).order_by(payload.c.seq)).all() == [1, 2]


def test_schedules_that_stay_keep_their_ids(sql: SqlHouse) -> None:
    with sql.store.transaction() as transaction:
        main = transaction.accounts({"main": Environment.LIVE})["main"]
        transaction.set_schedules(main.id, [Schedule(300, SLOT)])
        transaction.set_schedules(main.id, [Schedule(300, SLOT, SLOT + STEP), Schedule(60, SLOT + STEP)])
    with sql.database.read() as connection:
        assert connection.execute(select(schedule.c.id, schedule.c.interval_seconds)).all() == [(1, 300), (2, 60)]


def test_an_open_schedule_ends_retirement(sql: SqlHouse) -> None:
    with sql.store.transaction() as transaction:
        main = transaction.accounts({"main": Environment.LIVE})["main"]
    for wanted, retired_at in (([Schedule(300, SLOT, SLOT + STEP)], NOW), ([Schedule(300, SLOT)], None)):
        with sql.database.write() as connection:
            connection.execute(account.update().values(retired_at=NOW))
        with sql.store.transaction() as transaction:
            transaction.set_schedules(main.id, wanted)
            assert transaction.accounts({"main": Environment.LIVE})["main"].retired_at == retired_at


def test_a_batch_takes_few_statements_however_long_it_is(sql: SqlHouse) -> None:
    statements: list[str] = []
    add(sql, a_snapshot())
    event.listen(sql.database._engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    counts = []
    for size in (10, 500):
        batch = [a_snapshot(slot_at=SLOT + (size * 10 + n) * STEP) for n in range(size)]
        statements.clear()
        add(sql, *batch)
        add(sql, *batch)
        fail(sql, *(a_failure(slot_at=s.slot_at) for s in batch))
        counts.append(len(statements))
    assert counts[0] == counts[1] < 30


def test_a_database_without_a_schema_is_told_what_to_do(empty_database_url: str) -> None:
    store = SqlStore(open_engine(empty_database_url), lambda: NOW)
    with pytest.raises(SchemaNotAtHead, match="bingx-etl db upgrade"), store.transaction():
        pass


@pytest.mark.parametrize(("revision", "words"), [("0000", "older.*db upgrade"), ("9999", "newer.*upgrade bingx-etl")])
def test_another_revision_is_told_what_to_do(sql: SqlHouse, revision: str, words: str) -> None:
    with sql.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    with pytest.raises(SchemaNotAtHead, match=words), sql.store.transaction():
        pass


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    amounts=st.lists(
        st.decimals(allow_nan=False, allow_infinity=False) | st.decimals(-(10**30), 10**30, places=20), min_size=1
    )
)
def test_any_amount_comes_back_with_its_digits_by_table_and_by_view(sql: SqlHouse, amounts: list[Decimal]) -> None:
    amounts = [amount for amount in amounts if abs(amount.adjusted()) < 1000]
    expected = {
        f"t{n}": format(amount.copy_abs() if amount.is_zero() else amount, "f") for n, amount in enumerate(amounts)
    }
    wallets = tuple(Balance(f"t{n}", amount) for n, amount in enumerate(amounts))
    total = amounts[0] if amounts else Decimal(0)
    with sql.database.write() as connection:
        connection.execute(snapshot.delete())
    add(sql, a_snapshot(balances=wallets, total=total))
    [(_, stored_total, stored)] = sql.snapshots().values()
    assert {name: format(amount, "f") for name, amount in stored.items() if amount is not None} == expected
    with sql.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT account_type, usdt_balance_exact FROM balance_history").all()
        assert {name: format(Decimal(exact), "f") for name, exact in rows} == expected
        [(exact,)] = connection.exec_driver_sql("SELECT total_usdt_exact FROM equity").all()
        assert stored_total is not None
        assert format(Decimal(exact), "f") == format(stored_total, "f") == expected.get("t0", "0")


def test_two_writers_that_meet_an_unknown_account_both_succeed(sql: SqlHouse) -> None:
    results: list[list[Added]] = []
    start = threading.Barrier(4)

    def write(n: int) -> None:
        start.wait()
        mine = a_snapshot(requested_at=SLOT + timedelta(seconds=n))
        others = [a_snapshot(account=f"a{k}", slot_at=SLOT + n * STEP) for k in range(20)]
        results.append(add(sql, mine, *others)[:1])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r[0] for r in results) == [Added.DUPLICATE] * 3 + [Added.STORED]
    with sql.database.read() as connection:
        assert len(connection.execute(select(account)).all()) == 21


RIGHTS = {
    "SELECT": ", ".join(table.name for table in metadata.sorted_tables) + ", alembic_version",
    "INSERT": ", ".join(table.name for table in metadata.sorted_tables),
    "UPDATE": "account, schedule",
    "DELETE": "schedule, snapshot",
}


def test_recording_needs_few_rights_on_postgresql(new_database: Callable[..., str]) -> None:
    url = new_database("postgresql")
    name = f"recorder_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'".encode())
        try:
            for right, tables in RIGHTS.items():
                admin.execute(f"GRANT {right} ON {tables} TO {name}".encode())
            house = SqlHouse(make_url(url).set(username=name, password=name).render_as_string(hide_password=False))
            add(house, imported())
            assert add(house, a_snapshot(), a_snapshot(slot_at=SLOT + STEP)) == [Added.STORED] * 2
            fail(house, a_failure())
            with house.store.transaction() as transaction:
                main = transaction.accounts({"main": Environment.LIVE})["main"]
                transaction.set_uid(main.id, "1001")
                for wanted in ([Schedule(300, SLOT)], [Schedule(60, SLOT + STEP)]):
                    transaction.set_schedules(main.id, wanted)
        finally:
            admin.execute(f"DROP OWNED BY {name}".encode())
            admin.execute(f"DROP ROLE {name}".encode())


def _hold_a_read(path: str, ready: Event, done: Event) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT * FROM account").fetchall()
    ready.set()
    done.wait()


def test_a_commit_that_a_reader_keeps_out_is_undone_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.db.engine.LOCK_SECONDS", 0.2)
    path = tmp_path / "balances.db"
    migrate.ensure(f"sqlite:///{path}")
    house = SqlHouse(f"sqlite:///{path}")
    ready, done = FORKED.Event(), FORKED.Event()
    reader = FORKED.Process(target=_hold_a_read, args=(str(path), ready, done))
    reader.start()
    try:
        assert ready.wait(20)
        with pytest.raises(DatabaseUnavailable, match="another program is reading or writing"):
            add(house, a_snapshot())
    finally:
        done.set()
        reader.join()
    assert house.snapshots() == {}
    assert add(house, a_snapshot()) == [Added.STORED]
