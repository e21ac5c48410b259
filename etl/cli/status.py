"""``status``: whether it works, at a glance."""

import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from etl.bootstrap import build_history, build_spool
from etl.cli.command import Command, settings
from etl.cli.output import write
from etl.grid import format_duration, slot_end, slot_of, slot_text

COLUMNS = ("account", "last_snapshot", "age", "status", "total_usdt", "failures_since", "last_reason")


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def status(*, as_json: bool) -> None:
    """Per account: the last snapshot, its age and total, the failures since; what waits on disk; the next slot."""
    chosen = settings()
    box = build_spool(chosen)
    now = datetime.now(UTC)
    whole: dict[str, Any] = {
        "accounts": [
            {**row, "age_seconds": None if row["taken_at"] is None else round((now - row["taken_at"]).total_seconds())}
            for row in build_history(chosen).latest()
        ],
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
            "age": None if row["age_seconds"] is None else format_duration(row["age_seconds"]),
            "status": row["status"],
            "total_usdt": row["total_usdt"],
            "failures_since": row["failures_since"],
            "last_reason": row["last_reason"],
        }
        for row in whole["accounts"]
    ]
    write(rows, COLUMNS, "table", "nothing recorded yet: bingx-etl snapshot records now")
    sys.stdout.write(
        f"\nspool: {whole['spool']} waiting   quarantine: {whole['quarantine']}   next slot: {whole['next_slot_at']}\n"
    )
