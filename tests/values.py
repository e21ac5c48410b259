"""Values that tests begin with, changed by keyword where a test means something by it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from etl.model import Environment, Failure, Reading, Reason

SLOT = datetime(2026, 11, 22, 15, 20, tzinfo=UTC)
ASKED = datetime(2026, 11, 22, 15, 20, 1, tzinfo=UTC)


def body(wallets: Mapping[str, Any] | None = None, at: datetime = ASKED) -> bytes:
    """An overview as BingX sends it."""
    rows = [
        {"accountType": name, "usdtBalance": amount}
        for name, amount in ({"sopt": "100.00", "USDTMPerp": "7.50"} if wallets is None else wallets).items()
    ]
    return msgspec.json.encode({"code": 0, "timestamp": round(at.timestamp() * 1000), "data": rows})


def reading(wallets: Mapping[str, Any] | None = None, **changes: Any) -> Reading:
    """A reading of ``main`` in :data:`SLOT`."""
    at = changes.get("requested_at", ASKED)
    plain = Reading(
        account="main",
        environment=Environment.SANDBOX,
        slot_at=SLOT,
        interval_seconds=300,
        requested_at=at,
        latency_ms=100,
        clock_offset_ms=None,
        attempts=1,
        key_fingerprint="f1",
        uid="1001",
        bodies=(body(wallets, at),),
    )
    return replace(plain, **changes)


def failure(**changes: Any) -> Failure:
    """A failure of ``main`` in :data:`SLOT`."""
    plain = Failure(
        account="main",
        environment=Environment.SANDBOX,
        slot_at=SLOT,
        interval_seconds=300,
        reason=Reason.UNAVAILABLE,
        detail="HTTP 503",
        attempts=3,
        first_at=ASKED,
        last_at=ASKED,
    )
    return replace(plain, **changes)
