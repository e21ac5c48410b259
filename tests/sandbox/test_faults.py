"""Every kind of fault does what it says, over a real socket."""

import gzip
import socket
import time
import zlib
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any

import pytest

from etl.sandbox.faults import KINDS, FaultBook, parse_fault
from etl.sandbox.server import SandboxServer
from tests.sandbox.asking import BALANCES, SERVER_TIME, UID, Client, Clock, signed

Add = Callable[..., object]


@pytest.fixture
def add(server: SandboxServer) -> Add:
    return server.exchange.faults.add


def request_bytes(server: SandboxServer, client: Client, path: str = BALANCES) -> bytes:
    account = server.exchange.account("main")
    target = f"{path}?{signed(account.api_secret, f'timestamp={client.timestamp()}')}"
    return f"GET {target} HTTP/1.1\r\nHost: x\r\nX-BX-APIKEY: {account.api_key}\r\n\r\n".encode()


def received(server: SandboxServer, client: Client, *, at_least: int = 0, seconds: float = 5.0) -> bytes:
    """What comes over a connection of its own until the server closes it, or so much of it."""
    content = b""
    with socket.create_connection(("127.0.0.1", server.port), seconds) as connection:
        connection.sendall(request_bytes(server, client))
        while not at_least or len(content) < at_least:
            piece = connection.recv(65_536)
            if not piece:
                break
            content += piece
    return content


def refuses(server: SandboxServer) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), 5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # in the very moment in which it goes down
    return False


# --- whom it hits, and when ------------------------------------------------------------------------------------------


def test_a_fault_hits_everybody_until_it_is_taken_away(add: Add, client: Client, server: SandboxServer) -> None:
    add("error", code=100500, msg="system busy")
    for path in (BALANCES, UID):
        for name in ("main", "account-2"):
            assert client.ask(path, name).code == 100500
    assert client.raw(SERVER_TIME).code == 100500
    server.exchange.faults.clear()
    assert client.ask().code == 0


def test_a_fault_hits_the_account_and_the_path_that_it_names(add: Add, client: Client) -> None:
    add("error", account="account-2", path=UID, code=100500)
    assert client.ask(UID, "account-2").code == 100500
    assert client.ask(BALANCES, "account-2").code == 0
    assert client.ask(UID, "main").code == 0
    assert client.raw(SERVER_TIME).code == 0


def test_a_fault_hits_the_next_so_many_requests_after_so_many(add: Add, client: Client, server: SandboxServer) -> None:
    add("error", code=100500, skip=1, times=2, account="main")
    client.ask(name="account-2")
    assert [client.ask().code for _ in range(5)] == [0, 100500, 100500, 0, 0]
    assert server.exchange.faults.active() == ()


def test_a_fault_hits_from_and_until(add: Add, client: Client, clock: Clock) -> None:
    begun = clock.seconds
    add("error", code=100500, since=begun + 1, until=datetime.fromtimestamp(begun + 3, UTC).isoformat())
    codes = []
    for _ in range(5):
        codes.append(client.ask().code)
        clock.seconds += 1
    assert codes == [0, 100500, 100500, 0, 0]


def test_a_fault_hits_a_slot(add: Add, client: Client, clock: Clock) -> None:
    clock.seconds = datetime(2026, 11, 22, 15, 19, 59, 500_000, UTC).timestamp()
    add("error", code=100500, slot_at="2026-11-22T15:20:00Z", interval="5m")
    assert client.ask().code == 0
    clock.seconds += 0.5
    assert client.ask().code == 100500
    clock.seconds += 299.99
    assert client.ask().code == 100500
    clock.seconds += 0.01
    assert client.ask().code == 0


def test_a_fault_never_hides_a_broken_rule(add: Add, client: Client, server: SandboxServer) -> None:
    add("error", code=100500, times=1)
    assert client.ask(parameters="x=1&").code == 100400
    assert client.ask().code == 100500
    assert [request.outcome for request in server.requests] == ["100400", "fault error"]


# --- something else is answered --------------------------------------------------------------------------------------


def test_error(add: Add, client: Client, clock: Clock) -> None:
    add("error", code=100419, msg="IP", fields={"success": False, "data": None}, times=1)
    response = client.ask()
    assert response.status == 200
    said = {"code": 100419, "msg": "IP", "timestamp": int(clock() * 1000), "success": False, "data": None}
    assert response.json == said
    add("error", code=100400, status=400, times=1)
    assert (response := client.ask()).status == 400
    assert response.code == 100400


