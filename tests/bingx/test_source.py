from collections.abc import Callable

import pytest

from etl.bingx.client import Client
from etl.bingx.signing import Credential
from etl.bingx.source import BingXSource, environment_of
from etl.errors import NoSuchAccount
from etl.extract.source import Source
from etl.grid import to_ms
from etl.model import Environment
from tests.bingx.servers import OK, RawServer, http

UID = b'{"code":0,"data":{"uid":16844999}}'
TIME = b'{"code":0,"msg":"","data":{"serverTime":1675319535362}}'


def test_it_is_the_source_that_extract_asks_for(client_of: Callable[..., Client]) -> None:
    with RawServer(lambda s, c: s.answer(c, http(OK), http(OK), http(UID), http(TIME))) as server:
        one, other = Credential("key-of-one", "secret-1"), Credential("key-of-other", "secret-2")
        source: Source = BingXSource(client_of(server.url), {"one": one, "other": other}, environment_of(server.url))
        assert source.environment is Environment.SANDBOX
        fetched = source.balances("one", 0)
        assert fetched.body == OK
        source.balances("other", 5_000_000)
        assert source.uid("one", 0) == "16844999"
        assert abs(source.clock_offset_ms() - (1675319535362 - to_ms(fetched.requested_at))) < 5_000
    assert [b"X-BX-APIKEY: key-of-one\r\n" in head for head in server.heads] == [True, False, True, False]
    assert b"X-BX-APIKEY: key-of-other\r\n" in server.heads[1]
    assert b"X-BX-APIKEY" not in server.heads[3]
    assert b"GET /openApi/swap/v2/server/time HTTP/1.1\r\n" in server.heads[3]
    assert source.key_fingerprint("one") == one.fingerprint != source.key_fingerprint("other")


def test_an_account_without_a_key_is_named() -> None:
    source = BingXSource(Client("http://127.0.0.1:1"), {}, Environment.SANDBOX)
    for ask in (source.key_fingerprint, lambda name: source.balances(name, 0), lambda name: source.uid(name, 0)):
        with pytest.raises(NoSuchAccount, match="nobody"):
            ask("nobody")
