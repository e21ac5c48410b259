"""Years of snapshots of one account, as this program stores them and in a flat table. years.py DIRECTORY YEARS [DAY]

``years.db`` in the directory has the tables already. Prints the bytes of both databases, the number of balances in each
and the types in a snapshot. DAY is the first one, in days since 1970.
"""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from etl.bingx.answers import parse_overview
from etl.db.engine import open_engine
from etl.db.store import SqlStore
from etl.grid import EPOCH, slot_text, to_ms
from etl.load.judge import exact_sum
from etl.model import Environment, Provenance, Snapshot, Status
from etl.sandbox.answers import balances
from etl.sandbox.wallets import wallets_at

FIRST_DAY = 20_000
SLOTS_PER_YEAR = 365 * 288
BATCH = 2_000
TYPES = {"sopt", "stdFutures", "coinMPerp", "USDTMPerp", "copyTrading", "grid", "eran", "c2c"}


def snapshots(count: int, first_day: int = FIRST_DAY) -> Iterator[Snapshot]:
    """What the sandbox would have answered, without the bodies."""
    for number in range(count):
        slot_at = EPOCH + timedelta(days=first_day, minutes=5 * number)
        taken_at = slot_at + timedelta(seconds=1, milliseconds=number * 37 % 1000)
        wallets = wallets_at(7, 0, to_ms(taken_at))
        # The sandbox now and then leaves an empty wallet out, as BingX does.
        padded = (*wallets, *((name, "0.00000000") for name in TYPES - dict(wallets).keys()))
        answer = parse_overview(balances(padded, None, to_ms(taken_at), ()))
        yield Snapshot(
            account="main",
            slot_at=slot_at,
            taken_at=taken_at,
            requested_at=taken_at - timedelta(milliseconds=90),
            latency_ms=190,
            status=Status.COMPLETE,
            reason=None,
            provenance=Provenance.MEASURED,
            total=exact_sum(answer.balances),
            attempts=1,
            balances=answer.balances,
        )


def main() -> None:
    """Fill both, then look at the files."""
    directory, years = Path(sys.argv[1]), int(sys.argv[2])
    first_day = int(sys.argv[3]) if len(sys.argv) > 3 else FIRST_DAY
    ours, flat = directory / "years.db", directory / "flat.db"
    store = SqlStore(open_engine(f"sqlite:///{ours}"), lambda: datetime.now(UTC))
    wanted = snapshots(years * SLOTS_PER_YEAR, first_day)
    rows = 0
    with closing(sqlite3.connect(flat)) as table:
        table.execute("CREATE TABLE balances (captured_at TEXT, account_type TEXT, balance TEXT)")
        table.execute("CREATE INDEX balances_captured_at ON balances (captured_at)")
        while batch := list(islice(wanted, BATCH)):
            with store.transaction() as transaction:
                accounts = transaction.accounts({"main": Environment.SANDBOX})
                transaction.add_snapshots({"main": accounts["main"].id}, batch)
            flat_rows = [
                (slot_text(s.taken_at), b.raw_type or b.account_type, format(b.amount, "f"))
                for s in batch
                for b in s.balances
                if b.amount is not None
            ]
            rows += len(flat_rows)
            table.executemany("INSERT INTO balances VALUES (?, ?, ?)", flat_rows)
            table.commit()
    print(ours.stat().st_size, flat.stat().st_size, rows, rows / (years * SLOTS_PER_YEAR))


if __name__ == "__main__":
    main()
