"""BingX's answers, from JSON to values: strict, because a wrong reading that looks right is the worst of all.

Everything here raises NotUnderstood with a reason that quotes no amount. The two envelopes are those of BingX's
documentation; clients in use see the first.
"""

import json
import re
from decimal import Decimal
from typing import NoReturn, cast

from etl.bingx.body import flaw_of
from etl.bingx.envelope import NumberText, code_of, instant_of
from etl.errors import NotUnderstood
from etl.grid import from_ms
from etl.model import Answer, Balance

AMOUNT = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
# The form that nearly all amounts have, and in which they need no work.
PLAIN_AMOUNT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
MOST_DIGITS = 100
LONGEST_TYPE = 255
SANE_YEARS = range(2017, 2200)
MISSPELT = {"sopt": "spot"}


def parse_overview(body: bytes) -> Answer:
    """The asset overview: one balance per wallet, and the exchange's clock where the answer had a usable one."""
    answer = _successful(body)
    balances = [_balance(row) for row in _rows(answer.get("data"))]
    names = {balance.account_type for balance in balances}
    if len(names) < len(balances):
        raise NotUnderstood("the same account type twice")
    return Answer(instant_of(answer.get("timestamp")), tuple(_spelt_right(balance, names) for balance in balances))


def parse_uid(body: bytes) -> str:
    """The UID behind a key, in digits; BingX sends it as a number or as a string."""
    data = _successful(body).get("data")
    uid = data.get("uid") if isinstance(data, dict) else None
    if not isinstance(uid, str) or not re.fullmatch(r"[1-9][0-9]{0,31}", uid):
        raise NotUnderstood("no uid in the answer")
    return str(uid)


def parse_server_time(body: bytes) -> int:
    """The exchange's clock in Unix milliseconds, between the years 2017 and 2200."""
    data = _successful(body).get("data")
    text = data.get("serverTime") if isinstance(data, dict) else None
    if not isinstance(text, NumberText) or not re.fullmatch(r"[0-9]{13}", text):
        raise NotUnderstood("no serverTime in the answer")
    instant = from_ms(int(text))
    if instant.year not in SANE_YEARS:
        raise NotUnderstood("the serverTime is not of our days")
    return int(text)


def parse_amount(text: str) -> Decimal:
    """An amount with all its digits, its scale included: an exponent is expanded, minus zero is zero.

    Only what is at most 100 characters long, and at most 100 digits without exponent, is an amount. Zero with a scale
    prints as ``0E-8`` with ``str``: use ``format(amount, "f")``.
    """
    if len(text) <= MOST_DIGITS and PLAIN_AMOUNT.fullmatch(text):
        return Decimal(text)
    match = AMOUNT.fullmatch(text) if len(text) <= MOST_DIGITS else None
    if match is None:
        raise NotUnderstood("an amount that is no plain decimal number")
    sign, whole, fraction, exponent = match[1], match[2], match[3] or "", int(match[4] or "0")
    if abs(exponent) > 2 * MOST_DIGITS:
        raise NotUnderstood("an amount of absurd size")
    # By text and not by arithmetic, because a decimal context rounds.
    digits, scale = whole + fraction, len(fraction) - exponent
    if scale <= 0:
        digits, scale = digits + "0" * -scale, 0
    digits = digits.rjust(scale + 1, "0")
    whole, fraction = digits[: len(digits) - scale].lstrip("0") or "0", digits[len(digits) - scale :]
    if len(whole) + len(fraction) > MOST_DIGITS:
        raise NotUnderstood("an amount of absurd size")
    plain = f"{whole}.{fraction}" if fraction else whole
    return Decimal(plain if not plain.strip("0.") else sign + plain)


def strict_json(body: bytes) -> object:
    """What a body says in JSON; numbers are :class:`etl.bingx.envelope.NumberText`, and no key is there twice."""
    flaw = flaw_of(body)
    if flaw is not None:
        raise NotUnderstood(flaw)
    try:
        return cast("object", _JSON.decode(body.decode("utf-8-sig")))
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except ValueError:
        reason = "not JSON"
    except RecursionError:
        reason = "JSON nested absurdly deep"
    # Raised out here, so that no exception that quotes the body hangs on to this one.
    raise NotUnderstood(reason)


def _successful(body: bytes) -> dict[str, object]:
    answer = strict_json(body)
    if isinstance(answer, dict) and code_of(answer.get("code")) == 0:
        return answer
    raise NotUnderstood("not an answer of BingX's with code 0")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotUnderstood("the same JSON key twice")
    return found


def _no_number(_: str) -> NoReturn:
    raise NotUnderstood("NaN or Infinity")


_JSON = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=NumberText, parse_float=NumberText, parse_constant=_no_number
)


def _rows(data: object) -> list[object]:
    if isinstance(data, list):
        return data
    rows = data.get("result") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(rows, list):
        raise NotUnderstood("no list of balances in the answer")
    if _exceeds(data.get("total"), len(rows)):
        # A wallet on another page would be missing without a word.
        raise NotUnderstood("only page 1 of the answer")
    return rows


def _exceeds(total: object, count: int) -> bool:
    """Whether it is a number, however it is written, and greater than the count."""
    if not isinstance(total, str) or AMOUNT.fullmatch(total.strip()) is None:
        return False
    try:
        return parse_amount(total.strip()) > count
    except NotUnderstood:
        return True


def _balance(row: object) -> Balance:
    if not isinstance(row, dict):
        raise NotUnderstood("a balance that is no JSON object")
    account_type = row.get("accountType")
    if type(account_type) is not str or not account_type.strip():
        raise NotUnderstood("a balance without an account type")
    if len(account_type) > LONGEST_TYPE or not account_type.isprintable():
        raise NotUnderstood("an account type that is no name")
    amount = row.get("usdtBalance")
    if amount is None or amount == "":
        return Balance(account_type, None)
    if not isinstance(amount, str):
        raise NotUnderstood("an amount that is no number")
    return Balance(account_type, parse_amount(amount))


def _spelt_right(balance: Balance, names: set[str]) -> Balance:
    right = MISSPELT.get(balance.account_type)
    # Where an answer has both spellings they are two wallets, and nobody knows what the second one is.
    if right is None or right in names:
        return balance
    return Balance(right, balance.amount, raw_type=balance.account_type)