def test_status(add: Add, client: Client) -> None:
    add("status", status=503, headers={"Retry-After": 7, "Content-Type": "text/x"}, body="déjà")
    response = client.ask()
    assert (response.status, response.body.decode()) == (503, "déjà")
    assert (response.headers["Retry-After"], response.headers["Content-Type"]) == ("7", "text/x")


def test_html(add: Add, client: Client) -> None:
    add("html", times=1)
    response = client.ask()
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html;charset=UTF-8")
    assert response.body.startswith(b"<!DOCTYPE html>")
    add("html", status=403, body="<p>no</p>", times=1)
    assert ((response := client.ask()).status, response.body) == (403, b"<p>no</p>")


@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe", b'{"code":0', bytes(range(256))])
def test_raw_bytes(add: Add, client: Client, body: bytes) -> None:
    add("raw", base64=b64encode(body).decode())
    response = client.ask()
    assert (response.status, response.body) == (200, body)
    assert response.headers["Content-Type"].startswith("application/json")


def test_raw_text(add: Add, client: Client) -> None:
    add("raw", body='{"é":"\ud800"}', status=500, content_type="text/plain")
    response = client.ask()
    assert (response.status, response.body, response.headers["Content-Type"]) == (
        500,
        b'{"\xc3\xa9":"\xed\xa0\x80"}',
        "text/plain",
    )


def test_redirect(add: Add, client: Client) -> None:
    add("redirect", location="http://127.0.0.1:9/elsewhere", times=1)
    response = client.ask()
    assert (response.status, response.headers["Location"], response.body) == (302, "http://127.0.0.1:9/elsewhere", b"")
    add("redirect", location="/x", status=308, times=1)
    assert client.ask().status == 308


# --- the answer is right but for this --------------------------------------------------------------------------------


def test_replaced_wallets(add: Add, client: Client, server: SandboxServer, clock: Clock) -> None:
    changed = {"sopt": "12.30", "spot": "1", "eran": "", "grid": 5, "new": "1E+3"}
    add("balances", set=changed, drop=["copyTrading"], null=["USDTMPerp"], account="main")
    rows = [(row["accountType"], row["usdtBalance"]) for row in client.ask().json["data"]]
    truth = dict(server.exchange.wallets("main", int(clock() * 1000)))
    expected: dict[str, Any] = truth | changed | {"USDTMPerp": None}
    del expected["copyTrading"]
    assert rows == list(expected.items())
    assert all(row["usdtBalance"] is not None for row in client.ask(name="account-2").json["data"])


def test_replaced_wallets_are_not_used_up_by_other_requests(add: Add, client: Client) -> None:
    add("balances", drop=["sopt"], times=1)
    client.ask(UID)
    client.raw(SERVER_TIME)
    assert "sopt" not in {row["accountType"] for row in client.ask().json["data"]}
    assert "sopt" in {row["accountType"] for row in client.ask().json["data"]}


def test_the_other_envelope(add: Add, client: Client) -> None:
    rows = client.ask().json["data"]
    add("envelope", form="page")
    assert client.ask().json["data"] == {"result": rows, "pageId": 1, "total": 1}


@pytest.mark.parametrize("uid", [16844999, "16844999"])
def test_another_uid(add: Add, client: Client, uid: int | str) -> None:
    add("uid", uid=uid, account="main")
    assert client.ask(UID).json["data"] == {"uid": uid}
    assert client.ask(UID, "account-2").json["data"] != {"uid": uid}


def test_a_clock_that_is_off(add: Add, client: Client, server: SandboxServer, clock: Clock) -> None:
    add("clock", offset_ms=60_000)
    assert client.ask().code == 100421
    served = client.raw(SERVER_TIME).json["data"]["serverTime"]
    assert served == int(clock() * 1000) + 60_000
    answer = client.ask_with(server.exchange.account("main"), f"timestamp={served}").json
    assert (answer["code"], answer["timestamp"]) == (0, served)


# --- the answer is sent badly ----------------------------------------------------------------------------------------


