import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.bingx.client import Client, Credential
from etl.bingx.signing import query_string, signature
from etl.errors import SettingsError
from tests.bingx.servers import OK, RawServer, always, http

LONG = "mheO6dR8ovSsxZQCOYEFCtelpuxcWGTfHw7te326y6jOwq5WpvFQ9JNljoTwBXZGv5It07m9RXSPpDQEK2w"
VECTORS = [
    (
        "UuGuyEGt6ZEkpUObCYCmIfh0elYsZVh80jlYwpJuRZEw70t6vomMH7Sjmf94ztSI",
        "quoteOrderQty=20&side=BUY&symbol=ETHUSDT&timestamp=1649404670162&type=MARKET",
        "428a3c383bde514baff0d10d3c20e5adfaacaf799e324546dafe5ccc480dd827",
    ),
    (
        LONG,
        "symbol=BTC-USDT&timestamp=1667872120843&side=LONG&leverage=6",
        "4f581ecdb1fa09b9d6e57886b6f70cffed17f82b93399722939e49a38edec2bf",
    ),
    (
        LONG,
        "recvWindow=0&symbol=BTC-USDT&timestamp=1696751141337",
        "f8d883609dfd31c824feb4de865b071008dedb1d461451fa70847875c8e7a7a2",
    ),
    (LONG, "timestamp=1696751141337", "b1206765e9bd1cc8ef850965fc5c1edce909192ac61a811e6616a9930b8bf64c"),
    (
        LONG,
        "recvWindow=5000&timestamp=1696751141337",
        "70b4def1f55526ff67fbed5576eb6f974652e8c2553224421fae1d1868ef7000",
    ),
    (
        LONG,
        "accountType=USDTMPerp&recvWindow=5000&timestamp=1696751141337",
        "cccaeba5265508c53b2d50c86cf5680ecf4fc42b081f122c4bea56d8365795f3",
    ),
]


@pytest.mark.parametrize(("secret", "text", "expected"), VECTORS)
def test_signature_agrees_with_the_known_vectors(secret: str, text: str, expected: str) -> None:
    assert signature(secret, text) == expected


def test_query_string_is_sorted_whatever_the_order_given() -> None:
    parameters: dict[str, str | int] = {"timestamp": 1696751141337, "recvWindow": 5000, "accountType": "USDTMPerp"}
    assert query_string(parameters) == "accountType=USDTMPerp&recvWindow=5000&timestamp=1696751141337"
    assert query_string(dict(reversed(list(parameters.items())))) == query_string(parameters)


def test_query_string_encodes_what_would_break_it() -> None:
    assert query_string({"a": "b&c=d e/ü"}) == "a=b%26c%3Dd%20e%2F%C3%BC"


def test_the_text_signed_is_byte_for_byte_what_is_sent() -> None:
    secret = "s" * 40
    with RawServer(always(http(OK))) as server:
        client = Client(server.url, recv_window_ms=4321)
        client.balances(Credential("k" * 40, secret), 0)
        client.close()
    target = server.heads[0].split(b"\r\n")[0].split(b" ")[1].decode()
    path, _, query = target.partition("?")
    signed, _, sent_signature = query.rpartition("&signature=")
    assert path == "/openApi/account/v1/allAccountBalance"
    assert re.fullmatch(r"recvWindow=4321&timestamp=[0-9]{13}", signed)
    assert re.fullmatch(r"[0-9a-f]{64}", sent_signature)
    assert sent_signature == signature(secret, signed)


def test_the_key_travels_in_its_header_and_nothing_else_of_the_credential_does() -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        server.answer(connection, http(OK))

    with RawServer(behave) as server:
        client = Client(server.url)
        client.balances(Credential("KEY" * 10, "SECRET" * 10), 0)
        client.close()
    head = server.heads[0]
    assert b"\r\nX-BX-APIKEY: " + b"KEY" * 10 + b"\r\n" in head
    assert b"SECRET" not in head
    assert b"\r\nAccept-Encoding: identity\r\n" in head


def test_credential_shows_nothing_of_itself() -> None:
    credential = Credential("public-key-text", "private-secret-text")
    assert "key-text" not in f"{credential!r} {credential}"
    assert "secret-text" not in f"{credential!r} {credential}"


def test_fingerprint_is_stable_and_tells_keys_apart() -> None:
    one, other = Credential("k1", "s"), Credential("k2", "s")
    assert one.fingerprint == Credential(one.key, one.secret).fingerprint
    assert one.fingerprint != Credential(one.key, "another").fingerprint, "a corrected secret is a new credential"
    assert one.fingerprint != other.fingerprint
    assert re.fullmatch(r"[0-9a-f]{16}", one.fingerprint)


@pytest.mark.parametrize(
    "bad", ["", "a\r\nX-Evil: 1", "a\x00", "a\tb", "ключ", "é", "\ud800", " a7Zq", "a7Zq ", "a\x7f"]
)
def test_credentials_that_could_not_travel_in_a_header_are_refused_unquoted(bad: str) -> None:
    for key, secret in ((bad, "fine"), ("fine", bad)):
        with pytest.raises(SettingsError) as caught:
            Credential(key, secret)
        assert len(bad) < 2 or bad not in str(caught.value)


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers()))
def test_query_strings_are_plain_ascii_that_no_library_rewrites(parameters: dict[str, str | int]) -> None:
    encodable = {k: v for k, v in parameters.items() if not re.search("[\ud800-\udfff]", f"{k}{v}")}
    assert re.fullmatch(r"[A-Za-z0-9_.~%=&-]*", query_string(encodable))
