"""Bodies come back byte for byte, in a fifth of their size."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.db import payload
from etl.errors import NotUnderstood

AMOUNTS = {
    "sopt": "1234.56789012",
    "stdFutures": "0.00000000",
    "coinMPerp": "0",
    "USDTMPerp": "44.37692200000000237300",
    "copyTrading": "0.00000000",
    "grid": "0.00000000",
    "eran": "250.10",
    "c2c": "0.00",
}
ROWS = ",".join(f'{{"accountType":"{name}","usdtBalance":"{amount}"}}' for name, amount in AMOUNTS.items())
BODY = f'{{"code":0,"timestamp":1719494258281,"data":[{ROWS}]}}'.encode()


@given(st.binary())
def test_any_body_comes_back_byte_for_byte(body: bytes) -> None:
    assert payload.decode(*payload.encode(body)) == body


def test_a_typical_body_comes_to_about_a_hundred_bytes() -> None:
    encoding, stored = payload.encode(BODY)
    assert encoding == "zlib-v1"
    assert len(BODY) > 450
    assert len(stored) < 110
    assert payload.decode(encoding, stored) == BODY


def test_the_dictionary_of_zlib_v1_is_frozen_for_ever() -> None:
    """Whatever was stored under that name could not be read again if it changed: make a ``zlib-v2`` instead."""
    digest = hashlib.sha256(payload._DICTIONARY_V1).hexdigest()
    assert digest == "9a3d91924071b074fc02af8787c233fe9be895e6d224b52fda79e34da990c448"
    stored = bytes.fromhex("48e65389c3fac395560c2d4d2c4d8c4c2d8c2c0ce1c926b6160044090d69")
    assert payload.decode("zlib-v1", stored) == b'{"code":0,"timestamp":1719494258281,"data":[]}'


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:20] + b"\0" + b[21:], lambda _: b""]
)
def test_a_damaged_body_is_noticed(damage: object) -> None:
    encoding, stored = payload.encode(BODY)
    with pytest.raises(NotUnderstood, match="damaged"):
        payload.decode(encoding, damage(stored))  # type: ignore[operator]


def test_an_encoding_of_a_later_version_is_no_riddle() -> None:
    with pytest.raises(NotUnderstood, match="upgrade bingx-etl"):
        payload.decode("zlib-v2", b"")
