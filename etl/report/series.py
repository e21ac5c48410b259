"""One line of figures: amounts in order of time in, the figures of each period out."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from fractions import Fraction
from typing import Final

from etl.report.periods import Period

PERCENT_PLACES: Final = 4
"""Decimals of a percentage. It is rounded half to even, from the exact quotient."""

# Wide enough for a sum or difference of any amounts that a database takes, and never rounding silently.
EXACT: Final = Context(prec=5000, traps=[Inexact, InvalidOperation, Overflow])


@dataclass(slots=True)
class Figures:
    """What a period has seen. ``who`` are the accounts that its amounts are made of.

    ``covered`` counts the snapshots that were expected, ``snapshots`` all. ``peak`` is the highest amount of the same
    accounts so far, in this period or any before it.
    """

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    close_at: datetime
    snapshots: int
    covered: int
    peak: Decimal
    who: Collection[int]


class Series:
    """Collects the amounts of one account, one wallet, or all accounts together.

    Only amounts of the same accounts are compared: where others come in or leave, figures begin anew.
    """

    def __init__(self, periods: Sequence[Period], ends: Sequence[datetime]) -> None:
        """``ends`` are those of the periods."""
        self._periods = periods
        self._ends = ends
        self._until: datetime | None = None
        self._now: Figures | None = None
        self.figures: dict[int, Figures] = {}
        """By the number of the period; one without a snapshot has none."""

    def add(self, slot_at: datetime, amount: Decimal, who: Collection[int], *, is_due: bool) -> None:
        """The next amount, in order of time, and whether it was expected. After the last period it is left out."""
        now = self._now
        if self._until is None or now is None or slot_at > self._until:
            number = bisect_left(self._ends, slot_at)
            if number == len(self._ends):
                return
            peak = amount if now is None or now.who != who or amount > now.peak else now.peak
            self._until = self._ends[number]
            self._now = self.figures[number] = Figures(amount, amount, amount, amount, slot_at, 1, is_due, peak, who)
            return
        now.snapshots += 1
        now.covered += is_due
        now.close = amount
        now.close_at = slot_at
        if now.who is not who and now.who != who:
            now.open = now.high = now.low = now.peak = amount
            now.who = who
        elif amount > now.high:
            now.high = amount
            now.peak = max(now.peak, amount)
        elif amount < now.low:
            now.low = amount


def change(figures: Mapping[int, Figures], number: int) -> tuple[Decimal | None, Decimal | None]:
    """From the close of the period before to the close of this one, and the same in percent.

    None where either has no close, or they are made of different accounts; no percentage of what is not above zero.
    """
    before, now = figures.get(number - 1), figures.get(number)
    if before is None or now is None or before.who != now.who:
        return None, None
    return EXACT.subtract(now.close, before.close), percent(now.close, before.close)


def percent(new: Decimal, base: Decimal) -> Decimal | None:
    """By how many percent ``new`` is above ``base``. None where that is zero or less: it would say nothing."""
    if base <= 0:
        return None
    share = (Fraction(new) - Fraction(base)) / Fraction(base) * 100
    return Decimal(round(share * 10**PERCENT_PLACES)).scaleb(-PERCENT_PLACES, EXACT)
