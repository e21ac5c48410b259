"""The client against real sockets: deadlines, sizes, redirects, connections, the environment."""

import gzip
import os
import socket
import struct
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from etl.bingx.client import Client, Credential
from etl.bingx.names import look_up
from etl.errors import KeyRefused, MalformedAnswer, RateLimited, Trouble, Unavailable, Unreachable
from tests.bingx.servers import OK, RawServer, always, closed_port, http, once, read_head
from tests.fakes import no_thread

CREDENTIAL = Credential("canary-key-0123456789", "canary-secret-0123456789")
Make = Callable[..., Client]
Behaviour = Callable[[RawServer, socket.socket], None]


def drip(data: bytes) -> Behaviour:
    def behave(server: RawServer, connection: socket.socket) -> None:
        read_head(connection)
        for byte in data:
            connection.sendall(bytes([byte]))
            if server.stopping.wait(0.05):
                return

    return behave


def flood(first: bytes, again: bytes) -> Behaviour:
    def behave(server: RawServer, connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(first)
        while not server.stopping.wait(0.001):
            connection.sendall(again)

    return behave


def silent(server: RawServer, connection: socket.socket) -> None:
    read_head(connection)
    server.stopping.wait(30)


def deaf(server: RawServer, connection: socket.socket) -> None:
    server.stopping.wait(30)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(deaf, id="nothing is read"),
        pytest.param(silent, id="no answer"),
        pytest.param(drip(HEAD + b"X: " + b"x" * 5000), id="headers, a byte at a time"),
        pytest.param(drip(http(b"x" * 5000)), id="a body, a byte at a time"),
        pytest.param(
            drip(HEAD + b"Connection: close\r\n\r\n" + OK + b" " * 5000), id="a body whose end is the connection's"
        ),
        pytest.param(drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000), id="chunks"),
        pytest.param(flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="100 Continue for ever"),
        pytest.param(flood(HEAD + b"Content-Length: 99\r\n\r\n" + OK, b""), id="the rest never comes"),
    ],
)
def test_the_deadline_is_one_for_the_whole_exchange(behave: Behaviour, client_of: Make) -> None:
    with RawServer(behave) as server:
        started = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            client_of(server.url, request_timeout_seconds=0.5).balances(CREDENTIAL, 0)
        assert 0.4 < time.monotonic() - started < 10
    assert caught.value.detail == "127.0.0.1: deadline of 0.5 s passed"


def test_headers_that_never_end_are_refused(client_of: Make) -> None:
    with (
        RawServer(flood(HEAD, b"X-More: and more\r\n")) as server,
        pytest.raises(Unreachable, match=r"not HTTP|deadline"),
    ):
        client_of(server.url, request_timeout_seconds=2).balances(CREDENTIAL, 0)


def test_connecting_counts_towards_the_deadline(client_of: Make) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as full:
        for _ in range(8):  # fill the queue of connections nobody accepts
            waiting = full.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        started = time.monotonic()
        with pytest.raises(Unreachable):
            client_of(f"http://127.0.0.1:{listener.getsockname()[1]}", request_timeout_seconds=0.5).balances(
                CREDENTIAL, 0
            )
        assert time.monotonic() - started < 10