def test_delay(add: Add, client: Client, server: SandboxServer) -> None:
    add("delay", seconds=0.3, account="main")
    begun = time.monotonic()
    assert client.ask().code == 0
    assert 0.3 <= time.monotonic() - begun < 2
    begun = time.monotonic()
    assert client.ask(name="account-2").code == 0
    assert time.monotonic() - begun < 0.25


def test_a_delay_goes_with_another_fault(add: Add, client: Client) -> None:
    add("delay", seconds=0.2)
    add("error", code=100500)
    begun = time.monotonic()
    assert client.ask().code == 100500
    assert time.monotonic() - begun >= 0.2


def test_hang(add: Add, client: Client, server: SandboxServer) -> None:
    add("hang", times=1)
    with pytest.raises(TimeoutError):
        received(server, client, seconds=0.3)
    add("hang", seconds=0.2, times=1)
    begun = time.monotonic()
    assert received(server, client) == b""
    assert time.monotonic() - begun >= 0.2


def test_reset(add: Add, client: Client, server: SandboxServer) -> None:
    add("reset")
    with pytest.raises(ConnectionResetError):
        received(server, client)


def test_close(add: Add, client: Client, server: SandboxServer) -> None:
    add("close", times=1)
    with pytest.raises(RemoteDisconnected):
        client.ask()
    add("close", after_bytes=9, times=1)
    assert received(server, client) == b"HTTP/1.1 "


