"""The rows of ``daily_equity`` with exact amounts, which the view itself cannot give on SQLite."""

from datetime import date, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from itertools import pairwise
from typing import Any, Final, TypedDict, cast

from sqlalchemy import CTE, ColumnElement, Connection, ScalarSelect, Select, String, func, select

from etl.db.types import LONGEST_AMOUNT
from etl.db.views import daily_equity, equity
from etl.model import Status


class Daily(TypedDict):
    """A day of an account, in UTC: midnight, exclusive, to the next one, inclusive. Amounts are in USDT and exact.

    What rests on no snapshot is None, as are ``change_usdt`` where the day before has no close and ``coverage`` where
    nothing was expected.
    """

    account: str
    day: date
    open_usdt: Decimal | None
    high_usdt: Decimal | None
    low_usdt: Decimal | None
    close_usdt: Decimal | None
    close_at: datetime | None
    change_usdt: Decimal | None
    snapshots: int
    expected: int
    coverage: float | None


# Wide enough for the difference of any two amounts, and never rounding silently.
_EXACT: Final = Context(prec=4 * LONGEST_AMOUNT, traps=[Inexact, InvalidOperation, Overflow])


def daily_rows(connection: Connection, name: str | None, since: date | None, until: date | None) -> list[Daily]:
    """The days from ``since`` to ``until``, both inclusive, by account and day."""
    c = daily_equity.c
    days: Select[Any] = select(daily_equity)
    if name is not None:
        days = days.where(c.account == name)
    if since is not None and since > date.min:
        # A day more, for the close that the first change is measured from.
        days = days.where(c.day >= since - timedelta(days=1))
    if until is not None:
        days = days.where(c.day <= until)
    if connection.dialect.name == "sqlite":
        rows = [_exact(cast("Daily", dict(row))) for row in connection.execute(_with_text(days)).mappings()]
    else:
        rows = [cast("Daily", dict(row)) for row in connection.execute(days.order_by(c.account, c.day)).mappings()]
    _set_changes(rows)
    return [row for row in rows if since is None or row["day"] >= since]


def _with_text(days: Select[Any]) -> Select[Any]:
    """The same with the texts of the amounts: of the highest and lowest all that are the same as floats."""
    d = days.cte("d").prefix_with("MATERIALIZED")  # or the view's figures would be worked out once per snapshot
    e = equity.c
    return select(
        d.c.account,
        d.c.day,
        _of_day(d, e.total_usdt_exact).order_by(e.slot_at).limit(1).scalar_subquery().label("open_usdt"),
        _all_texts(d, d.c.high_usdt).label("high_usdt"),
        _all_texts(d, d.c.low_usdt).label("low_usdt"),
        _of_day(d, e.total_usdt_exact).where(e.slot_at == d.c.close_at).scalar_subquery().label("close_usdt"),
        d.c.close_at,
        d.c.change_usdt,
        d.c.snapshots,
        d.c.expected,
        d.c.coverage,
    ).order_by(d.c.account, d.c.day)


def _of_day(d: CTE, what: ColumnElement[Any]) -> Select[Any]:
    e = equity.c
    begins = func.strftime("%Y-%m-%dT00:00:00Z", d.c.day, type_=String)
    ends = func.strftime("%Y-%m-%dT00:00:00Z", d.c.day, "+1 day", type_=String)
    is_of_day = (e.account == d.c.account) & (e.slot_at > begins) & (e.slot_at <= ends)
    return select(what).where(is_of_day, e.status == Status.COMPLETE).correlate(d)


def _all_texts(d: CTE, extreme: ColumnElement[Any]) -> ScalarSelect[Any]:
    texts = func.group_concat(equity.c.total_usdt_exact.distinct(), type_=String)
    return _of_day(d, texts).where(equity.c.total_usdt == extreme).scalar_subquery()


def _exact(row: Daily) -> Daily:
    """Among amounts that are the same as floats, the one that is highest, or lowest."""
    high, low = str(row["high_usdt"] or ""), str(row["low_usdt"] or "")
    row["high_usdt"] = max(map(Decimal, high.split(",")), default=None) if high else None
    row["low_usdt"] = min(map(Decimal, low.split(",")), default=None) if low else None
    return row


def _set_changes(rows: list[Daily]) -> None:
    for before, row in pairwise(rows):
        old, new = before["close_usdt"], row["close_usdt"]
        if before["account"] != row["account"] or old is None or new is None:
            row["change_usdt"] = None
        else:
            row["change_usdt"] = _EXACT.subtract(new, old)
    if rows:
        rows[0]["change_usdt"] = None
