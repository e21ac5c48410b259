import re

from etl.sandbox.accounts import MARK, sandbox_account


def test_an_account_follows_from_its_seed_and_number() -> None:
    assert sandbox_account(5, 3) == sandbox_account(5, 3)
    assert sandbox_account(5, 3).api_key != sandbox_account(6, 3).api_key
    assert sandbox_account(5, 3).api_secret != sandbox_account(6, 3).api_secret
    assert sandbox_account(5, 3).uid != sandbox_account(6, 3).uid


def test_keys_and_secrets_look_like_those_of_bingx_and_say_that_they_are_not() -> None:
    account = sandbox_account(0, 0)
    assert re.fullmatch(MARK + "[A-Za-z0-9]{57}", account.api_key)
    assert re.fullmatch(MARK + "[A-Za-z0-9]{73}", account.api_secret)
    assert 10_000_000 <= account.uid <= 99_999_999


def test_no_two_accounts_share_a_name_a_uid_a_key_or_a_secret() -> None:
    accounts = [sandbox_account(1, index) for index in range(2000)]
    for values in zip(*((a.name, a.uid, a.api_key, a.api_secret) for a in accounts), strict=True):
        assert len(set(values)) == 2000


def test_a_new_key_keeps_the_name_and_the_uid() -> None:
    old, new = sandbox_account(1, 4), sandbox_account(1, 4, generation=1)
    assert (old.name, old.uid) == (new.name, new.uid)
    assert old.api_key != new.api_key
    assert old.api_secret != new.api_secret


def test_no_secret_is_in_the_repr() -> None:
    account = sandbox_account(0, 0)
    assert account.api_key not in repr(account)
    assert account.api_secret not in repr(account)
