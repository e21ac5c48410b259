"""What a person changes about accounts."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select

from etl.db.accounts import Accounts
from etl.db.history import History
from etl.db.reading import BEGUN_AT, all_accounts
from etl.db.schema import annotation
from etl.db.wallets import complete_wallets
from etl.errors import NoSuchAccount, SettingsError
from etl.model import Schedule, StoredAccount
from tests.db.recorded import START, Recorded, at


@pytest.fixture
def recorded(database_url: str) -> Recorded:
    return Recorded(database_url)


@pytest.fixture
def accounts(recorded: Recorded) -> Accounts:
    return Accounts(recorded.database, lambda: START)


def stored(recorded: Recorded, name: str = "main") -> StoredAccount:
    with recorded.database.read() as connection:
        return all_accounts(connection)[name]


def test_nobody_knows_a_name_that_is_not_there(accounts: Accounts) -> None:
    with pytest.raises(NoSuchAccount, match="account list"):
        accounts.rename("other", "new")
    with pytest.raises(NoSuchAccount):
        accounts.retire("other", START)
    with pytest.raises(NoSuchAccount):
        accounts.accept("other", "spot")


def test_a_new_name_keeps_the_history(recorded: Recorded, accounts: Accounts) -> None:
    recorded.account("main")
    recorded.snapshot("01-01 00:00", "5")
    accounts.rename("main", "savings")
    [latest] = History(recorded.database).latest()
    assert (latest["account"], latest["total_usdt"]) == ("savings", Decimal(5))


@pytest.mark.parametrize("name", ["other", "", "../x", "a b", "x" * 65, "a\0"])
def test_a_name_in_use_or_out_of_shape_is_refused(recorded: Recorded, accounts: Accounts, name: str) -> None:
    recorded.account("main")
    recorded.account("other", uid="1002")
    with pytest.raises(SettingsError):
        accounts.rename("main", name)
    assert stored(recorded).name == "main"


def test_a_name_that_a_run_with_the_old_settings_has_left_behind_is_no_obstacle(
    recorded: Recorded, accounts: Accounts
) -> None:
    recorded.account("trading", uid="1001")
    ghost = recorded.account("main", (300, "01-01 00:00", None))
    recorded.failure("01-01 00:00", "identity_mismatch", of=ghost)
    accounts.rename("trading", "main")
    assert stored(recorded).uid == "1001"


@pytest.mark.parametrize("is_first", [True, False])
def test_a_history_is_the_same_one_without_a_name_that_was_left_behind(
    recorded: Recorded, accounts: Accounts, *, is_first: bool
) -> None:
    """It is known by when its first account came."""
    long_ago = START - timedelta(days=100)
    for name in ("main", "trading") if is_first else ("trading", "main"):
        uid, created_at = ("1001", START) if name == "trading" else (None, long_ago)
        recorded.account(name, uid=uid, created_at=created_at)
    accounts.rename("trading", "main")
    with recorded.database.read() as connection:
        assert connection.scalar(BEGUN_AT) == (long_ago if is_first else START)


def test_a_name_may_stay_what_it_is(recorded: Recorded, accounts: Accounts) -> None:
    recorded.account("main")
    accounts.rename("main", "main")


def test_retiring_ends_the_schedule_and_keeps_slots_that_have_begun(recorded: Recorded, accounts: Accounts) -> None:
    recorded.account("main", (60, "01-01 00:00", "01-02 00:00"), (300, "01-02 00:00", None))
    recorded.account("other", (300, "01-02 00:00", None))
    moment = at("01-03 12:00") + timedelta(milliseconds=1)
    accounts.retire("main", moment)
    assert stored(recorded).retired_at == moment
    assert stored(recorded).schedules == (
        Schedule(60, at("01-01 00:00"), at("01-02 00:00")),
        Schedule(300, at("01-02 00:00"), at("01-03 12:00") + timedelta(seconds=1)),
    )
    assert stored(recorded, "other").schedules[-1].valid_to is None
    with pytest.raises(SettingsError, match="retired since"):
        accounts.retire("main", moment)


def test_retiring_before_the_schedule_begins_takes_it_away(recorded: Recorded, accounts: Accounts) -> None:
    recorded.account("main", (300, "01-02 00:00", None))
    accounts.retire("main", at("01-01 00:00"))
    assert stored(recorded).schedules == ()


def test_accepting_notes_it_on_the_last_snapshot_that_can_be_relied_on(recorded: Recorded, accounts: Accounts) -> None:
    recorded.account("main")
    recorded.snapshot("01-01 00:00", "3", {"c2c": "1", "spot": "2"})
    last = recorded.snapshot("01-01 01:00", "3", {"c2c": "1", "spot": "2"})
    recorded.snapshot("01-01 02:00", None, {"spot": "2"})
    recorded.snapshot("01-01 03:00", "1", {"grid": "1"}, provenance="imported")
    recorded.mark(recorded.snapshot("01-01 04:00", "1", {"grid": "1"}), "void")
    accounts.accept("main", "c2c")
    accounts.accept("main", "c2c")
    with recorded.database.read() as connection:
        notes = connection.execute(select(annotation).where(annotation.c.kind == "note")).all()
        assert [(n.snapshot_id, n.text, n.created_at) for n in notes] == [(last, "accept c2c", START)]
        [wallets] = complete_wallets(connection, {1: (at("01-01 05:00"), at("01-01 05:00"))})[1]
    assert wallets.accepted == {"c2c"}


@pytest.mark.parametrize("account_type", ["grid", "eran", "", "c2c "])
def test_what_could_not_be_missed_cannot_be_accepted(recorded: Recorded, accounts: Accounts, account_type: str) -> None:
    recorded.account("main")
    with pytest.raises(SettingsError, match="nothing to accept"):
        accounts.accept("main", account_type)
    recorded.snapshot("01-01 00:00", "3", {"c2c": "1", "spot": "2", "grid": "0.00"})
    with pytest.raises(SettingsError, match=r"wallets with one: c2c, spot"):
        accounts.accept("main", account_type)
