from decimal import Decimal
from itertools import pairwise

from etl.sandbox.wallets import ACCOUNT_TYPES, wallets_at

AT_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def totals(seed: int, index: int, step_ms: int, steps: int) -> list[Decimal]:
    rows = (wallets_at(seed, index, AT_MS + number * step_ms) for number in range(steps))
    return [sum((Decimal(amount) for _, amount in row), Decimal(0)) for row in rows]


def test_the_same_instant_always_has_the_same_wallets() -> None:
    first = wallets_at(1, 2, AT_MS)
    wallets_at(1, 2, AT_MS + 1)
    assert wallets_at(1, 2, AT_MS) == first


def test_another_seed_account_or_time_has_other_wallets() -> None:
    assert len({wallets_at(1, 2, AT_MS), wallets_at(2, 2, AT_MS), wallets_at(1, 3, AT_MS)}) == 3
    assert wallets_at(1, 2, AT_MS) != wallets_at(1, 2, AT_MS + HOUR_MS)


def test_all_eight_account_types_are_there_but_sometimes_not_the_last() -> None:
    named = {tuple(name for name, _ in wallets_at(0, index, AT_MS)) for index in range(100)}
    assert named == {ACCOUNT_TYPES, ACCOUNT_TYPES[:-1]}
    assert ACCOUNT_TYPES[0] == "sopt"
    assert ACCOUNT_TYPES[-1] == "c2c"


def test_a_wallet_that_is_sometimes_absent_is_zero_when_it_is_there() -> None:
    assert {dict(wallets_at(0, index, AT_MS)).get("c2c", "0") for index in range(100)} == {"0"}


def test_rows_have_the_scales_and_the_noise_of_live_answers() -> None:
    wallets = dict(wallets_at(0, 0, AT_MS))
    assert wallets["stdFutures"] == "0.00000000"
    assert Decimal(wallets["sopt"]).as_tuple().exponent == -2
    noisy = [amount for amount in wallets.values() if Decimal(amount).as_tuple().exponent == -20]
    assert noisy
    assert all(amount.endswith("00") and amount.rstrip("0")[-12:-8] != "0000" for amount in noisy)
    assert len({len(amount.partition(".")[2]) for amount in wallets.values()}) >= 4


def test_one_wallet_of_each_account_was_never_used() -> None:
    for index in range(50):
        wallets = wallets_at(0, index, AT_MS)
        assert sum(amount == "0" for name, amount in wallets if name != "c2c") == 1


def test_balances_wander_a_little_in_minutes_and_more_in_months_and_stay_positive() -> None:
    for index in range(5):
        minutes, days = totals(3, index, 300_000, 200), totals(3, index, 24 * HOUR_MS, 400)
        assert len(set(minutes)) == 200
        steps = [abs(after / before - 1) for before, after in pairwise(minutes)]
        assert max(steps) < Decimal("0.05")
        assert max(days) / min(days) > Decimal("1.03")
        assert min(days) > 0
