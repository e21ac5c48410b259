"""What cannot be stored exactly is refused; what is stored comes back as it was, on both."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Dialect
from sqlalchemy.engine.default import DefaultDialect

from etl.db.types import Amount, Day, Instant, Slot, Words, amount_text
from etl.errors import DatabaseUnavailable, RecordRefused
from etl.grid import instant_text, slot_text

SQLITE: Dialect = DefaultDialect()
SQLITE.name = "sqlite"
POSTGRESQL: Dialect = DefaultDialect()
POSTGRESQL.name = "postgresql"
BOTH = [SQLITE, POSTGRESQL]
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))])
years = st.datetimes(datetime(1000, 1, 1), datetime(9999, 1, 1), timezones=ZONES)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("100.00", "100.00"),
        ("0.00000000", "0.00000000"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("1E+3", "1000"),
        ("1.50e-7", "0.000000150"),
        ("-12.5", "-12.5"),
        ("99999.99999999999999", "99999.99999999999999"),
    ],
)
def test_an_amount_keeps_its_digits_and_scale(amount: str, text: str) -> None:
    assert amount_text(Decimal(amount)) == text


@pytest.mark.parametrize("dialect", BOTH)
@pytest.mark.parametrize(
    "amount",
    [
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        1.5,
        1,
        "1",
        Decimal("1e1001"),
        Decimal("1e-1001"),
        Decimal("1" * 1001),
    ],
)
def test_what_is_no_exact_finite_amount_is_refused(dialect: Dialect, amount: Decimal) -> None:
    with pytest.raises(RecordRefused):
        Amount().process_bind_param(amount, dialect)


@given(years)
def test_times_are_text_of_the_contracts_form_on_sqlite(time: datetime) -> None:
    assert Instant().process_bind_param(time, SQLITE) == instant_text(time)
    whole = time.replace(microsecond=0)
    assert Slot().process_bind_param(whole, SQLITE) == slot_text(whole)


@given(years)
def test_times_come_back_in_utc_and_in_milliseconds(time: datetime) -> None:
    cut = time - timedelta(microseconds=time.microsecond % 1000)
    for dialect in (SQLITE, POSTGRESQL):
        back = Instant().process_result_value(Instant().process_bind_param(time, dialect), dialect)
        assert back is not None
        assert (back, back.tzinfo) == (cut, UTC)


@given(years, years)
def test_text_compares_like_time(one: datetime, other: datetime) -> None:
    a, b = (str(Instant().process_bind_param(time, SQLITE)) for time in (one, other))
    c, d = (Instant().process_bind_param(time, POSTGRESQL) for time in (one, other))
    assert (a < b) == (c < d)  # type: ignore[operator]


@pytest.mark.parametrize("dialect", BOTH)
def test_a_time_without_a_zone_and_a_slot_between_seconds_are_refused(dialect: Dialect) -> None:
    with pytest.raises(RecordRefused):
        Instant().process_bind_param(datetime(2026, 1, 1), dialect)  # noqa: DTZ001
    with pytest.raises(RecordRefused):
        Slot().process_bind_param(datetime(2026, 1, 1, microsecond=1, tzinfo=UTC), dialect)


def test_a_driver_that_answers_in_another_zone_is_understood() -> None:
    berlin = timezone(timedelta(hours=1))
    back = Slot().process_result_value(datetime(2026, 1, 1, 1, tzinfo=berlin), POSTGRESQL)
    assert (back, back and back.tzinfo) == (datetime(2026, 1, 1, tzinfo=UTC), UTC)


@pytest.mark.parametrize("dialect", BOTH)
def test_nothing_stays_nothing_and_a_day_a_day(dialect: Dialect) -> None:
    for kind in (Words(), Instant(), Slot(), Amount(), Day()):
        assert kind.process_bind_param(None, dialect) is None
    for of_results in (Instant(), Slot(), Amount(), Day()):
        assert of_results.process_result_value(None, dialect) is None
    assert Day().process_result_value(Day().process_bind_param(date(2026, 1, 2), dialect), dialect) == date(2026, 1, 2)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_unicode_text_is_taken(text: str) -> None:
    assert Words().process_bind_param(text, SQLITE) == text


@pytest.mark.parametrize("text", ["\0", "a\0", "\ud800", "ä\udfff"])
def test_text_that_one_of_the_two_would_not_keep_is_refused_by_both(text: str) -> None:
    with pytest.raises(RecordRefused):
        Words().process_bind_param(text, SQLITE)


@pytest.mark.parametrize("kind", [Instant(), Slot(), Day(), Amount()])
def test_what_nobody_can_have_stored_is_damage_and_no_bug(kind: Instant | Day | Amount) -> None:
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        kind.process_result_value("gar\x01bage", SQLITE)