def test_a_dead_address_leaves_time_for_the_next(client_of: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    with (
        RawServer(always(http(OK))) as server,
        socket.create_server(("127.0.0.1", 0), backlog=0) as dead,
        ExitStack() as full,
    ):
        for _ in range(8):
            waiting = full.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(dead.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", at) for at in (dead.getsockname(), ("127.0.0.1", server.port))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert client_of(server.url, request_timeout_seconds=2).balances(CREDENTIAL, 0).body == OK
        monkeypatch.setattr(socket, "getaddrinfo", real)


def test_a_large_body_is_cut_and_not_read_on(client_of: Make) -> None:
    with (
        RawServer(flood(HEAD + b"Content-Length: 10000000000\r\n\r\n" + OK, b" " * 65536)) as server,
        pytest.raises(MalformedAnswer, match="larger than") as caught,
    ):
        client_of(server.url).balances(CREDENTIAL, 0)
    assert caught.value.body.startswith(OK)
    assert len(caught.value.body) <= 64 * 1024


def test_a_gzip_bomb_does_not_explode(client_of: Make) -> None:
    press = zlib.compressobj(9, wbits=31)
    bomb = b"".join(press.compress(bytes(1_000_000)) for _ in range(300)) + press.flush()
    assert len(bomb) < 512 * 1024
    with RawServer(always(http(bomb, headers="Content-Encoding: gzip\r\n"))) as server:
        tracemalloc.start()
        try:
            with pytest.raises(MalformedAnswer, match="larger than"):
                client_of(server.url).balances(CREDENTIAL, 0)
            assert tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()


def test_a_compressed_answer_is_read(client_of: Make) -> None:
    with RawServer(always(http(gzip.compress(OK), headers="Content-Encoding: gzip\r\n"))) as server:
        assert client_of(server.url).balances(CREDENTIAL, 0).body == OK


def test_a_chunked_answer_is_read(client_of: Make) -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(OK), OK)
    with RawServer(always(chunked)) as server:
        assert client_of(server.url).balances(CREDENTIAL, 0).body == OK


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_goes_nowhere(status: int, client_of: Make) -> None:
    with RawServer(always(http(OK))) as thief:
        answer = http(b"", f"{status} Moved", f"Location: {thief.url}/openApi\r\n")
        with RawServer(always(answer)) as server, pytest.raises(Unavailable, match="redirect refused"):
            client_of(server.url).balances(CREDENTIAL, 0)
        assert thief.connections == 0


def test_the_body_of_a_redirect_is_capped_too(client_of: Make) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 10000000000\r\n\r\n"
    with RawServer(flood(head, b" " * 65536)) as server:
        started = time.monotonic()
        with pytest.raises(Unavailable, match="redirect refused"):
            client_of(server.url, request_timeout_seconds=20).balances(CREDENTIAL, 0)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http(OK, length=len(OK) + 10), "broke off"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b" % (len(OK) + 10, OK), "broke off"),
        (b"", "without an answer"),
        (b"HTTP/1.1 20", "HTTP"),
        (b"\x16\x03\x01garbage\r\n\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "HTTP"),
        (HEAD + b"Content-Length: 99\r\n", "broke off"),
        (HEAD + b"Conte", "broke off"),
        (HEAD, "broke off"),
    ],
)  # fmt: skip
def test_what_did_not_come_whole_did_not_come(answer: bytes, words: str, client_of: Make) -> None:
    with RawServer(once(answer)) as server, pytest.raises(Unreachable, match=words):
        client_of(server.url).balances(CREDENTIAL, 0)


def test_a_reset_connection_is_called_one(client_of: Make) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        read_head(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with RawServer(behave) as server, pytest.raises(Unreachable, match=r"127\.0\.0\.1: connection reset"):
        client_of(server.url).balances(CREDENTIAL, 0)


@pytest.mark.parametrize(
    ("status", "kind"), [("429 Too Many", RateLimited), ("401 No", KeyRefused), ("503 Busy", Unavailable)]
)
def test_a_refusal_whose_text_broke_off_is_still_a_refusal(status: str, kind: type[Trouble], client_of: Make) -> None:
    with RawServer(once(http(b"slow", status, length=1000))) as server, pytest.raises(kind):
        client_of(server.url).balances(CREDENTIAL, 0)
    late = http(b"x" * 5000, status)
    cut = late.index(b"xxx")

    def behave(server: RawServer, connection: socket.socket) -> None:
        server.answer(connection, late[:cut])
        server.stopping.wait(30)

    with RawServer(behave) as server, pytest.raises(kind):
        client_of(server.url, request_timeout_seconds=0.5).balances(CREDENTIAL, 0)


def test_nobody_listening_is_called_so(client_of: Make) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1: connection refused"):
        client_of(f"http://127.0.0.1:{closed_port()}").balances(CREDENTIAL, 0)


@pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 64 + ".example", "a..example"])
def test_a_name_that_does_not_resolve_is_called_so(host: str, client_of: Make) -> None:
    with pytest.raises(Unreachable, match="name not resolved"):
        client_of(f"https://{host}").balances(CREDENTIAL, 0)


