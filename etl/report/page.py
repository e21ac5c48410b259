"""Equity as one page that needs nothing else: figures as text, charts by plotly.js, which is in it."""

import re
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from etl.report.equity import EVERYBODY, Row
from etl.report.equity_table import coverage_text, covered_text, rounded, signed
from etl.report.page_data import charts, script_safe
from etl.report.render import plain
from etl.report.series import EXACT, percent
from etl.report.sheet import Part, Sheet

MANY_PERIODS = 62
"""With more, the table of periods is folded."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
COLUMNS_SHOWN = ("open", "high", "low", "close", "change", "change %", "drawdown %", "coverage")

# Only these scripts run, wherever the page is opened and whatever is in it; and nothing is fetched.
POLICY = (
    "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action"
    " 'none'"
)

_THOUSANDS = re.compile(r"(?<=\d)(?=(?:\d{3})+(?!\d))")


class Figure(NamedTuple):
    """A headline: what it is, its text, all of its digits where the text is rounded, what to know about it."""

    label: str
    text: str
    exact: str = ""
    about: str = ""
    sign: str = ""
    unit: str = ""


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    exact: str = ""
    sign: str = ""


def page(sheet: Sheet) -> str:
    """The whole HTML. What comes from outside, such as names, is escaped."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - for this alone
    from markupsafe import Markup  # noqa: PLC0415

    assets = files("etl.report") / "assets"
    template, style, script = ((assets / f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    scripts = [plotly_script(), script]
    hashes = (f"'sha256-{b64encode(sha256(each.encode()).digest()).decode()}'" for each in scripts)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        policy=POLICY.format(" ".join(hashes)),
        style=Markup(style),  # noqa: S704 - our own
        scripts=[Markup(each) for each in scripts],  # noqa: S704 - our own and plotly's
        charts=Markup(script_safe(charts(sheet))),  # noqa: S704 - made safe
        parts=[_shown(part, sheet) for part in sheet.parts],
        title=_title([part.name for part in sheet.parts]),
        everybody=EVERYBODY,
        every=sheet.asked.every.value,
        zone=zone_name(sheet.asked.zone),
        made_at=instant(sheet.now.replace(microsecond=0), sheet.asked.zone),
        partial=sheet.partial,
        voided=sheet.voided,
        months=MONTHS,
        columns=COLUMNS_SHOWN,
    )


def plotly_script() -> str:
    """plotly.min.js, as its package brings it; the package itself, which is large, is not imported."""
    found = find_spec("plotly")
    places = found.submodule_search_locations if found else None
    if not places:
        raise ModuleNotFoundError("plotly", name="plotly")
    return (Path(places[0]) / "package_data" / "plotly.min.js").read_text("utf-8")


def zone_name(zone: tzinfo) -> str:
    """As the user wrote it."""
    return "UTC" if zone is UTC else str(zone)


def instant(at: datetime, zone: tzinfo) -> str:
    """``2026-12-31 23:55:00 UTC``, or with the offset of the zone."""
    return at.astimezone(zone).isoformat(sep=" ").replace("+00:00", " UTC")


def grouped(text: str) -> str:
    """``1,234,567.89``."""
    whole, dot, rest = text.partition(".")
    return _THOUSANDS.sub(",", whole) + dot + rest


def _cell(value: Decimal | None, shown: str, *, is_change: bool = False) -> Cell:
    exact = "" if value is None else str(plain(value))
    return Cell(grouped(shown), "" if exact == shown.removeprefix("+") else exact, _sign(value) if is_change else "")


def _sign(value: Decimal | None) -> str:
    return "" if value is None or value.is_zero() else "up" if value > 0 else "down"


def _title(names: Sequence[str]) -> str:
    match len(names):
        case 0:
            return "Equity"
        case 1:
            return f"Equity of {names[0]}"
        case number:
            return f"Equity of {number - 1} accounts"


def _shown(part: Part, sheet: Sheet) -> dict[str, Any]:
    closed = [row for row in part.rows if row["close_usdt"] is not None]
    return {
        "name": part.name,
        "figures": _figures(part, closed, sheet),
        "bucket": _width(part.curve.bucket_width.total_seconds()) if part.curve.is_reduced else "",
        "has_closes": bool(closed),
        "has_changes": any(row["change_usdt"] is not None for row in part.rows),
        "has_wallets": any(part.wallets),
        "has_coverage": any(row["expected"] for row in part.days),
        "years": _years(part.months),
        "tables": _tables(part),
        "is_folded": len(part.rows) > MANY_PERIODS,
    }


def _figures(part: Part, closed: Sequence[Row], sheet: Sheet) -> list[Figure]:
    """The headlines."""
    curve, zone = part.curve, sheet.asked.zone
    last, began = curve.last, curve.began
    found: list[Figure] = []
    if last is not None and began is not None:
        found.append(_amount("Last close", last.amount, "at " + instant(last.slot_at, zone)))
        change = EXACT.subtract(last.amount, began.amount)
        share = percent(last.amount, began.amount)
        about = f"{signed(change)} USDT since {instant(began.slot_at, zone)}"
        if curve.has_changed_hands:
            about += ", from when on the accounts are the same"
        text, unit = (signed(change), "USDT") if share is None else (signed(share), "%")
        exact = str(plain(change if share is None else share))
        found.append(Figure("Change", grouped(text), exact, grouped_words(about), _sign(change), unit))
    fallen = [row for row in closed if row["drawdown_pct"] is not None]
    if fallen:
        deepest = min(fallen, key=lambda row: row["drawdown_pct"] or 0)
        found.append(_share("Deepest drawdown", deepest["drawdown_pct"], f"at the close of {deepest['period']}"))
    changed = [row for row in closed if row["change_pct"] is not None]
    if len(changed) > 1:
        for label, choose in (("Best", max), ("Worst", min)):
            row = choose(changed, key=lambda row: row["change_pct"] or 0)
            found.append(_share(f"{label} {sheet.asked.every.value}", row["change_pct"], row["period"]))
    due = sum(row["expected"] for row in part.rows)
    if due:
        there = due - curve.missed
        about = f"{there:,} of {due:,} expected snapshots"
        found.append(Figure("Coverage", f"{there * 10_000 // due / 100:.2f}", about=about, unit="%"))
        stretches = f"in {curve.gaps:,} stretch{'es' * (curve.gaps != 1)}" if curve.missed else "none"
        found.append(Figure("Missing", f"{curve.missed:,}", about=f"expected snapshots, {stretches}"))
    return found


def grouped_words(text: str) -> str:
    """A sentence with one amount at its beginning."""
    amount, space, rest = text.partition(" ")
    return grouped(amount) + space + rest


def _amount(label: str, value: Decimal, about: str) -> Figure:
    return Figure(label, grouped(rounded(value)), str(plain(value)), about, unit="USDT")


def _share(label: str, value: Decimal | None, about: str) -> Figure:
    return Figure(label, signed(value), str(plain(value)), about, _sign(value), "%")


def _years(months: Sequence[Row]) -> list[tuple[str, list[dict[str, Any] | None]]]:
    """Of each year twelve months, None for those that are not in the history."""
    found: dict[str, list[dict[str, Any] | None]] = {}
    for row in months:
        year, _, month = row["period"].partition("-")
        found.setdefault(year, [None] * 12)[int(month) - 1] = {
            "change": _cell(row["change_pct"], signed(row["change_pct"]), is_change=True),
            "amount": _cell(row["change_usdt"], signed(row["change_usdt"]), is_change=True),
            "close": _cell(row["close_usdt"], rounded(row["close_usdt"])),
            "coverage": coverage_text(row),
            "is_missing": row["close_usdt"] is None,
        }
    return list(found.items())


def _tables(part: Part) -> list[tuple[str, list[tuple[str, list[Cell]]]]]:
    """The periods of the totals, then those of each wallet that were asked for."""
    found: dict[str, list[tuple[str, list[Cell]]]] = {}
    for row in (*part.rows, *part.by_type):
        found.setdefault(row["account_type"] or "", []).append((row["period"], _cells(row)))
    return list(found.items())


def _cells(row: Row) -> list[Cell]:
    close = row["close_usdt"]
    return [
        *(_cell(row[name], rounded(row[name])) for name in ("open_usdt", "high_usdt", "low_usdt")),
        Cell("missing", sign="missing") if close is None else _cell(close, rounded(close)),
        _cell(row["change_usdt"], signed(row["change_usdt"]), is_change=True),
        _cell(row["change_pct"], signed(row["change_pct"]), is_change=True),
        _cell(row["drawdown_pct"], rounded(row["drawdown_pct"])),
        Cell(coverage_text(row), covered_text(row)),
    ]


def _width(seconds: float) -> str:
    """Of a bucket, in words."""
    for name, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {name}{'s' * (seconds != size)}"
    return f"{seconds:g} seconds"