def test_truncated_body(add: Add, client: Client, server: SandboxServer) -> None:
    whole = client.ask().body
    for kept, options in ((len(whole) // 2, {}), (3, {"bytes": 3})):
        add("truncate", times=1, **options)
        with Client(server) as other, pytest.raises(IncompleteRead) as caught:
            other.ask()
        assert caught.value.partial == whole[:kept]
        assert caught.value.expected == len(whole) - kept


def test_drip(add: Add, client: Client, server: SandboxServer) -> None:
    add("raw", body="x" * 100)
    add("drip", bytes_per_second=500)
    begun = time.monotonic()
    response = client.ask()
    assert response.body == b"x" * 100
    assert time.monotonic() - begun >= 0.3  # 100 bytes of body, and the head drips too


def test_headers_that_never_end(add: Add, client: Client, server: SandboxServer) -> None:
    add("endless_headers")
    content = received(server, client, at_least=1_000_000)
    assert content.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in content
    with pytest.raises(HTTPException, match="more than 100 headers"):
        client.ask()


def test_headers_that_never_end_and_come_slowly(add: Add, client: Client, server: SandboxServer) -> None:
    add("endless_headers", pause_seconds=0.05)
    begun = time.monotonic()
    received(server, client, at_least=1000)
    assert time.monotonic() - begun >= 0.1


def test_chunks(add: Add, client: Client) -> None:
    whole = client.ask().body
    add("chunked", bytes=7)
    for _ in range(2):
        response = client.ask()
        assert (response.body, response.headers["Transfer-Encoding"]) == (whole, "chunked")
        assert "Content-Length" not in response.headers


def test_gzip(add: Add, client: Client) -> None:
    whole = client.ask().body
    add("gzip")
    for _ in range(2):
        response = client.ask()
        assert response.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(response.body) == whole


def test_gzip_bomb(add: Add, client: Client, server: SandboxServer) -> None:
    whole = client.ask().body
    add("gzip_bomb", megabytes=20)
    response = client.ask()
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(response.body) < 100_000
    unpacked = zlib.decompress(response.body, 31)
    assert (len(unpacked), unpacked.strip()) == (20 * 1024 * 1024 + len(whole), whole)


def test_flood(add: Add, client: Client) -> None:
    whole = client.ask().body
    add("flood", megabytes=3)
    response = client.ask()
    assert (len(response.body), response.body.strip()) == (3 * 1024 * 1024 + len(whole), whole)


def test_refused_connections(add: Add, client: Client, server: SandboxServer, clock: Clock) -> None:
    assert client.ask().code == 0
    add("refuse", seconds=30)
    with pytest.raises((ConnectionError, RemoteDisconnected)):
        client.ask()
    assert [refuses(server) for _ in range(3)] == [True] * 3
    clock.seconds += 30
    deadline = time.monotonic() + 5
    while refuses(server):
        assert time.monotonic() < deadline
    with Client(server) as other:
        assert other.ask().code == 0


def test_refused_connections_from_a_time_on_and_their_end_by_hand(
    add: Add, client: Client, server: SandboxServer, clock: Clock
) -> None:
    add("refuse", seconds=30, since=clock.seconds + 5)
    assert client.ask().code == 0
    clock.seconds += 5
    deadline = time.monotonic() + 5
    while not refuses(server):
        assert time.monotonic() < deadline
    server.exchange.faults.clear()
    with Client(server) as other:
        assert other.ask().code == 0


def test_what_was_served_badly_is_remembered_as_such(add: Add, client: Client, server: SandboxServer) -> None:
    add("delay", seconds=0)
    add("truncate")
    with pytest.raises(IncompleteRead):
        client.ask()
    assert server.requests[-1].outcome == "fault delay+truncate"


# --- as data ---------------------------------------------------------------------------------------------------------

EXAMPLES: list[dict[str, Any]] = [
    {"kind": "clock", "offset_ms": -7000},
    {"kind": "balances", "account": "main", "set": {"sopt": "1"}, "drop": ["c2c"], "null": ["grid"]},
    {"kind": "envelope", "form": "page"},
    {"kind": "uid", "uid": "5", "times": 2},
    {"kind": "error", "path": UID, "code": 100413, "msg": "x", "status": 400, "fields": {"data": None}},
    {"kind": "status", "status": 429, "body": "x", "headers": {"a": "b"}},
    {"kind": "html", "status": 403},
    {"kind": "raw", "base64": "AAAA"},
    {"kind": "redirect", "location": "http://127.0.0.1/"},
    {"kind": "delay", "seconds": 0.5, "since": 1.5, "until": 2},
    {"kind": "hang", "skip": 3},
    {"kind": "reset", "after_bytes": 1},
    {"kind": "close"},
    {"kind": "truncate", "bytes": 4},
    {"kind": "drip", "bytes_per_second": 1},
    {"kind": "endless_headers", "pause_seconds": 1},
    {"kind": "chunked", "bytes": 1},
    {"kind": "gzip"},
    {"kind": "gzip_bomb", "megabytes": 1},
    {"kind": "flood", "megabytes": 1},
    {"kind": "refuse", "seconds": 1, "since": 5},
]


def test_there_is_an_example_of_every_kind() -> None:
    assert {example["kind"] for example in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["kind"])
def test_a_fault_as_json_is_that_fault_again(example: dict[str, Any]) -> None:
    fault = parse_fault(example)
    assert parse_fault(fault.as_json()) == fault
    assert example.items() <= fault.as_json().items()


def test_a_fault_in_force_is_shown_as_json_that_is_that_fault_again(clock: Clock) -> None:
    book = FaultBook(clock)
    book.put(*(parse_fault(example) for example in EXAMPLES))
    for fault in book.active():
        again = parse_fault(fault.as_json())
        assert (again.kind, again.options, again.account, again.path) == (
            fault.kind,
            fault.options,
            fault.account,
            fault.path,
        )


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ([], "a fault is a JSON object"),
        ({}, "kind is one of clock, "),
        ({"kind": "sleep"}, "kind is one of clock, "),
        ({"kind": ["error"]}, "kind is one of clock, "),
        ({"kind": "delay"}, "delay needs seconds"),
        ({"kind": "delay", "seconds": "1"}, "seconds of delay is float or int"),
        ({"kind": "delay", "seconds": True}, "seconds of delay is float or int"),
        ({"kind": "delay", "seconds": 1, "code": 5}, "delay has no 'code'"),
        ({"kind": "hang", "times": 0}, "times at least 1"),
        ({"kind": "hang", "skip": -1}, "skip is at least 0"),
        ({"kind": "hang", "since": "yesterday"}, "yesterday"),
        ({"kind": "hang", "slot_at": "2026-11-22T15:20:00Z"}, "slot_at goes with interval"),
        ({"kind": "hang", "slot_at": "2026-11-22T15:20:00Z", "interval": "5m", "until": 1}, "slot_at goes with"),
        ({"kind": "raw", "base64": "???"}, "base64"),
        ({"kind": "envelope", "form": "letter"}, "list or page"),
        ({"kind": "refuse", "seconds": 1, "times": 2}, "for the whole server"),
    ],
)
def test_what_is_no_fault_is_refused_with_the_reason(data: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_fault(data)