def test_the_fallback_answers_where_the_first_host_is_gone(client_of: Make) -> None:
    with RawServer(always(http(OK))) as server:
        calling = client_of(f"http://127.0.0.1:{closed_port()}", fallback_base_url=server.url)
        assert calling.balances(CREDENTIAL, 0).body == OK


def test_one_connection_serves_many_calls_and_accounts(client_of: Make) -> None:
    with RawServer(always(http(OK))) as server:
        calling = client_of(server.url)
        for n in range(5):
            calling.balances(Credential(f"key-number-{n}", "secret"), 0)
        threads = [threading.Thread(target=calling.balances, args=(CREDENTIAL, 0)) for _ in range(3)]
        for thread in threads:  # one after the other: a new thread needs no new connection
            thread.start()
            thread.join()
        assert server.connections == 1
        assert len(server.heads) == 8


def test_no_cookie_of_one_account_is_shown_to_the_next(client_of: Make) -> None:
    with RawServer(always(http(OK, headers="Set-Cookie: session=one; Path=/\r\n"))) as server:
        calling = client_of(server.url)
        calling.balances(CREDENTIAL, 0)
        calling.balances(CREDENTIAL, 0)
        assert server.connections == 1
        assert not any(b"cookie" in head.lower() for head in server.heads)


