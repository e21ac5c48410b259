"""Equity over time as people read it: a table for each account, of what fits beside each other, in rounded figures."""

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from itertools import groupby
from typing import NamedTuple

from etl.report.curve import curve
from etl.report.equity import Row
from etl.report.render import table

# Below this many columns, lines are left to the terminal to wrap.
NARROWEST = 40
_BETWEEN = 2
_CENT = Decimal("0.01")
_ROUNDING = Context(prec=5000, rounding=ROUND_HALF_EVEN)


class Drawn(NamedTuple):
    """The text; the names of columns that did not fit; whether a figure has more digits than are shown."""

    text: str
    left_out: list[str]
    is_rounded: bool


def draw(rows: Sequence[Row], *, width: int | None = None, is_terminal: bool = False, blocks: bool = False) -> Drawn:
    """A table for each account or wallet under its name. With a ``width``, the columns that fit into it.

    ``blocks`` draws a curve of the closes beside each name. A period without a close is called missing.
    """
    parts = [(key, list(part)) for key, part in groupby(rows, key=lambda row: (row["account"], row["account_type"]))]
    cells = {name: [cell(row) for row in rows] for name, cell in _COLUMNS.items()}
    widths = {name: max(len(name), *map(len, texts)) if texts else len(name) for name, texts in cells.items()}
    shown = _that_fit(widths, width)
    numbers = [name != "period" for name in shown]
    texts: list[str] = []
    begin = 0
    for (account, account_type), part in parts:
        heading = account if account_type is None else f"{account}, {account_type}"
        line = curve([row["close_usdt"] for row in part], (width or 80) - len(heading) - 2) if blocks else ""
        end = begin + len(part)
        body = [[cells[name][n] for name in shown] for n in range(begin, end)]
        texts.append(f"{heading}  {line}".rstrip() + "\n" + table(body, shown, numbers, terminal=is_terminal))
        begin = end
    return Drawn("\n".join(texts), [name for name in _COLUMNS if name not in shown], any(map(_is_rounded, rows)))


def _that_fit(widths: dict[str, int], width: int | None) -> list[str]:
    shown = list(widths)
    for name in _DISPENSABLE:
        if width is None or sum(widths[each] + _BETWEEN for each in shown) - _BETWEEN <= max(width, NARROWEST):
            break
        shown.remove(name)
    return shown


def rounded(value: Decimal | None) -> str:
    """To two decimals, half to even; nothing where there is no amount."""
    if value is None:
        return ""
    cents = value.quantize(_CENT, context=_ROUNDING)
    return format(cents.copy_abs() if cents.is_zero() else cents, "f")


def signed(value: Decimal | None) -> str:
    """The same with a sign where it is above zero."""
    text = rounded(value)
    return f"+{text}" if value is not None and value > 0 else text


def _close(row: Row) -> str:
    return "missing" if row["close_usdt"] is None else rounded(row["close_usdt"])


def coverage_text(row: Row) -> str:
    """Rounded down: 100% means all."""
    return f"{_covered(row) * 100 // row['expected']}%" if row["expected"] else ""


def covered_text(row: Row) -> str:
    """Of the expected snapshots, how many there are."""
    return f"{_covered(row)} of {row['expected']}" if row["expected"] else ""


def _covered(row: Row) -> int:
    return round((row["coverage"] or 0) * row["expected"])


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "period": lambda row: row["period"],
    "open": lambda row: rounded(row["open_usdt"]),
    "high": lambda row: rounded(row["high_usdt"]),
    "low": lambda row: rounded(row["low_usdt"]),
    "close": _close,
    "change": lambda row: signed(row["change_usdt"]),
    "change %": lambda row: signed(row["change_pct"]),
    "drawdown %": lambda row: rounded(row["drawdown_pct"]),
    "coverage": coverage_text,
}
# What a narrow terminal does without, in this order.
_DISPENSABLE = ("open", "low", "high", "drawdown %", "change %")


def _is_rounded(row: Row) -> bool:
    amounts = (row["open_usdt"], row["high_usdt"], row["low_usdt"], row["close_usdt"], row["change_usdt"])
    return any(amount is not None and amount != amount.quantize(_CENT, context=_ROUNDING) for amount in amounts)
