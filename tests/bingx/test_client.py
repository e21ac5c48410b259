"""The branches of the client, with requests' sending replaced; what a socket does is in test_network."""

import inspect
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
import urllib3.exceptions

from etl.bingx.client import OVERVIEW, SERVER_TIME, UID, Client, Credential
from etl.errors import (
    ClockSkew,
    KeyRefused,
    MalformedAnswer,
    RateLimited,
    RequestRefused,
    SettingsError,
    Trouble,
    Unavailable,
    Unreachable,
)
from etl.grid import to_ms
from etl.model import Reason
from tests.bingx.servers import OK

BASE = "https://open-api.bingx.com"
FALLBACK = "https://open-api.bingx.pro"
CREDENTIAL = Credential("canary-key-0123456789", "canary-secret-0123456789")
NOW = datetime(2026, 11, 22, 15, 20, 1, 250_000, tzinfo=UTC)


@pytest.fixture
def net() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


class Ticks:
    """A monotonic clock that moves on by a tenth of a second whenever it is read."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        self.at += 0.1
        return self.at


def client(**settings: object) -> Client:
    return Client(BASE, now=lambda: NOW, **settings)  # type: ignore[arg-type]  # each test names what it sets


def parameters(call: responses.Call) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(str(call.request.url)).query).items()}


def test_a_success_is_kept_raw_with_its_clocks(net: responses.RequestsMock) -> None:
    net.get(BASE + OVERVIEW, body=OK, content_type="application/json")
    fetched = client(monotonic=Ticks()).balances(CREDENTIAL, 0)
    assert fetched.body == OK
    assert fetched.requested_at == NOW
    assert 0 < fetched.latency_ms < 1000
    assert fetched.exchange_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_nothing_is_filtered_and_the_timestamp_is_ours_plus_the_offset(net: responses.RequestsMock) -> None:
    net.get(BASE + OVERVIEW, body=OK)
    client(recv_window_ms=1234).balances(CREDENTIAL, -4321)
    sent = parameters(net.calls[0])
    assert set(sent) == {"recvWindow", "timestamp", "signature"}
    assert sent["recvWindow"] == "1234"
    assert int(sent["timestamp"]) == to_ms(NOW) - 4321


def test_each_call_is_signed_anew(net: responses.RequestsMock) -> None:
    net.get(BASE + OVERVIEW, body=OK)
    moments = iter([NOW + timedelta(seconds=n) for n in range(10)])
    calling = Client(BASE, now=lambda: next(moments))
    calling.balances(CREDENTIAL, 0)
    calling.balances(CREDENTIAL, 0)
    first, second = map(parameters, net.calls)
    assert first["timestamp"] != second["timestamp"]
    assert first["signature"] != second["signature"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":"0"}',
        b'\xef\xbb\xbf{"code":0,"data":[]}',
        b'{"code":0,"data":null}',
        b'{"code":0,"data":[{"accountType":"a","usdtBalance":NaN}]}',
        b'{"code":0,"data":[{"usdtBalance":' + b"9" * 5000 + b"}]}",
        b'{"code":0,"data":1e999999999}',
        b'{"code":1,"code":0,"data":[]}',
        b'{"code":0,"data":"\xff\xfe"}',
        b'{"code":0,"msg":5}',
    ],
)
def test_whatever_says_code_zero_is_kept_for_the_strict_parser(net: responses.RequestsMock, body: bytes) -> None:
    net.get(BASE + OVERVIEW, body=body)
    assert client().balances(CREDENTIAL, 0).body == body


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>ERROR</html>", b'{"code":0', b"{}", b'{"data":[]}', b'{"code":false}',
     b'{"code":0.0}', b'{"code":true}', b'{"code":null}', b"[0]", b"\xff\xfe\x00", b"[" * 100_000,
     b'{"code":0,"data":' + b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_envelope_is_malformed_and_carried_along(net: responses.RequestsMock, body: bytes) -> None:
    net.get(BASE + OVERVIEW, body=body, headers={"Content-Length": str(len(body))})
    with pytest.raises(MalformedAnswer) as caught:
        client().balances(CREDENTIAL, 0)
    assert caught.value.reason == Reason.MALFORMED
    assert caught.value.body == body
    assert caught.value.requested_at == NOW
    assert caught.value.latency_ms >= 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"code":100001,"msg":"Signature verification failed","data":{}}', KeyRefused),
        (b'{"code":"100413","msg":"Incorrect apiKey","data":[]}', KeyRefused),
        (b'{"success":false,"code":100419,"msg":"IP","data":null}', KeyRefused),
        (b'{"code":100421,"msg":"Null timestamp or timestamp mismatch"}', ClockSkew),
        (b'{"code":109400,"msg":"timestamp is invalid"}', ClockSkew),
        (b'{"code":109400,"msg":"Invalid parameters, err:x"}', RequestRefused),
        (b'{"code":100500,"msg":null}', Unavailable),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403, 500])
def test_an_error_code_wins_over_the_http_status(
    net: responses.RequestsMock, body: bytes, kind: type[Trouble], status: int
) -> None:
    net.get(BASE + OVERVIEW, body=body, status=status)
    with pytest.raises(kind) as caught:
        client().balances(CREDENTIAL, 0)
    assert type(caught.value) is kind


@pytest.mark.parametrize("body", [b"", b"<html>", b"Too many", b'{"code":0,"data":[]}', b'{"x":1}'])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, KeyRefused), (403, RateLimited), (404, RequestRefused), (418, RateLimited), (429, RateLimited),
     (500, Unavailable), (302, Unavailable), (206, Unavailable), (204, Unavailable)],
)  # fmt: skip
def test_the_http_status_decides_where_no_code_does(
    net: responses.RequestsMock, body: bytes, status: int, kind: type[Trouble]
) -> None:
    net.get(BASE + OVERVIEW, body=b"" if status == 204 else body, status=status)
    with pytest.raises(kind):
        client().balances(CREDENTIAL, 0)


def test_the_rate_limit_of_a_text_and_a_header_reach_the_caller(net: responses.RequestsMock) -> None:
    until = NOW + timedelta(seconds=42)
    net.get(BASE + OVERVIEW, json={"code": 100410, "msg": f"unblocked after {to_ms(until) + 7000}"})
    net.get(BASE + OVERVIEW, body="slow down", status=429, headers={"Retry-After": "42"})
    net.get(BASE + OVERVIEW, body=f"unblocked after {to_ms(until) + 7000}", status=429)
    for whole_host in (False, True, True):
        with pytest.raises(RateLimited) as caught:
            client().balances(CREDENTIAL, 7000)
        assert (caught.value.until, caught.value.whole_host) == (until, whole_host)


def test_the_uid_is_asked_for_and_judged(net: responses.RequestsMock) -> None:
    net.get(BASE + UID, body=b'{"code":0,"timestamp":1,"data":{"uid":16844999}}')
    net.get(BASE + UID, body=b'{"code":0,"timestamp":1,"data":{}}')
    assert client().uid(CREDENTIAL, 0) == "16844999"
    assert net.calls[0].request.headers["X-BX-APIKEY"] == CREDENTIAL.key
    with pytest.raises(MalformedAnswer) as caught:
        client().uid(CREDENTIAL, 0)
    assert caught.value.body == b'{"code":0,"timestamp":1,"data":{}}'


def test_the_offset_allows_for_half_of_the_round_trip(net: responses.RequestsMock) -> None:
    net.get(BASE + SERVER_TIME, json={"code": 0, "msg": "", "data": {"serverTime": to_ms(NOW) + 60_000}})
    ticks = Ticks()
    started = ticks.at
    offset = client(monotonic=ticks).server_time_offset_ms()
    assert 60_000 - (ticks.at - started) * 500 <= offset < 60_000
    assert "X-BX-APIKEY" not in net.calls[0].request.headers
    assert parameters(net.calls[0]) == {}


@pytest.mark.parametrize("value", ["x", None, 1, 10**18, 1.5, True, "1675319535362"])
def test_an_absurd_server_time_is_malformed(net: responses.RequestsMock, value: object) -> None:
    net.get(BASE + SERVER_TIME, json={"code": 0, "data": {"serverTime": value}})
    with pytest.raises(MalformedAnswer):
        client().server_time_offset_ms()


def test_the_fallback_is_tried_after_a_network_failure_with_a_new_signature(net: responses.RequestsMock) -> None:
    net.get(BASE + OVERVIEW, body=requests.ConnectionError("nobody there"))
    net.get(FALLBACK + OVERVIEW, body=OK)
    moments = iter([NOW + timedelta(seconds=n) for n in range(10)])
    calling = Client(BASE, fallback_base_url=FALLBACK, now=lambda: next(moments))
    fetched = calling.balances(CREDENTIAL, 0)
    first, second = map(parameters, net.calls)
    assert int(first["timestamp"]) < int(second["timestamp"])
    assert first["signature"] != second["signature"]
    assert fetched.requested_at > NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 500), (b"<html>", 200), (b'{"code":100500}', 200), (b"", 403), (b'{"code":100413}', 200)]
)
def test_the_fallback_is_not_tried_after_an_answer(net: responses.RequestsMock, body: bytes, status: int) -> None:
    net.get(BASE + OVERVIEW, body=body, status=status)
    with pytest.raises(Trouble):
        client(fallback_base_url=FALLBACK).balances(CREDENTIAL, 0)
    assert len(net.calls) == 1


def test_both_failing_names_both_and_tries_each_once(net: responses.RequestsMock) -> None:
    net.get(BASE + OVERVIEW, body=requests.ConnectionError(ConnectionRefusedError(111, "x")))
    net.get(FALLBACK + OVERVIEW, body=requests.ConnectionError(ConnectionResetError(104, "x")))
    with pytest.raises(Unreachable) as caught:
        client(fallback_base_url=FALLBACK).balances(CREDENTIAL, 0)
    assert caught.value.detail == (
        "open-api.bingx.com: connection refused; fallback: open-api.bingx.pro: connection reset"
    )
    assert len(net.calls) == 2


def test_an_answer_of_the_fallback_counts_even_if_it_is_a_refusal(net: responses.RequestsMock) -> None:
    net.get(BASE + OVERVIEW, body=requests.ConnectionError("x"))
    net.get(FALLBACK + OVERVIEW, body=b'{"code":100413}')
    with pytest.raises(KeyRefused):
        client(fallback_base_url=FALLBACK).balances(CREDENTIAL, 0)


def test_a_fallback_in_another_environment_is_refused() -> None:
    for other in ("https://open-api-vst.bingx.com", "http://127.0.0.1:1"):
        with pytest.raises(SettingsError):
            Client(BASE, fallback_base_url=other)


@pytest.mark.parametrize("bad", ["http://open-api.bingx.com", "", "x"])
def test_an_address_a_key_must_not_be_sent_to_is_refused(bad: str) -> None:
    with pytest.raises(SettingsError):
        Client(bad)
    with pytest.raises(SettingsError):
        Client(BASE, fallback_base_url=bad)


def test_a_proxy_that_is_none_and_a_bundle_without_certificates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        Client(BASE, proxy="socks5://127.0.0.1:1")
    for content in (None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"):
        bundle = tmp_path / "ca.pem"
        if content is not None:
            bundle.write_text(content)
        with pytest.raises(SettingsError, match="ca_bundle"):
            Client(BASE, ca_bundle=bundle)


ERRORS = [
    kind
    for module in (requests.exceptions, urllib3.exceptions)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, Exception) and not issubclass(kind, Warning)
]


@pytest.mark.parametrize("kind", [*ERRORS, OSError, TimeoutError, UnicodeError], ids=lambda kind: kind.__qualname__)
def test_no_exception_of_a_library_passes(net: responses.RequestsMock, kind: type[Exception]) -> None:
    error = kind.__new__(kind)  # some cannot be made without half the library
    error.args = (f"{BASE}{OVERVIEW}?signature=deadbeef",)
    net.get(BASE + OVERVIEW, body=error)
    with pytest.raises(Unreachable) as caught:
        client().balances(CREDENTIAL, 0)
    assert "signature" not in caught.value.detail
    assert caught.value.reason == Reason.UNREACHABLE
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_an_answer_that_is_whole_when_the_deadline_passes_is_not_thrown_away(net: responses.RequestsMock) -> None:
    def late(request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.1)
        return 200, {"Content-Length": str(len(OK))} if len(net.calls) == 0 else {}, OK

    net.add_callback(responses.GET, BASE + OVERVIEW, late)
    calling = client(request_timeout_seconds=0.03)
    assert calling.balances(CREDENTIAL, 0).body == OK
    with pytest.raises(Unreachable, match="deadline"):  # nobody can tell whether this one is whole
        calling.balances(CREDENTIAL, 0)


def test_a_defect_of_ours_is_not_dressed_up_as_the_networks(net: responses.RequestsMock) -> None:
    net.get(BASE + OVERVIEW, body=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        client().balances(CREDENTIAL, 0)


def test_an_echo_of_key_secret_or_signature_is_not_kept(net: responses.RequestsMock) -> None:
    def echo(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        signature = str(request.url).rpartition("=")[2]
        return 200, {}, f'{{"code":0,"k":"{CREDENTIAL.key}","s":"{CREDENTIAL.secret}","g":"{signature.upper()}"}}'

    net.add_callback(responses.GET, BASE + OVERVIEW, echo)
    assert client().balances(CREDENTIAL, 0).body == b'{"code":0,"k":"***","s":"***","g":"***"}'


def test_an_echo_in_a_message_is_not_quoted(net: responses.RequestsMock) -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in CREDENTIAL.key)
    body = f'{{"code":100413,"msg":"{"x" * 190} {CREDENTIAL.secret} {escaped} \\ud800"}}'
    net.get(BASE + OVERVIEW, body=body)
    net.get(BASE + OVERVIEW, body=body.replace("x" * 190, "key"))
    for _ in range(2):
        with pytest.raises(KeyRefused) as caught:
            client().balances(CREDENTIAL, 0)
        assert "canary" not in caught.value.detail
        assert "***" in caught.value.detail


def test_an_echo_in_a_malformed_answer_is_not_carried(net: responses.RequestsMock) -> None:
    net.get(BASE + OVERVIEW, body=f"<html>{CREDENTIAL.key}</html>")
    with pytest.raises(MalformedAnswer) as caught:
        client().balances(CREDENTIAL, 0)
    assert caught.value.body == b"<html>***</html>"


def test_closing_twice_and_calling_afterwards_is_fine(client_of: Callable[..., Client]) -> None:
    calling = client_of(BASE)
    with responses.RequestsMock() as net:
        net.get(BASE + OVERVIEW, body=OK)
        calling.balances(CREDENTIAL, 0)
        calling.close()
        calling.close()
        assert calling.balances(CREDENTIAL, 0).body == OK
