"""What the queries of the cookbook must answer on the history of tests/known_history.py, worked out by hand."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from etl.db.payload import encode
from tests.db.recorded import at
from tests.known_history import ANSWER, GLITCH

Rows = list[tuple[Any, ...]]

NEW_YEAR, FEBRUARY, APRIL = at("01-01 00:00"), at("02-01 00:00"), at("04-01 00:00")
SPOT, PERP = "960.123456789012345678", "500.376543210987654322"
NOBODY = "nobody was there to know"

ANSWERS: Final[Mapping[str, Rows]] = {
    "what is there now": [
        ("main", "USDTMPerp", PERP, APRIL),
        ("main", "grid", "0.00", APRIL),
        ("main", "spot", SPOT, APRIL),
        ("second", "grid", "0", APRIL),
        ("second", "spot", "600", APRIL),
    ],
    "the totals at the end of a day, 24:00 UTC": [("main", 1460.5, APRIL), ("second", 600, APRIL)],
    "the same with every digit": [("main", "1460.500000000000000000", APRIL), ("second", "600", APRIL)],
    "each wallet at the end of a day": [
        ("main", "USDTMPerp", PERP, APRIL),
        ("main", "grid", "0.00", APRIL),
        ("main", "spot", SPOT, APRIL),
        ("second", "grid", "0", APRIL),
        ("second", "spot", "600", APRIL),
    ],
    "the last total that was known at an instant, at most a month old": [("1600", at("03-27 00:00"))],
    "month ends, and the change from month to month": [
        ("main", "2025-12-31", 1000, None),
        ("main", "2026-01-31", 1100, 100),
        ("main", "2026-02-28", 1300, 200),
        ("main", "2026-03-31", 1460.5, 160.5),
        ("second", "2026-02-28", None, None),
        ("second", "2026-03-31", 600, None),
    ],
    "low, high and coverage of each month": [
        ("main", "2025-12", 1000, 1000, 1, 0, None),
        ("main", "2026-01", 1100, 1100, 1, 0, None),
        ("main", "2026-02", 1200, 1300, 3, 3, 100),
        ("main", "2026-03", 1344, 1700, 10, 112, Decimal("8.9")),
        ("second", "2026-02", 500, 500, 1, 2, 50),
        ("second", "2026-03", 600, 700, 7, 112, Decimal("5.4")),
    ],
    "the change of each wallet between the ends of two days": [
        ("main", "USDTMPerp", 300, Decimal(PERP), Decimal(PERP) - 300),
        ("main", "grid", 100, 0, -100),
        ("main", "spot", 900, Decimal(SPOT), Decimal(SPOT) - 900),
    ],
    "drawdown from the running peak at the end of each day": [
        ("main", "2026-03-26", 1600, 1600, 0, 0),
        ("main", "2026-03-28", 1400, 1700, -300, Decimal("-17.65")),
        ("main", "2026-03-29", 1380, 1700, -320, Decimal("-18.82")),
        ("main", "2026-03-30", 1440, 1700, -260, Decimal("-15.29")),
        ("main", "2026-03-31", 1460.5, 1700, -239.5, Decimal("-14.09")),
        ("second", "2026-03-26", 700, 700, 0, 0),
        ("second", "2026-03-28", 640, 700, -60, Decimal("-8.57")),
        ("second", "2026-03-30", 630, 700, -70, -10),
        ("second", "2026-03-31", 600, 700, -100, Decimal("-14.29")),
    ],
    "the deepest drawdown of each account, and when it was reached": [
        ("main", at("03-29 22:00"), 1344, 1700, Decimal("-20.94")),
        ("second", APRIL, 600, 700, Decimal("-14.29")),
    ],
    "each wallet's share of the last snapshot": [
        ("main", "USDTMPerp", Decimal(PERP), Decimal("34.26")),
        ("main", "grid", 0, 0),
        ("main", "spot", Decimal(SPOT), Decimal("65.74")),
        ("second", "grid", 0, 0),
        ("second", "spot", 600, 100),
    ],
    "each wallet's share at the end of each day": [
        ("2026-03-28", "USDTMPerp", 400, Decimal("28.57")),
        ("2026-03-28", "grid", 100, Decimal("7.14")),
        ("2026-03-28", "spot", 900, Decimal("64.29")),
        ("2026-03-29", "USDTMPerp", 350, Decimal("25.36")),
        ("2026-03-29", "grid", 100, Decimal("7.25")),
        ("2026-03-29", "spot", 930, Decimal("67.39")),
        ("2026-03-30", "grid", 500, Decimal("34.72")),
        ("2026-03-30", "spot", 940, Decimal("65.28")),
    ],
    "a wallet over time": [
        (at("03-28 12:00"), 1000),
        (at("03-28 23:00"), 980),
        (at("03-29 00:00"), 900),
        (at("03-29 22:00"), 900),
        (at("03-29 23:00"), 910),
        (at("03-30 00:00"), 930),
    ],
    "what is missing in a span of time": [
        ("main", at("03-30 01:00"), at("03-30 11:00"), 11, None),
        ("main", at("03-30 12:00"), at("03-30 12:00"), 1, "void"),
        ("main", at("03-30 13:00"), at("03-30 23:00"), 11, None),
    ],
    # main: 5 to 26 March (22 slots); 10, 21, 11, 11, 11 and 9 hours. second: 2 to 26 and 28 March; 11, 35, 23 and 11.
    "how much is missing, by reason": [
        ("main", NOBODY, 7, 95),
        ("main", "unavailable", 1, 2),
        ("main", "unreachable", 1, 2),
        ("main", "key_refused", 1, 1),
        ("main", "void", 1, 1),
        ("second", NOBODY, 6, 106),
        ("second", "rate_limited", 1, 1),
    ],
    "days that are not covered whole": [
        ("main", "2026-03-27", 0, 1, 0),
        ("main", "2026-03-28", 3, 13, 3 / 13),
        ("main", "2026-03-29", 3, 24, 0.125),
        ("main", "2026-03-30", 1, 24, 1 / 24),
        ("main", "2026-03-31", 2, 24, 2 / 24),
        ("second", "2026-03-27", 0, 1, 0),
        ("second", "2026-03-28", 3, 13, 2 / 13),
        ("second", "2026-03-29", 0, 24, 0),
        ("second", "2026-03-30", 1, 24, 1 / 24),
        ("second", "2026-03-31", 2, 24, 2 / 24),
    ],
    "failures by reason": [
        ("main", "key_refused", 1, at("03-04 00:00"), at("03-04 00:00")),
        ("main", "unavailable", 2, at("03-02 00:00"), at("03-03 00:00")),
        ("main", "unreachable", 2, at("03-31 13:00"), at("03-31 14:00")),
        ("second", "rate_limited", 1, at("03-01 00:00"), at("03-01 00:00")),
    ],
    "two accounts side by side, slot by slot": [
        (at("03-28 12:00"), 1700, 650, 2350),
        (at("03-28 18:30"), None, 645, None),
        (at("03-28 23:00"), 1480, None, None),
        (at("03-29 00:00"), 1400, 640, 2040),
    ],
    # On the 30th both have a close, but of different slots.
    "two accounts side by side, at the end of each day": [
        ("2026-03-27", None, None, None),
        ("2026-03-28", 1400, 640, 2040),
        ("2026-03-29", 1380, None, None),
        ("2026-03-30", 1440, 630, None),
        ("2026-03-31", 1460.5, 600, 2060.5),
    ],
    "all accounts together, wherever every one that is not retired has a figure": [
        (at("03-27 00:00"), 2300),
        (at("03-28 12:00"), 2350),
        (at("03-29 00:00"), 2040),
        (at("03-31 12:00"), 2070),
        (APRIL, 2060.5),
    ],
    "days of Berlin, with the days on which clocks are changed": [
        ("2026-03-28", 24, "1480", at("03-28 23:00")),
        ("2026-03-29", 23, "1344", at("03-29 22:00")),
        ("2026-03-30", 24, "1380", at("03-30 00:00")),
    ],
    "days of Berlin, their midnights spelled out": [
        ("2026-03-28", 24, "1480", at("03-28 23:00")),
        ("2026-03-29", 23, "1344", at("03-29 22:00")),
        ("2026-03-30", 24, "1380", at("03-30 00:00")),
    ],
    "snapshots that are partial, or of which something is said": [
        ("main", 7, at("03-28 00:00"), "partial", "no amount: USDTMPerp"),
        ("main", 14, at("03-30 12:00"), "complete", "doubted: spot at 0 (confirmed)"),
        ("main", 15, at("03-31 00:00"), "complete", "doubted: grid missing (not so when read again)"),
    ],
    "wallets that came without an amount": [("main", at("03-28 00:00"), "USDTMPerp")],
    "what people have marked, and why": [
        ("main", 14, at("03-30 12:00"), "void", "spot was 0 during maintenance"),
        ("main", 16, at("03-31 12:00"), "void", "looked wrong"),
        ("main", 16, at("03-31 12:00"), "unvoid", "was right"),
    ],
    "snapshots that are void now, with the totals that they would have": [
        ("main", 14, at("03-30 12:00"), "450", "spot was 0 during maintenance"),
    ],
    "what was measured and what was imported": [
        ("main", "imported", 2, NEW_YEAR, FEBRUARY),
        ("main", "measured", 14, at("02-27 00:00"), APRIL),
        ("second", "imported", 1, at("03-28 18:30"), at("03-28 18:30")),
        ("second", "measured", 7, at("02-28 00:00"), APRIL),
    ],
    "the answers behind a snapshot": [
        (1, "zlib-v1", len(encode(GLITCH)[1])),
        (2, "zlib-v1", len(encode(ANSWER)[1])),
    ],
}
