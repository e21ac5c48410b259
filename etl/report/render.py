"""Rows as a table, JSON or CSV: the same columns and the same values in each."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

from etl.grid import instant_text, slot_text
from etl.transfer.portable import safe_cell

FORMATS = ("table", "json", "csv")
# Wide enough for any row: a figure that is cut looks like another one, so a narrow terminal wraps lines itself.
WIDTH = 10_000


def render(rows: Sequence[Mapping[str, object]], columns: Sequence[str], form: str, *, terminal: bool = False) -> str:
    """The rows in one of :data:`FORMATS`, with a newline at the end; a table or CSV without rows has its header.

    In CSV, a name that a spreadsheet would take for a formula has an apostrophe before it, as in an export.
    """
    if form == "json":
        return json.dumps([{name: plain(row[name]) for name in columns} for row in rows], indent=1) + "\n"
    if form == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(
            [columns, *([_cell(row[name]) for name in columns] for row in rows)]
        )
        return out.getvalue()
    texts = [[_short(row[name]) for name in columns] for row in rows]
    return table(texts, columns, [_is_number(rows, name) for name in columns], terminal=terminal)


def table(rows: Sequence[Sequence[str]], columns: Sequence[str], numbers: Sequence[bool], *, terminal: bool) -> str:
    """Cells under bold names where a terminal shows them; ``numbers`` tells which columns stand to the right."""
    from rich.console import Console  # noqa: PLC0415 - only what draws imports it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, number in zip(columns, numbers, strict=True):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out = io.StringIO()
    Console(file=out, width=WIDTH, force_terminal=terminal).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _is_number(rows: Sequence[Mapping[str, object]], name: str) -> bool:
    return any(isinstance(row[name], int | float | Decimal) for row in rows)


def _short(value: object) -> str:
    """For people: a ratio to four digits. Amounts are no floats, and keep all of theirs."""
    return f"{value:.4f}".rstrip("0").removesuffix(".") if isinstance(value, float) else _text(value)


def _cell(value: object) -> str:
    return safe_cell(value) if isinstance(value, str) else _text(value)


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case Decimal():
            return format(value, "f")
        case float():
            # A REAL of a view: a double has no more than 15 decimal digits of its own.
            return format(Decimal(repr(value)), "f")
        case datetime():
            return slot_text(value) if not value.microsecond else instant_text(value)
        case date():
            return value.isoformat()
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def plain(value: object) -> object:
    """For JSON: amounts as text, because a reader's numbers are doubles; ratios as numbers; times and days as text."""
    return value if value is None or isinstance(value, bool | int | float | str) else _text(value)
