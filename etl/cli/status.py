"""``status``: whether it works, at a glance."""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import click
import msgspec

from etl.bootstrap import build_history, build_lineage
from etl.cli.command import Command, settings
from etl.cli.output import write
from etl.cli.spool import open_spool
from etl.grid import instant_text, slot_end, slot_of, slot_text
from etl.report.curve import can_show_blocks, curve

# How long a doubted reading is told of: long enough for who looks once a day.
DOUBTS_OF = timedelta(days=1)
CURVES_OF = timedelta(days=29)
# Of more accounts than these, no curves are drawn and not every doubt is told.
MOST_LINES = 10
COLUMNS = ("account", "last_snapshot", "age", "status", "total_usdt", "failures_since", "last_reason")


@click.command(cls=Command, short_help="Last snapshot, age, failures since, what waits, next slot.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def status(*, as_json: bool) -> None:
    """Per account: the last snapshot, its age and total, the failures since; what waits on disk; the next slot.

    Warns of readings of the last 24 hours in which a wallet that held something had dropped to zero, was missing, or
    came without an amount; and of a history that was begun in the place of another.
    """
    chosen = settings()
    box = open_spool(chosen)
    now = datetime.now(UTC)
    history = build_history(chosen)
    doubted = {row["account"]: row for row in history.doubted(now - DOUBTS_OF)}
    anew_since = build_lineage(chosen).anew_since()
    whole: dict[str, Any] = {
        "accounts": [
            {
                **row,
                "slot_at": row["slot_at"] and slot_text(row["slot_at"]),
                "taken_at": row["taken_at"] and instant_text(row["taken_at"]),
                "retired_at": row["retired_at"] and instant_text(row["retired_at"]),
                "doubted_at": slot_text(doubted[row["account"]]["slot_at"]) if row["account"] in doubted else None,
                "doubt": doubted[row["account"]]["reason"] if row["account"] in doubted else None,
                "age_seconds": row["taken_at"] and round((now - row["taken_at"]).total_seconds()),
            }
            for row in history.latest()
        ],
        "history_begun_anew_at": None if anew_since is None else slot_text(datetime.fromtimestamp(anew_since, UTC)),
        "spool": box.depth(),
        "quarantine": len(box.quarantined()),
        "next_slot_at": slot_text(slot_end(slot_of(now, chosen.interval_seconds), chosen.interval_seconds)),
    }
    if as_json:
        sys.stdout.write(msgspec.json.encode(whole).decode() + "\n")
        return
    rows = [
        {
            "account": row["account"],
            "last_snapshot": row["slot_at"],
            "age": "retired" if row["retired_at"] else _for_people(row["age_seconds"]),
            "status": row["status"],
            "total_usdt": row["total_usdt"],
            "failures_since": row["failures_since"],
            "last_reason": row["last_reason"],
        }
        for row in whole["accounts"]
    ]
    if whole["history_begun_anew_at"]:
        since = whole["history_begun_anew_at"]
        sys.stderr.write(f"since {since} another history is recorded into than before: ask bingx-etl doctor\n")
    _warn(whole["accounts"])
    curves = _curves([row["account"] for row in rows], partial(history.daily, since=(now - CURVES_OF).date()))
    write(rows, COLUMNS, "table", "nothing recorded yet: bingx-etl snapshot records now")
    sys.stdout.write(
        f"{curves}\n"
        f"spool: {whole['spool']} waiting   quarantine: {whole['quarantine']}   next slot: {whole['next_slot_at']}\n"
    )


def _curves(accounts: Sequence[str], daily: Callable[[], Sequence[Mapping[str, Any]]]) -> str:
    """A line for each account with the closes of its last days, for a person who looks at a terminal."""
    if not sys.stdout.isatty() or not can_show_blocks(sys.stdout.encoding) or len(accounts) > MOST_LINES:
        return ""
    closes: dict[str, list[Decimal | None]] = {}
    for day in daily():
        closes.setdefault(day["account"], []).append(day["close_usdt"])
    width = max(map(len, closes), default=0)
    lines = [f"{account:{width}}  {line}\n" for account, days in closes.items() if (line := curve(days, len(days)))]
    return "".join([f"\nclose of each day (UTC), the last {CURVES_OF.days + 1} days:\n", *lines]) if lines else ""


def _warn(accounts: Sequence[Mapping[str, Any]]) -> None:
    doubted = [account for account in accounts if account["doubt"]]
    for account in doubted[:MOST_LINES]:
        sys.stderr.write(f"compare with BingX: {account['account']}, {account['doubted_at']}: {account['doubt']}\n")
    if len(doubted) > MOST_LINES:
        sys.stderr.write(f"{len(doubted) - MOST_LINES} more accounts like these: bingx-etl status --json\n")


def _for_people(seconds: int | None) -> str | None:
    """An age in its two largest units: ``3h 25m``."""
    if seconds is None:
        return None
    rest = max(seconds, 0)
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
