"""History of a person's own: it comes in whole, says what it is, and is never in the way of what was measured."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from etl.db.engine import Database, open_engine
from etl.db.export import Export, Wanted
from etl.db.imports import Imports
from etl.db.schema import account, annotation, balance, schedule, snapshot
from etl.db.store import SqlStore
from etl.db.views import daily_equity, equity, slot_gap
from etl.errors import SchemaNotAtHead, SettingsError
from etl.model import Environment, Provenance, Schedule, Snapshot
from etl.transfer.incoming import Incoming, assemble, total_only
from etl.transfer.portable import WRITERS, Line, numbered_lines, read_csv, read_json
from tests.db.recorded import START, Recorded, at
from tests.db.test_store import a_snapshot, imported
from tests.transfer.test_incoming import incoming, lines_of

NOW = datetime(2026, 12, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
VST = {"main": Environment.VST, "a": Environment.VST, "b": Environment.VST}
READERS = {"csv": read_csv, "jsonl": read_json}


@pytest.fixture
def recorded(database_url: str) -> Recorded:
    return Recorded(database_url)


@pytest.fixture
def imports(recorded: Recorded) -> Imports:
    return Imports(recorded.database, lambda: NOW)


def entry(moment: datetime, total: str = "5", **changes: object) -> Incoming:
    return replace(Incoming(1, total_only("main", moment, Decimal(total)), Environment.VST), **changes)  # type: ignore[arg-type]


def measure(database: Database, *snapshots: Snapshot, schedules: Sequence[Schedule] = ()) -> None:
    with SqlStore(database, lambda: NOW).transaction() as transaction:
        accounts = transaction.accounts({s.account: Environment.VST for s in snapshots})
        transaction.add_snapshots({name: stored.id for name, stored in accounts.items()}, snapshots)
        for stored in accounts.values():
            transaction.set_schedules(stored.id, schedules)


def test_imported_history_is_marked_and_nobody_expected_it(recorded: Recorded, imports: Imports) -> None:
    year = timedelta(days=365)
    assert imports.add([entry(START - 3 * year, "1"), entry(START, "2.50")], VST) == 2
    rows = recorded.rows(equity, "slot_at", "total_usdt_exact", "provenance", "status")
    assert rows == [
        (START - 3 * year, Decimal(1), "imported", "complete"),
        (START, Decimal("2.50"), "imported", "complete"),
    ]
    assert recorded.rows(slot_gap) == [], "nobody expected the years between them"
    with recorded.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(schedule)) == 0
        assert connection.execute(select(account.c.name, account.c.environment, account.c.uid)).all() == [
            ("main", "vst", None)
        ]
        assert set(connection.scalars(select(snapshot.c.recorded_at))) == {NOW}
    days = {
        day: (close, expected) for day, close, expected in recorded.rows(daily_equity, "day", "close_usdt", "expected")
    }
    assert days[(START - timedelta(days=1)).date()] == (Decimal("2.50"), 0)
    assert set(days.values()) == {(1, 0), (Decimal("2.50"), 0), (None, 0)}


def test_importing_again_changes_nothing(recorded: Recorded, imports: Imports) -> None:
    batch = [entry(START), entry(START + STEP, voided="wrong"), entry(START + 2 * STEP)]
    assert imports.add(batch, VST) == 3

    def everything() -> list[object]:
        with recorded.database.read() as connection:
            return [
                connection.execute(select(rows).order_by(*rows.primary_key)).all() for rows in (snapshot, annotation)
            ]

    before = everything()
    later = Imports(recorded.database, lambda: NOW + STEP)
    assert later.add(batch, VST) == 0
    assert later.add([entry(START, "6", voided="now wrong")], VST) == 0, "the first one wins"
    assert everything() == before
    assert imports.add([*batch, entry(START + 3 * STEP), entry(START + 3 * STEP, "9")], VST) == 1


def test_what_was_imported_with_another_total_is_told_and_stays(recorded: Recorded, imports: Imports) -> None:
    assert imports.add([entry(START, "5.0"), entry(START + STEP)], VST) == 2
    measure(recorded.database, a_snapshot(slot_at=START + 2 * STEP))
    again = [entry(START, "5"), entry(START + STEP, "6"), entry(START + 2 * STEP, "7"), entry(START + 3 * STEP, "8")]
    assert [each.slot_at for each in imports.unlike(again)] == [START + STEP]
    assert imports.add(again, VST) == 1
    assert [each.slot_at for each in imports.unlike(again)] == [START + STEP]


def test_a_measured_snapshot_is_never_displaced_and_displaces(recorded: Recorded, imports: Imports) -> None:
    measure(recorded.database, a_snapshot(slot_at=START), a_snapshot({"spot": None}, slot_at=START + STEP))
    recorded.mark(recorded.snapshot(START + 2 * STEP, "9"), "void")
    assert imports.add([entry(START + n * STEP, voided="x") for n in range(4)], VST) == 1
    rows = recorded.rows(snapshot, "slot_at", "provenance")
    assert [provenance for _, provenance in rows] == ["measured", "measured", "measured", "imported"]
    assert len(recorded.rows(annotation)) == 2, "no mark on what was not imported"
    measure(recorded.database, a_snapshot(slot_at=START + 3 * STEP))
    assert [provenance for _, provenance in recorded.rows(snapshot, "slot_at", "provenance")] == ["measured"] * 4
    assert [wallet for wallet, _ in recorded.rows(balance, "account_type", "snapshot_id")].count("USDTMPerp") == 2
    assert len(recorded.rows(annotation)) == 1, "what was said of the imported one is not said of the measured one"


def test_in_a_schedule_it_fills_slots_and_stands_between_none(recorded: Recorded, imports: Imports) -> None:
    main = recorded.account("main", (3600, "01-01 00:00", "01-01 05:00"), environment="vst")
    recorded.snapshot("01-01 00:00", "10", of=main)
    recorded.failure("01-01 01:00", of=main)
    minutes = [entry(at("01-01 00:00") + timedelta(minutes=n), str(n)) for n in (59, 61, 75, 150, 299, 301)]
    assert imports.add(minutes, VST) == 4
    rows = recorded.rows(equity, "slot_at", "total_usdt_exact", "taken_at")
    assert [(f"{slot:%H:%M}", total) for slot, total, _ in rows] == [
        ("00:00", 10),
        ("01:00", 61),
        ("02:00", 150),
        ("04:00", 299),
        ("05:01", 301),
    ]
    assert rows[1][2] == at("01-01 01:01"), "when it was taken is kept"
    assert recorded.rows(slot_gap, "gap_from", "missed", "reason") == [(at("01-01 03:00"), 1, None)]
    [day] = [row for row in recorded.rows(daily_equity, "day", "snapshots", "expected") if row[0] == START.date()]
    assert day[1:] == (4, 4)


def test_real_and_play_money_are_not_mixed(recorded: Recorded, imports: Imports) -> None:
    recorded.account("main")
    with pytest.raises(SettingsError, match="main is from live, the file's is from vst"):
        imports.environments({"main": Environment.VST}, Environment.LIVE)
    with pytest.raises(SettingsError, match="is from live"):
        imports.add([entry(START)], VST)
    assert recorded.rows(snapshot) == []
    said = {"main": None, "new": None, "other": Environment.SANDBOX}
    assert imports.environments(said, Environment.VST) == {
        "main": (Environment.LIVE, False),
        "new": (Environment.VST, True),
        "other": (Environment.SANDBOX, True),
    }


def test_a_batch_is_stored_whole_or_not_at_all(recorded: Recorded, imports: Imports) -> None:
    broken = replace(entry(START + STEP), voided="a\0")
    with pytest.raises(Exception, match="NUL"):
        imports.add([entry(START), broken], VST)
    assert recorded.rows(snapshot) == []
    assert recorded.rows(account) == []


def test_without_tables_it_says_how_to_make_them(empty_database_url: str) -> None:
    nowhere = Imports(open_engine(empty_database_url))
    for call in (lambda: nowhere.environments({}, Environment.LIVE), lambda: nowhere.add([entry(START)], VST)):
        with pytest.raises(SchemaNotAtHead, match="db upgrade"):
            call()


# --- there and back -------------------------------------------------------------------------------------------------


@pytest.fixture
def new_home(new_database: Callable[..., str], dialect: str) -> Callable[[], Database]:
    """Empties a database of the other kind, so that a way there and back crosses from one to the other."""
    other = open_engine(new_database({"sqlite": "postgresql", "postgresql": "sqlite"}[dialect], name="other.db"))

    def empty() -> Database:
        with other.write() as connection:
            for rows in (annotation, balance, snapshot, account):
                connection.execute(delete(rows))
        return other

    return empty


def file_of(database: Database, form: str) -> bytes:
    header, lines_of_page = WRITERS[form]
    wanted = Wanted(voided=True)
    return header + b"".join(lines_of_page(lines) for _, lines in Export(database, wanted, page=3).pages())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=incoming(), form=st.sampled_from(["csv", "jsonl"]), measured=st.booleans())
def test_an_export_imported_elsewhere_is_the_same_history(
    recorded: Recorded, new_home: Callable[[], Database], entries: list[Incoming], form: str, measured: bool
) -> None:
    with recorded.database.write() as connection:
        for rows in (annotation, balance, snapshot, account):
            connection.execute(delete(rows))
    if entries:
        Imports(recorded.database, lambda: NOW).add(entries, VST)
    if measured:
        with recorded.database.write() as connection:
            changes = {"provenance": "measured", "requested_at": NOW, "latency_ms": 5}
            connection.execute(snapshot.update().values(changes))
    content = file_of(recorded.database, form)
    found = list(assemble(READERS[form](numbered_lines(io.BytesIO(content))), NOW))
    assert [replace(each, line=0) for each in found] == entries
    elsewhere = new_home()
    if found:
        assert Imports(elsewhere, lambda: NOW).add(found, VST) == len(entries)
        assert Imports(elsewhere, lambda: NOW).add(found, VST) == 0
    again = file_of(elsewhere, form)
    assert again == content.replace(b"measured", b"imported") if measured else again == content


def test_lines_that_the_tests_make_are_those_of_an_export(recorded: Recorded) -> None:
    one = replace(imported(slot_at=START, reason="r"), taken_at=START)
    Imports(recorded.database, lambda: NOW).add([Incoming(1, one, Environment.VST, "v")], VST)
    [(_, lines)] = Export(recorded.database, Wanted(voided=True)).pages()
    expected = lines_of(Incoming(1, one, Environment.VST, "v"))
    assert sorted(map(Line._make, lines)) == sorted(line._replace(provenance=Provenance.IMPORTED) for line in expected)
