"""What BingX says of a key: every form that is known, and hostile ones, of which none may look harmless."""

import json

import pytest

from etl.bingx.permissions import Rights, parse_rights, together
from etl.errors import NotUnderstood

NOTHING = frozenset[str]()
HARMLESS = Rights(reads=True, beyond=NOTHING, is_whole=True, is_bound=False)
FLAGS = {
    "ipRestrict": False,
    "createTime": 1,
    "permitsUniversalTransfer": False,
    "enableReading": True,
    "enableFutures": False,
    "enableSpotAndMarginTrading": False,
}


def parsed(answer: object) -> Rights:
    return parse_rights(json.dumps(answer).encode())


@pytest.mark.parametrize(
    ("answer", "rights"),
    [
        ({"apiKey": "***", "permissions": [2], "ipAddresses": [], "note": "demo"}, HARMLESS),
        ({"code": 0, "data": {"permissions": ["2"], "ipAddresses": []}}, HARMLESS),
        ({"permissions": [2], "ipAddresses": ["203.0.113.9", "2001:db8::/64"]}, Rights(True, NOTHING, True, True)),
        ({"permissions": [2, 1, 5]}, Rights(True, frozenset({"spot trading", "withdrawal"}), True, None)),
        ({"permissions": [2, 6]}, Rights(True, frozenset({"an unknown permission (6)"}), True, None)),
        ({"permissions": []}, Rights(False, NOTHING, True, None)),
        (FLAGS, Rights(True, NOTHING, False, False)),
        ({**FLAGS, "enableWithdrawals": False}, HARMLESS),
        ({**FLAGS, "enableFutures": True}, Rights(True, frozenset({"futures trading"}), False, False)),
        ({**FLAGS, "enableMagic": True}, Rights(True, frozenset({"an unknown right (enableMagic)"}), False, False)),
        ({"ipRestrict": True}, Rights(None, NOTHING, False, True)),
        (
            {**FLAGS, "permissions": [2, 3], "ipAddresses": ["203.0.113.9"]},
            Rights(True, frozenset({"futures trading"}), True, None),
        ),
    ],
)
def test_every_known_form_is_understood(answer: object, rights: Rights) -> None:
    assert parsed(answer) == rights


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"permissions":[2],"permissions":[1]}',
        b'{"permissions":[true]}',
        b'{"permissions":[2.0]}',
        b'{"permissions":[2e0]}',
        b'{"permissions":[[2]]}',
        b'{"permissions":[NaN]}',
        '{"permissions":["２"]}'.encode(),
        b'{"permissions":"2"}',
        b'{"permissions":{"2":true}}',
        b'{"enableReading":"true","enableFutures":"false"}',
        b'{"code":100413,"permissions":[2]}',
        b'{"code":"0x0","permissions":[2]}',
        b'{"permissions":' + b"[" * 100_000,
    ],
    ids=range(18),
)
def test_what_is_not_understood_is_not_harmless(answer: bytes) -> None:
    with pytest.raises(NotUnderstood):
        parse_rights(answer)


@pytest.mark.parametrize(
    "addresses", ["203.0.113.9", ["*"], [""], ["0.0.0.0/0"], ["203.0.113.9", "::/0"], [None], 1, None]
)
def test_addresses_that_bind_nothing_are_not_taken_for_a_restriction(addresses: object) -> None:
    assert parsed({"permissions": [2], "ipAddresses": addresses}).is_bound is None


def test_of_two_answers_the_worse_is_believed() -> None:
    trading = Rights(reads=True, beyond=frozenset({"futures trading"}), is_whole=False, is_bound=True)
    assert together([HARMLESS, trading]) == Rights(True, frozenset({"futures trading"}), is_whole=True, is_bound=None)
    assert together([]) == Rights()