def test_many_threads_at_once_do_not_mix_their_answers(client_of: Make) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        while head := read_head(connection):
            key = head.split(b"X-BX-APIKEY: ")[1].split(b"\r\n")[0]
            connection.sendall(http(b'{"code":0,"length":%d,"last":"%b"}' % (len(key), key[-3:])))

    wrong: list[bytes] = []
    with RawServer(behave) as server:
        calling = client_of(server.url)

        def call(number: int) -> None:
            for _ in range(10):
                body = calling.balances(Credential(f"some-long-key-{number:03d}", "secret"), 0).body
                if b'"last":"%03d"' % number not in body:
                    wrong.append(body)

        threads = [threading.Thread(target=call, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not wrong
        assert server.connections <= 16


def test_a_connection_that_the_server_closed_meanwhile_is_no_failure(client_of: Make) -> None:
    with RawServer(once(http(OK))) as server:
        calling = client_of(server.url)
        for _ in range(3):
            assert calling.balances(CREDENTIAL, 0).body == OK
            time.sleep(0.05)
        assert server.connections == 3


def test_a_connection_idle_for_long_is_not_trusted(client_of: Make) -> None:
    later = [0.0]
    with RawServer(always(http(OK))) as server:
        calling = client_of(server.url, monotonic=lambda: time.monotonic() + later[0])
        calling.balances(CREDENTIAL, 0)
        later[0] += 29
        calling.balances(CREDENTIAL, 0)
        assert server.connections == 1
        later[0] += 31
        calling.balances(CREDENTIAL, 0)
        assert server.connections == 2


def test_a_failed_exchange_leaves_nothing_for_the_next(client_of: Make) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        if server.connections == 1:
            server.answer(connection, http(b'{"code":0,"of":"the first"}', length=1000))
            server.stopping.wait(1.2)
            connection.sendall(b" " * 1000)
        else:
            always(http(OK))(server, connection)

    with RawServer(behave) as server:
        calling = client_of(server.url, request_timeout_seconds=1)
        with pytest.raises(Unreachable):
            calling.balances(CREDENTIAL, 0)
        for _ in range(3):
            assert calling.balances(CREDENTIAL, 0).body == OK


def test_a_deadline_that_passes_between_two_calls_harms_none(client_of: Make) -> None:
    with RawServer(always(http(OK))) as server:
        calling = client_of(server.url, request_timeout_seconds=0.6)
        for _ in range(3):
            calling.balances(CREDENTIAL, 0)
            time.sleep(0.45)
        assert server.connections == 1


def test_descriptors_and_threads_stay_flat(client_of: Make) -> None:
    answers = [http(OK), http(OK), http(b"<html>"), http(b"", "500 X"), http(OK, length=9999), b"nonsense\r\n\r\n", b""]

    def behave(server: RawServer, connection: socket.socket) -> None:
        server.answer(connection, answers[len(server.heads) % len(answers)])

    with RawServer(behave) as server, RawServer(silent) as slow:
        calling, hanging = client_of(server.url), client_of(slow.url, request_timeout_seconds=0.02)
        refused = client_of(f"http://127.0.0.1:{closed_port()}")
        empty = _descriptors()

        def round_of_calls() -> None:
            for each in (calling, calling, refused):
                with suppress(Trouble):
                    each.balances(CREDENTIAL, 0)

        for _ in range(100):
            round_of_calls()
            # Both ends of the one connection that is kept, and of one that the server has not yet noticed to be gone.
            assert _descriptors() <= empty + 4
        for _ in range(10):
            with pytest.raises(Unreachable):
                hanging.balances(CREDENTIAL, 0)
        assert _timers() == 0
        calling.close()
    # What hung is still held by the other end until that stops.
    _wait_until(lambda: _descriptors() <= empty)


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def _timers() -> int:
    _wait_until(lambda: not any(isinstance(thread, threading.Timer) for thread in threading.enumerate()))
    return sum(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def _wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def hostile_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RawServer]:
    """A proxy and a netrc that would get hold of everything if the environment were listened to."""
    with RawServer(always(http(b'{"code":0,"from":"the thief"}'))) as thief:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, thief.url)
            monkeypatch.setenv(name.upper(), thief.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login me password thief-password\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere/ca.pem")
        yield thief


def test_proxies_and_netrc_of_the_environment_are_ignored(hostile_environment: RawServer, client_of: Make) -> None:
    with RawServer(always(http(OK))) as server:
        assert client_of(server.url).balances(CREDENTIAL, 0).body == OK
        assert b"authorization" not in server.heads[0].lower()
    assert hostile_environment.connections == 0


def test_the_proxy_of_the_setting_is_used_and_no_other(hostile_environment: RawServer, client_of: Make) -> None:
    with RawServer(always(http(OK))) as proxy:
        calling = client_of("http://127.0.0.1:1", proxy=proxy.url.replace("//", "//user:pass@"))
        assert calling.balances(CREDENTIAL, 0).body == OK
        assert proxy.heads[0].startswith(
            b"GET http://127.0.0.1:1/openApi/account/v1/allAccountBalance?recvWindow=5000&"
        )
        assert b"\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in proxy.heads[0]
    assert hostile_environment.connections == 0


def test_where_there_is_no_thread_for_it_a_name_is_looked_up_by_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    for start in (no_thread, threading.Thread.start):
        monkeypatch.setattr(threading.Thread, "start", start)
        assert look_up("no-thread.example", 80, 10) == found


def test_a_proxy_that_fails_is_named_without_its_password(client_of: Make) -> None:
    with pytest.raises(Unreachable, match="the proxy: connection refused") as caught:
        client_of("https://open-api.bingx.com", proxy=f"http://user:pass@127.0.0.1:{closed_port()}").balances(
            CREDENTIAL, 0
        )
    assert "pass" not in caught.value.detail
    with RawServer(once(http(b"", "407 Who"))) as proxy, pytest.raises(Unreachable, match="the proxy"):
        client_of("https://open-api.bingx.com", proxy=proxy.url).balances(CREDENTIAL, 0)
    assert b"canary" not in proxy.heads[0]


def test_a_request_counts_from_when_it_was_sent_and_not_from_when_it_was_wanted(client_of: Make) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        read_head(connection)
        time.sleep(0.3)
        connection.sendall(http(OK))

    with RawServer(behave) as server:
        started = time.monotonic()
        fetched = client_of(server.url).balances(CREDENTIAL, 0)
        took_ms = (time.monotonic() - started) * 1000
    assert 300 <= fetched.latency_ms <= took_ms + 1


def test_nothing_below_the_signature_sends_a_request_again(client_of: Make) -> None:
    with RawServer(once(b"")) as server, pytest.raises(Unreachable):
        client_of(server.url).balances(CREDENTIAL, 0)
    assert (server.connections, len(server.heads)) == (1, 1), "a second one would carry an old timestamp"
