"""What in an answer is doubted, what is remembered of it, and what is said in the end."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.bingx.answers import parse_overview
from etl.doubt import Doubter, Look, WalletMemory, look, note, parse_threshold
from etl.errors import NotUnderstood
from etl.model import Answer, Balance
from tests.values import body

ONE = Decimal(1)
NEVER_SEEN = WalletMemory()


def answer(**amounts: str | None) -> Answer:
    """An understood answer."""
    wallets = ((name, None if text is None else Decimal(text)) for name, text in amounts.items())
    return Answer(None, tuple(Balance(name, amount) for name, amount in wallets))


def held(*names: str, lacking: tuple[str, ...] = ()) -> WalletMemory:
    """What is remembered."""
    return WalletMemory(frozenset(names), frozenset(lacking))


@pytest.mark.parametrize("zero", ["0", "0.00000000", "-0"])
def test_a_wallet_that_held_something_is_doubted_at_zero(zero: str) -> None:
    assert look(answer(spot=zero), held("spot"), ONE).doubts == ("spot at 0",)


def test_a_wallet_that_held_something_is_doubted_when_it_is_missing() -> None:
    assert look(answer(spot="5"), held("spot", "grid", "eran"), ONE).doubts == ("eran missing", "grid missing")


def test_a_wallet_without_an_amount_is_doubted_whatever_it_held() -> None:
    assert look(answer(spot=None), NEVER_SEEN, ONE).doubts == ("spot without an amount",)
    assert look(answer(spot=None), held("spot"), ONE).doubts == ("spot without an amount",)


def test_of_a_first_reading_nothing_else_is_doubted() -> None:
    assert look(answer(spot="0", grid="7"), NEVER_SEEN, ONE).doubts == ()
    assert look(answer(), NEVER_SEEN, ONE).doubts == ()


def test_what_only_becomes_less_is_not_doubted() -> None:
    assert look(answer(spot="0.00000001"), held("spot"), ONE).doubts == ()


@pytest.mark.parametrize(
    ("amount", "above", "is_held"),
    [
        ("1", "1", False),
        ("1.0000000000000000000000000000000000001", "1", True),
        ("-5", "1", True),
        ("0", "0", False),
        ("0.00000001", "0", True),
        ("999", "1000", False),
        (None, "1", False),
    ],
)
def test_only_a_wallet_above_the_threshold_is_missed_later(amount: str | None, above: str, *, is_held: bool) -> None:
    after = look(answer(spot=amount), NEVER_SEEN, Decimal(above)).wallets
    assert after.held == ({"spot"} if is_held else set())


def test_what_is_settled_at_zero_is_not_doubted_again() -> None:
    after = look(answer(spot="0"), held("spot"), ONE).wallets
    assert after == held()
    assert look(answer(spot="0"), after, ONE).doubts == ()


def test_what_is_settled_as_missing_is_not_doubted_again_until_it_was_back() -> None:
    after = look(answer(spot="5"), held("spot", "grid"), ONE).wallets
    assert look(answer(spot="5"), after, ONE).doubts == ()
    assert look(answer(spot="5", grid=None), after, ONE).doubts == ()
    back = look(answer(spot="5", grid="7"), after, ONE).wallets
    assert look(answer(spot="5"), back, ONE).doubts == ("grid missing",)


def test_what_is_settled_without_an_amount_is_not_doubted_again_until_it_had_one() -> None:
    after = look(answer(spot=None), NEVER_SEEN, ONE).wallets
    assert look(answer(spot=None), after, ONE).doubts == ()
    back = look(answer(spot="0"), after, ONE).wallets
    assert look(answer(spot=None), back, ONE).doubts == ("spot without an amount",)


@pytest.mark.parametrize("between", [{"grid": "5"}, {"grid": "5", "spot": None}])
def test_not_to_be_told_an_amount_does_not_make_a_later_zero_trustworthy(between: dict[str, str | None]) -> None:
    after = look(answer(**between), held("spot", "grid"), ONE).wallets
    assert look(answer(grid="5", spot="0"), after, ONE).doubts == ("spot at 0",)


AMOUNTS = st.none() | st.sampled_from(["0", "0.5", "1", "7"])
ANSWERS = st.dictionaries(st.sampled_from(["spot", "grid", "eran"]), AMOUNTS).map(lambda given: answer(**given))


@given(st.lists(ANSWERS, max_size=6), ANSWERS)
def test_the_same_answer_twice_is_doubted_once_at_most(before: list[Answer], last: Answer) -> None:
    wallets = NEVER_SEEN
    for each in before:
        wallets = look(each, wallets, ONE).wallets
    settled = look(last, wallets, ONE).wallets
    assert look(last, settled, ONE) == Look((), settled)


@given(ANSWERS, ANSWERS)
def test_an_answer_that_has_every_wallet_with_an_amount_is_never_doubted(first: Answer, second: Answer) -> None:
    wallets = look(first, NEVER_SEEN, ONE).wallets
    full = answer(spot="1", grid="1", eran="1")
    assert look(full, look(second, wallets, ONE).wallets, ONE).doubts == ()


def test_what_is_said_names_each_doubt_and_what_became_of_it() -> None:
    assert note([()]) is None
    assert note([("spot at 0",)]) == "doubted: spot at 0 (not read again)"
    assert note([("spot at 0",), ("spot at 0",)]) == "doubted: spot at 0 (confirmed)"
    assert note([("spot at 0",), ()]) == "doubted: spot at 0 (not so when read again)"
    assert note([("a at 0", "b missing"), ("b missing",), ("b missing", "c at 0")]) == (
        "doubted: a at 0 (not so when read again), b missing (confirmed), c at 0 (not read again)"
    )


def test_a_body_is_looked_at_as_load_will_read_it() -> None:
    seen = Doubter(parse_overview).look(body({"sopt": "0", "grid": ""}), held("spot"))
    assert seen is not None
    assert seen.doubts == ("spot at 0", "grid without an amount")


def test_a_body_that_cannot_be_understood_is_left_to_load() -> None:
    def broken(_: bytes) -> Answer:
        raise ZeroDivisionError

    def refusing(_: bytes) -> Answer:
        raise NotUnderstood("not JSON")

    assert Doubter(broken).look(b"", NEVER_SEEN) is None
    assert Doubter(refusing).look(b"", NEVER_SEEN) is None


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1", 1), ("0.50", Decimal("0.5")), ("1000000", 1_000_000)])
def test_a_threshold_is_a_plain_amount(text: str, value: Decimal) -> None:
    assert parse_threshold(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1e3", "NaN", "Infinity", "1,000", "1 USDT", "１", "." * 9, "9" * 21])
def test_anything_else_is_not(text: str) -> None:
    with pytest.raises(ValueError, match="write an amount of USDT"):
        parse_threshold(text)
