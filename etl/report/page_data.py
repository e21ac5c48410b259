"""What the charts of a page are drawn from, as JSON: amounts as their exact text, times as wall clocks of the zone."""

import json
from datetime import UTC, datetime, tzinfo
from typing import Any

from etl.report.equity import COLUMNS, Row
from etl.report.equity_table import coverage_text, covered_text
from etl.report.render import plain
from etl.report.sheet import Part, Sheet


def charts(sheet: Sheet) -> dict[str, Any]:
    """Of each part, in the order of the page.

    ``rows`` are the rows of ``--format json`` without their keys, which are ``columns``; ``edges`` the midnights around
    the periods, ``curve`` its times and amounts with null for an interruption, ``wallets`` the amounts at each close
    in the order of ``types``.
    """
    return {"columns": list(COLUMNS), "accounts": [_part(part, sheet.asked.zone) for part in sheet.parts]}


def script_safe(value: object) -> str:
    """JSON that nothing can end early where it stands within a script element."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _part(part: Part, zone: tzinfo) -> dict[str, Any]:
    points = part.curve.points()
    types = sorted({account_type for wallets in part.wallets for account_type in wallets or ()})
    edges = [row["begins_at"] for row in part.rows] + [row["ends_at"] for row in part.rows[-1:]]
    return {
        "name": part.name,
        "rows": [[plain(row[name]) for name in COLUMNS] for row in (*part.rows, *part.by_type)],
        "edges": [_wall_clock(edge, zone) for edge in edges],
        "curve": {
            "at": [None if point is None else _wall_clock(point.slot_at, zone) for point in points],
            "usdt": [None if point is None else plain(point.amount) for point in points],
        },
        "wallets": {
            "types": types,
            "usdt": [
                None if wallets is None else [plain(wallets.get(account_type)) for account_type in types]
                for wallets in part.wallets
            ],
        },
        "days": [[row["period"], row["coverage"], _covered(row)] for row in part.days],
    }


def _wall_clock(instant: datetime, zone: tzinfo) -> int:
    """What the clocks of the zone show, in seconds since they showed the beginning of 1970."""
    return int(instant.timestamp() if zone is UTC else instant.astimezone(zone).replace(tzinfo=UTC).timestamp())


def _covered(row: Row) -> str:
    return f"{coverage_text(row)}, {covered_text(row)}" if row["expected"] else ""
