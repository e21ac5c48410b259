"""A history whose answers are worked out by hand: what the queries in docs/ and deploy/ are held against.

Amounts are sums of powers of two, so that what is added up by a float is exact too. In March 2026 the clocks of Berlin
go forward, in the night to the 29th. Everything lies in the past, and no schedule is open, so the answers stay.

Two accounts. ``main`` has two month ends from an old table (imported), daily slots, in March a long gap with three
known failures, a partial snapshot, then hourly slots of which most are missing; a snapshot that is void, one that was
doubted, one that is void no more. ``second`` has a hole where ``main`` has none, and the other way round; and between
two of its slots an imported total.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert

from etl.db.payload import encode
from etl.db.schema import payload, schedule
from tests.db.recorded import Recorded, at

DAY, HOUR = 86_400, 3_600
OLD: dict[str, Any] = {"provenance": "imported", "requested_at": None, "latency_ms": None, "attempts": 0}
GLITCH = b'{"code":0,"timestamp":1774915200250,"data":[{"accountType":"sopt","usdtBalance":"940"}]}'
ANSWER = (
    b'{"code":0,"timestamp":1774915201250,"data":[{"accountType":"sopt","usdtBalance":"940"},'
    b'{"accountType":"grid","usdtBalance":"500"}]}'
)


def record(url: str) -> None:
    """Write it into a database that has the schema and nothing else."""
    recorded = Recorded(url)
    with recorded.at_once():
        for name in ("main", "second"):
            begins = "02-27 00:00" if name == "main" else "02-28 00:00"
            recorded.account(name, (DAY, begins, "03-28 12:00"), (HOUR, "03-28 12:00", "04-01 00:01"))
        _main(recorded)
        _second(recorded)
    with recorded.database.write() as connection:
        # Just after its last slot, so that there is no further day in which nothing was expected.
        connection.execute(
            schedule.update()
            .where(schedule.c.valid_to == at("04-01 00:01"))
            .values(valid_to=datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC))
        )
        for seq, body in enumerate((GLITCH, ANSWER), start=1):
            encoding, stored = encode(body)
            connection.execute(insert(payload).values(snapshot_id=15, seq=seq, encoding=encoding, body=stored))


def _main(recorded: Recorded) -> None:
    recorded.snapshot("01-01 00:00", "1000", **OLD)  # 1
    recorded.snapshot("02-01 00:00", "1100", **OLD)
    recorded.snapshot("02-27 00:00", "1200", {"spot": "800", "USDTMPerp": "400"})
    recorded.snapshot("02-28 00:00", "1250", {"spot": "850", "USDTMPerp": "400"})
    recorded.snapshot("03-01 00:00", "1300", {"spot": "900", "USDTMPerp": "300", "grid": "100"})  # 5
    recorded.failure("03-02 00:00", "unavailable")
    recorded.failure("03-03 00:00", "unavailable")
    recorded.failure("03-04 00:00", "key_refused")
    recorded.snapshot("03-27 00:00", "1600", {"spot": "1000", "USDTMPerp": "500", "grid": "100"})
    wallets = {"spot": "1000", "USDTMPerp": None, "grid": "100"}
    recorded.snapshot("03-28 00:00", None, wallets, reason="no amount: USDTMPerp")  # 7
    recorded.snapshot("03-28 12:00", "1700", {"spot": "1000", "USDTMPerp": "600", "grid": "100"})
    recorded.snapshot("03-28 23:00", "1480", {"spot": "980", "USDTMPerp": "400", "grid": "100"})
    recorded.snapshot("03-29 00:00", "1400", {"spot": "900", "USDTMPerp": "400", "grid": "100"})  # 10
    recorded.snapshot("03-29 22:00", "1344", {"spot": "900", "USDTMPerp": "344", "grid": "100"})
    recorded.snapshot("03-29 23:00", "1360", {"spot": "910", "USDTMPerp": "350", "grid": "100"})
    recorded.failure("03-30 00:00", "unavailable")  # and was read after all
    recorded.snapshot("03-30 00:00", "1380", {"spot": "930", "USDTMPerp": "350", "grid": "100"})
    doubt = "doubted: spot at 0 (confirmed)"
    void = recorded.snapshot("03-30 12:00", "450", {"spot": "0", "USDTMPerp": "350", "grid": "100"}, reason=doubt)  # 14
    recorded.mark(void, "void", text="spot was 0 during maintenance")
    doubt = "doubted: grid missing (not so when read again)"
    recorded.snapshot("03-31 00:00", "1440", {"spot": "940", "grid": "500"}, reason=doubt, attempts=2)  # 15
    marked = recorded.snapshot("03-31 12:00", "1450", {"spot": "950", "grid": "500"})
    recorded.mark(marked, "void", text="looked wrong")
    recorded.mark(marked, "unvoid", text="was right")
    recorded.failure("03-31 13:00", "unreachable")
    recorded.failure("03-31 14:00", "unreachable")
    exact = {"spot": "960.123456789012345678", "USDTMPerp": "500.376543210987654322", "grid": "0.00"}
    recorded.snapshot("04-01 00:00", "1460.500000000000000000", exact)  # 17


def _second(recorded: Recorded) -> None:
    recorded.snapshot("02-28 00:00", "500", {"spot": "500"}, of=2)  # 18
    recorded.failure("03-01 00:00", "rate_limited", of=2)
    recorded.snapshot("03-27 00:00", "700", {"spot": "700"}, of=2)
    recorded.snapshot("03-28 12:00", "650", {"spot": "600", "grid": "50"}, of=2)  # 20
    recorded.snapshot("03-29 00:00", "640", {"spot": "600", "grid": "40"}, of=2)
    recorded.snapshot("03-30 12:00", "630", {"spot": "600", "grid": "30"}, of=2)
    recorded.snapshot("03-31 12:00", "620", {"spot": "600", "grid": "20"}, of=2)
    recorded.snapshot("04-01 00:00", "600", {"spot": "600", "grid": "0"}, of=2)  # 24
    recorded.snapshot("03-28 18:30", "645", of=2, **OLD)  # 25, which nobody expected


def record_lately(url: str, now: datetime) -> None:
    """Write one account with a snapshot a day, of which the last was an hour ago: for questions that say now."""
    recorded = Recorded(url)
    with recorded.at_once():
        recorded.account()
        for number, days in enumerate((9, 8, 6, 3, 1, 0)):
            slot_at = (now - timedelta(days=days, hours=1)).replace(minute=0, second=0, microsecond=0)
            recorded.snapshot(slot_at, str(100 + number), {"spot": str(100 + number)})
