"""All that a page about equity shows, of each account: periods, days, months, curve and wallets, from one reading."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Final, NamedTuple, Protocol, TypeAlias

from etl.report.equity import EVERYBODY, Question, Row, Source, report, reports
from etl.report.expected import Known
from etl.report.periods import Every
from etl.report.points import MOST_POINTS, Curve
from etl.report.series import EXACT

MOST_POINTS_OF_ALL: Final = 100_000
"""All curves together have about so many points, as long as each gets :data:`FEWEST_POINTS`."""

FEWEST_POINTS: Final = 400

Wallets: TypeAlias = Mapping[str, Decimal]
"""Amounts by account type."""


class SheetSource(Source, Protocol):
    """Where the history is, its wallets too."""

    def wallets(self, account_id: int, slots: Sequence[datetime]) -> Iterator[tuple[datetime, Wallets]]:
        """The wallets of an account in these slots, where it has a usable snapshot with wallets there."""


class Part(NamedTuple):
    """One account, or all together.

    ``rows`` are of the periods that were asked for, ``wallets`` those at the close of each of them: None where they are
    not known, or do not add up to it. ``by_type`` are the periods of each wallet, where those were asked for.
    """

    name: str
    rows: list[Row]
    days: list[Row]
    months: list[Row]
    curve: Curve
    wallets: list[Wallets | None]
    by_type: list[Row]


class Sheet(NamedTuple):
    """The parts by name, all together last; how many snapshots took no part."""

    asked: Question
    now: datetime
    parts: list[Part]
    partial: int
    voided: int


def sheet(
    source: SheetSource, asked: Question, now: datetime, progress: Callable[[float], None] = lambda _: None
) -> Sheet:
    """The answer to a question, to be looked at. ``progress`` is told the share that is read, from 0 to 1."""
    accounts = source.accounts(asked.account)
    everies = list(dict.fromkeys((asked.every, Every.DAY, Every.MONTH)))
    points = max(FEWEST_POINTS, min(MOST_POINTS, MOST_POINTS_OF_ALL // max(1, len(accounts))))
    readings = 2 if asked.by_type else 1
    totals = replace(asked, by_type=False)
    found = reports(source, totals, everies, now, lambda share: progress(share / readings), points=points)
    typed = report(source, asked, now, lambda share: progress((1 + share) / 2)).rows if asked.by_type else []
    rows = {every: _by_account(each.rows) for every, each in zip(everies, found, strict=True)}
    wallets = _wallets(source, accounts, rows[asked.every])
    of_types = _by_account(typed)
    parts = [
        Part(
            name,
            own,
            rows[Every.DAY].get(name, []),
            rows[Every.MONTH].get(name, []),
            found[0].curves[name],
            wallets[name],
            of_types.get(name, []),
        )
        for name, own in rows[asked.every].items()
    ]
    return Sheet(asked, now, parts, found[0].partial, found[0].voided)


def _by_account(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["account"], []).append(row)
    return found


def _wallets(
    source: SheetSource, accounts: Sequence[Known], rows: Mapping[str, Sequence[Row]]
) -> dict[str, list[Wallets | None]]:
    """Those at the closes, looked up in their slots alone: to read all of the history's would take very long."""
    closes = {name: {row["close_at"] for row in own if row["close_at"]} for name, own in rows.items()}
    of_all = closes.get(EVERYBODY, set())
    together: defaultdict[datetime, dict[str, Decimal]] = defaultdict(dict)
    there: dict[str, dict[datetime, Wallets]] = {}
    for known in accounts:
        if known.name not in closes:
            continue
        own = there[known.name] = dict(source.wallets(known.id, sorted(closes[known.name] | of_all)))
        for slot_at in of_all & own.keys():
            sums = together[slot_at]
            for account_type, amount in own[slot_at].items():
                sums[account_type] = EXACT.add(sums.get(account_type, Decimal(0)), amount)
    there[EVERYBODY] = dict(together)
    return {
        name: [_that_add_up(there.get(name, {}).get(row["close_at"]) if row["close_at"] else None, row) for row in own]
        for name, own in rows.items()
    }


def _that_add_up(wallets: Wallets | None, row: Row) -> Wallets | None:
    """What was recorded or voided since the totals were read, or imported without all wallets, is not shown."""
    if not wallets or reduce(EXACT.add, wallets.values()) != row["close_usdt"]:
        return None
    return wallets
