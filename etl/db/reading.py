"""Rows of accounts and schedules as values: what the store and the history both ask for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, bindparam, select, true

from etl.db.bulk import chunks
from etl.db.schema import account, schedule
from etl.model import Environment, Schedule, StoredAccount

# When a history was begun: its first account goes along with every backup, dump and copy of it, and with nothing else.
BEGUN_AT = select(account.c.created_at).order_by(account.c.id).limit(1)
_IS_NAMED = account.c.name.in_(bindparam("names", expanding=True))
_WITH_SCHEDULES = (
    select(account, schedule.c.interval_seconds, schedule.c.valid_from, schedule.c.valid_to)
    .join_from(account, schedule, isouter=True)
    .order_by(account.c.id, schedule.c.valid_from)
)


def accounts_named(connection: Connection, names: Iterable[str], *, lock: bool = False) -> dict[str, StoredAccount]:
    """The accounts of these names, for those that are known; locked until the transaction ends where that is asked."""
    return _accounts(connection, _IS_NAMED, {"names": list(names)}, lock=lock)


def all_accounts(connection: Connection) -> dict[str, StoredAccount]:
    """Every account by its name, in order of names."""
    return dict(sorted(_accounts(connection, true(), {}, lock=False).items()))


def schedules_of(connection: Connection, account_ids: Iterable[int]) -> Mapping[int, dict[datetime, Schedule]]:
    """By account and beginning, in order of time."""
    found: dict[int, dict[datetime, Schedule]] = defaultdict(dict)
    columns = select(schedule).order_by(schedule.c.account_id, schedule.c.valid_from)
    for ids in chunks(account_ids):
        for row in connection.execute(columns.where(schedule.c.account_id.in_(ids))):
            found[row.account_id][row.valid_from] = Schedule(row.interval_seconds, row.valid_from, row.valid_to)
    return found


def _accounts(
    connection: Connection, wanted: ColumnElement[bool], given: Mapping[str, object], *, lock: bool
) -> dict[str, StoredAccount]:
    if lock:
        # Before their schedules are looked at: whoever held the lock may have changed them.
        rows = select(account.c.id).where(wanted).order_by(account.c.id).with_for_update(key_share=True)
        connection.execute(rows, given)
    found: dict[str, StoredAccount] = {}
    for row in connection.execute(_WITH_SCHEDULES.where(wanted), given):
        known = found.get(row.name)
        schedules = known.schedules if known else ()
        if row.interval_seconds is not None:
            schedules = (*schedules, Schedule(row.interval_seconds, row.valid_from, row.valid_to))
        found[row.name] = StoredAccount(
            id=row.id,
            name=row.name,
            uid=row.uid,
            environment=Environment(row.environment),
            created_at=row.created_at,
            retired_at=row.retired_at,
            schedules=schedules,
        )
    return found
