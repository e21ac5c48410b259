"""The balances leave page by page: each once, whole, to the digit, and nobody is kept waiting."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import psycopg
import pytest

from etl.db.engine import Database, open_engine
from etl.db.export import Export, Wanted
from etl.db.store import SqlStore
from etl.errors import NoSuchAccount, SchemaNotAtHead
from etl.model import Environment, Snapshot
from etl.transfer.portable import Line
from tests.db.recorded import START, Recorded, at
from tests.db.test_store import a_snapshot, imported

ROOT = Path(__file__).parents[2]
STEP = timedelta(minutes=5)


@pytest.fixture
def recorded(database_url: str) -> Recorded:
    return Recorded(database_url)


def exported(database: Database, wanted: Wanted | None = None, page: int = 2) -> list[Line]:
    return [Line._make(line) for _, lines in Export(database, wanted or Wanted(), page=page).pages() for line in lines]


def store(database: Database, *snapshots: Snapshot) -> None:
    with SqlStore(database, lambda: START).transaction() as transaction:
        ids = {n: a.id for n, a in transaction.accounts({s.account: Environment.VST for s in snapshots}).items()}
        transaction.add_snapshots(ids, snapshots)


def test_every_line_has_the_texts_of_the_contract(recorded: Recorded) -> None:
    wallets = {"spot": "100.00", "\u00e4=1": "-0.000000000000000001"}
    whole = a_snapshot(wallets, slot_at=START, reason="doubted: spot at 0 (confirmed)")
    store(
        recorded.database,
        replace(whole, balances=(whole.balances[0]._replace(raw_type="sopt"), whole.balances[1])),
        a_snapshot({"spot": None}, slot_at=START + STEP, taken_at=START + STEP),
        a_snapshot({}, slot_at=START + 2 * STEP, total=None, status="partial", reason="none"),
        imported({}, slot_at=START + 3 * STEP, total=Decimal("7.00")),
    )
    first = Line(
        account="main",
        slot_at="2026-01-01T00:00:00Z",
        taken_at="2026-01-01T00:00:01.250Z",
        account_type="spot",
        usdt_balance="100.00",
        total_usdt="99.999999999999999999",
        status="complete",
        provenance="measured",
        voided=None,
        reason="doubted: spot at 0 (confirmed)",
        raw_type="sopt",
        environment="vst",
    )
    lines = exported(recorded.database)
    assert lines[:2] == [
        first,
        first._replace(account_type="\u00e4=1", usdt_balance="-0.000000000000000001", raw_type=None),
    ]
    told = [(x.slot_at, x.taken_at, x.account_type, x.usdt_balance, x.total_usdt, x.provenance) for x in lines[2:]]
    assert told == [
        ("2026-01-01T00:05:00Z", "2026-01-01T00:05:00.000Z", "spot", None, None, "measured"),
        ("2026-01-01T00:10:00Z", "2026-01-01T00:10:01.250Z", None, None, None, "measured"),
        ("2026-01-01T00:15:00Z", "2026-01-01T00:15:01.250Z", None, None, "7.00", "imported"),
    ]


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_pages_of_any_size_have_every_snapshot_once_by_account_and_slot(recorded: Recorded, page: int) -> None:
    for name in ("b", "a"):
        recorded.account(name)
    slots = [START + n * STEP for n in (4, 0, 2, 1, 3)]
    with recorded.at_once():
        for of in (1, 2):
            for slot_at in slots:
                recorded.snapshot(slot_at, "3", {"grid": "1", "spot": "2"}, of=of)
    lines = exported(recorded.database, page=page)
    expected = [(name, slot, kind) for name in "ab" for slot in sorted(slots) for kind in ("grid", "spot")]
    assert [(line.account, line.slot_at, line.account_type) for line in lines] == [
        (name, f"{slot:%Y-%m-%dT%H:%M:%SZ}", kind) for name, slot, kind in expected
    ]
    export = Export(recorded.database, Wanted(), page=page)
    assert sum(count for count, _ in export.pages()) == export.count() == 10


def test_only_what_is_asked_for_leaves(recorded: Recorded) -> None:
    recorded.account("main")
    recorded.account("other")
    for hour in range(4):
        recorded.snapshot(f"01-01 0{hour}:00", str(hour))
        recorded.snapshot(f"01-01 0{hour}:00", str(10 + hour), of=2)

    def totals(wanted: Wanted) -> list[str | None]:
        lines = exported(recorded.database, wanted)
        assert Export(recorded.database, wanted).count() == len(lines)
        return [line.total_usdt for line in lines]

    assert totals(Wanted("other")) == ["10", "11", "12", "13"]
    assert totals(Wanted("main", at("01-01 01:00"), at("01-01 02:00"))) == ["1", "2"]
    assert totals(Wanted(since=at("01-01 03:00") + timedelta(milliseconds=1))) == ["3", "13"]
    assert totals(Wanted(until=at("01-01 00:59"))) == ["0", "10"]
    assert totals(Wanted(since=at("02-01 00:00"))) == []
    with pytest.raises(NoSuchAccount, match="account list"):
        Export(recorded.database, Wanted("nobody"))


def test_a_void_snapshot_leaves_only_where_it_is_asked_for_and_says_why(recorded: Recorded) -> None:
    recorded.account()
    keys = [recorded.snapshot(START + n * STEP, str(n), {"spot": str(n), "grid": "0"}) for n in range(4)]
    recorded.mark(keys[0], "void", text="first")
    recorded.mark(keys[0], "void", text="last")
    recorded.mark(keys[1], "void", "unvoid", "note")
    recorded.mark(keys[2], "void")
    assert {line.total_usdt for line in exported(recorded.database)} == {"1", "3"}
    lines = exported(recorded.database, Wanted(voided=True))
    assert {line.total_usdt: line.voided for line in lines} == {"0": "last", "1": None, "2": "void", "3": None}


def test_a_history_without_tables_says_how_to_make_them(empty_database_url: str) -> None:
    with pytest.raises(SchemaNotAtHead, match="db upgrade"):
        Export(open_engine(empty_database_url), Wanted())


def test_while_a_page_is_looked_at_nobody_waits_for_it(recorded: Recorded, dialect: str) -> None:
    recorded.account()
    for n in range(5):
        recorded.snapshot(START + n * STEP, "1", {"spot": "1"})
    seen = []
    for _, lines in Export(recorded.database, Wanted(), page=1).pages():
        seen += [line.slot_at for line in lines]
        if dialect == "sqlite":
            with closing(sqlite3.connect(recorded.database.address.name, timeout=0, isolation_level=None)) as writer:
                writer.execute("BEGIN EXCLUSIVE")
                writer.execute("COMMIT")
        else:
            with psycopg.connect(recorded.url, autocommit=True) as writer:
                writer.execute("SET lock_timeout = '1s'")
                writer.execute("ALTER TABLE snapshot RENAME TO snapshot_")
                writer.execute("ALTER TABLE snapshot_ RENAME TO snapshot")
    assert len(seen) == 5


def test_what_is_recorded_meanwhile_never_comes_twice_and_never_in_parts(recorded: Recorded) -> None:
    """Measured snapshots take the place of imported ones, with other wallets, and new ones come behind."""
    slots = [START + n * STEP for n in range(60)]
    store(recorded.database, *(imported({"old": "1", "older": "2"}, slot_at=slot) for slot in slots[::2]))
    done = threading.Event()

    def record() -> None:
        for slot in slots:
            store(open_engine(recorded.url), a_snapshot({"new": "10", "newer": "20", "newest": "30"}, slot_at=slot))
        done.set()

    thread = threading.Thread(target=record)
    thread.start()
    rounds = 0
    while not done.is_set() or not rounds:
        rounds += 1
        lines = exported(recorded.database, page=3)
        slots_seen = [line.slot_at for line in lines]
        assert slots_seen == sorted(slots_seen, key=str)
        for _, of_slot in groupby(lines, lambda line: line.slot_at):
            group = list(of_slot)
            wanted = {"measured": ["new", "newer", "newest"], "imported": ["old", "older"]}[str(group[0].provenance)]
            assert sorted(str(line.account_type) for line in group) == wanted
            assert sum(Decimal(str(line.usdt_balance)) for line in group) == Decimal(str(group[0].total_usdt))
    thread.join()
    assert {line.provenance for line in exported(recorded.database)} == {"measured"}
    assert len(exported(recorded.database)) == 3 * 60


# In a process of its own, where nothing else allocates meanwhile; garbage is gone, whenever Python looks for it.
PEAK = """
import gc, sys, tracemalloc
from etl.db.engine import open_engine
from etl.db.export import Export, Wanted
from etl.transfer.portable import csv_lines
database = open_engine(sys.argv[1])
tracemalloc.start()
length = 0
for _, lines in Export(database, Wanted(), page=100).pages():
    length += len(csv_lines(lines))
    gc.collect()
print(length, tracemalloc.get_traced_memory()[1])
"""


def test_memory_does_not_grow_with_the_history(new_database: Callable[..., str]) -> None:
    peaks = []
    for count in (400, 2400):
        url = new_database("sqlite", name=f"{count}.db")
        plain = a_snapshot({f"type-{n}": "1" for n in range(8)})
        store(open_engine(url), *(replace(plain, slot_at=START + n * STEP, bodies=()) for n in range(count)))
        command = [sys.executable, "-c", PEAK, url]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        length, peak = map(int, ran.stdout.split())
        assert length > 8 * count * 80
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0], peaks
