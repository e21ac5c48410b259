"""What a value looks like in the database, on SQLite and on PostgreSQL, so that both give back what was put in.

SQLite has neither times nor decimals: both are kept as text there, times in the fixed-width UTC forms of
:mod:`etl.grid`, so that text compares like time, amounts in their canonical digits. SQLAlchemy's own Numeric would
pass them through a float there and store 99999.99999999999999 as 100000.
"""

import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import TIMESTAMP, Date, Dialect, Numeric, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from etl.db.faults import CORRUPT
from etl.errors import DatabaseUnavailable, RecordRefused

LONGEST_AMOUNT = 1000
"""Digits of an amount. PostgreSQL would take 131,072; a line of that length is no balance."""

EVERYDAY_AMOUNT = 100
"""An amount with fewer digits needs no closer look."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def checked_text(value: str) -> str:
    """The text itself; RecordRefused where a database would refuse it or cut it off: NUL, lone surrogates."""
    if (not value.isascii() or "\0" in value) and _UNSTORABLE.search(value):
        raise RecordRefused("a text has a NUL or a lone surrogate in it")
    return value


def checked_amount(value: Decimal) -> Decimal:
    """The amount, scale kept, -0 as 0. RecordRefused where it is no Decimal, not finite or absurdly long."""
    if not isinstance(value, Decimal):
        raise RecordRefused(f"an amount is a Decimal, not {type(value).__name__}")
    if not value.is_finite():
        raise RecordRefused("an amount is a finite number")
    if abs(value.adjusted()) > LONGEST_AMOUNT or len(str(value)) > LONGEST_AMOUNT:
        raise RecordRefused(f"an amount has more than {LONGEST_AMOUNT} digits")
    # copy_abs, for abs() would round to the context's precision
    return value.copy_abs() if value.is_zero() else value


def amount_text(value: Decimal) -> str:
    """The canonical digits of an amount: no exponent, the scale kept, ``0`` without a sign."""
    if type(value) is Decimal and value.is_finite() and abs(value.adjusted()) < EVERYDAY_AMOUNT:
        text = format(value, "f")
        if len(text) < EVERYDAY_AMOUNT and (value or text[0] != "-"):
            return text
    return format(checked_amount(value), "f")


def checked_time(value: datetime) -> datetime:
    """The time in UTC, in whole milliseconds, rounded down; RecordRefused without a time zone."""
    utc = in_utc(value)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def in_utc(value: datetime) -> datetime:
    """The time in UTC; RecordRefused without a time zone."""
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        raise RecordRefused("a time has no time zone")
    return value.astimezone(UTC)


def damaged() -> DatabaseUnavailable:
    """The error for a value that nobody can have stored, though SQLite has found nothing wrong with its page."""
    return DatabaseUnavailable(f"the database {CORRUPT}")


class Words(TypeDecorator[str]):
    """TEXT that both databases store: no NUL, no lone surrogate."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """RecordRefused for what cannot be stored."""
        return None if value is None else checked_text(value)


class Instant(TypeDecorator[datetime]):
    """A time in milliseconds: timestamptz, or ``2026-11-22T15:20:01.250Z`` on SQLite. Aware UTC in and out."""

    impl = TIMESTAMP
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """TEXT where there is no type for a time."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """RecordRefused without a time zone."""
        if value is None:
            return None
        return self.text(value) if dialect.name == "sqlite" else checked_time(value)

    def process_result_value(self, value: datetime | str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The time in UTC, whatever zone the connection shows it in."""
        if value is None:
            return None
        try:
            found = datetime.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            raise damaged() from None
        return found if found.tzinfo is UTC else found.astimezone(UTC)

    def text(self, value: datetime) -> str:
        """The form on SQLite, that of :func:`etl.grid.instant_text`, several times faster."""
        return in_utc(value).isoformat(timespec="milliseconds")[:-6] + "Z"


class Slot(Instant):
    """A time in whole seconds: timestamptz, or ``2026-11-22T15:20:00Z`` on SQLite. Aware UTC in and out."""

    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """RecordRefused without a time zone, or where the time is none of a grid of seconds."""
        if value is not None and value.microsecond:
            raise RecordRefused("a slot is a whole second")
        return super().process_bind_param(value, dialect)

    def text(self, value: datetime) -> str:
        """The form on SQLite, that of :func:`etl.grid.slot_text`."""
        return in_utc(value).isoformat(timespec="seconds")[:-6] + "Z"


class Day(TypeDecorator[date]):
    """A day: date, or ``2026-11-22`` on SQLite."""

    impl = Date
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """TEXT on SQLite, where views return nothing else."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Date())

    def process_bind_param(self, value: date | None, dialect: Dialect) -> date | str | None:
        """The day as the database compares it."""
        return value.isoformat() if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: date | str | None, dialect: Dialect) -> date | None:  # noqa: ARG002
        """The day."""
        try:
            return date.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            raise damaged() from None


class Amount(TypeDecorator[Decimal]):
    """An exact amount: NUMERIC without a precision (which would round), or its canonical digits as TEXT on SQLite."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """TEXT where numbers are floats."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | str | None:
        """RecordRefused for what is no exact, finite amount."""
        if value is None:
            return None
        return amount_text(value) if dialect.name == "sqlite" else checked_amount(value)

    def process_result_value(self, value: Decimal | str | None, dialect: Dialect) -> Decimal | None:  # noqa: ARG002
        """The amount with the digits that were stored."""
        try:
            return Decimal(value) if isinstance(value, str) else value
        except InvalidOperation:
            raise damaged() from None
