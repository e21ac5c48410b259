"""``GET /metrics``: for everybody who asks, whatever the others do."""

import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from etl.ops import metrics_server
from etl.ops.exposition import OPENMETRICS, TEXT
from etl.ops.metrics_server import MetricsServer, prefers_openmetrics

LARGE = b"# a comment\n" * 1_000_000  # more than the buffers of a socket take


def render(openmetrics: bool) -> bytes:
    return b"open\n" if openmetrics else b"plain\n"


@contextmanager
def serving(
    render: Callable[[bool], bytes] = render, host: str = "127.0.0.1"
) -> Iterator[tuple[MetricsServer, tuple[str, int]]]:
    server = MetricsServer((host, 0), render)
    parts = urlsplit(server.url)
    assert parts.hostname
    assert parts.port
    try:
        yield server, (parts.hostname, parts.port)
    finally:
        server.close()


def ask(
    address: tuple[str, int], path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    connection = http.client.HTTPConnection(*address, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def say(address: tuple[str, int], text: bytes) -> bytes:
    """Everything that comes back."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(text)
        with suppress(OSError):  # where it is closed already, what comes back says so
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8; escaping=allow-utf-8", True),
        ("text/plain;q=0.5, application/openmetrics-text;q=0.5", True),
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("text/plain, application/openmetrics-text;q=0.1", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=x;q=nan", True),
        (";;;,,q=1,application/openmetrics-textual", False),
    ],
)
def test_openmetrics_is_for_who_asks_for_it(accept: str, expected: bool) -> None:
    assert prefers_openmetrics(accept) is expected


def test_the_content_type_says_which_it_is() -> None:
    with serving() as (_, address):
        assert ask(address) == (200, TEXT, b"plain\n")
        assert ask(address, "/metrics?x=1", Accept=PROMETHEUS) == (200, OPENMETRICS, b"open\n")


def test_it_listens_on_ipv6_as_well() -> None:
    with serving(host="::1") as (server, address):
        assert server.url.startswith("http://[::1]:")
        assert ask(address)[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics/../etc/passwd", "/METRICS", "*", "/%6detrics"])
def test_there_is_nothing_at_any_other_path(path: str) -> None:
    with serving() as (_, address):
        status, _, content = ask(address, path)
        assert (status, b"/metrics" in content, b"plain" in content) == (404, True, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_nothing_but_get_is_answered(method: str) -> None:
    with serving() as (_, address):
        status, _, content = ask(address, method=method)
        assert status in {405, 501}
        assert b"plain" not in content


GARBAGE = [
    b"",
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /metrics HTTP/9.9\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50,
    bytes(range(256)) * 100,
    b"GET /metrics HTTP/1.1\r\nAccept: \xff\xfe;q=\x00\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
]


def test_garbage_is_no_news_and_in_nobodys_way(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with serving() as (_, address):
        for each in GARBAGE:
            try:
                said = say(address, each)
            except ConnectionError:  # closed before everything was read
                said = b""
            assert b"Traceback" not in said
            assert b"Python" not in said, "which version it is is nobody's business"
        assert ask(address)[0] == 200
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_four_readers_at_once_are_all_answered() -> None:
    met = threading.Barrier(4, timeout=20)

    def meet(openmetrics: bool) -> bytes:
        met.wait()
        return render(openmetrics)

    with serving(meet) as (_, address), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: ask(address), range(4))) == [(200, TEXT, b"plain\n")] * 4


def test_readers_that_never_read_or_never_ask_hold_up_nobody_and_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "CONNECTION_SECONDS", 1.0)
    monkeypatch.setattr(metrics_server._Handler, "timeout", 20)
    with serving(lambda _: LARGE) as (_, address), ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(3)]
        for each in silent[:2]:
            each.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")  # and never reads
        began = time.monotonic()
        assert ask(address) == (200, TEXT, LARGE)
        assert time.monotonic() - began < 5
        dripping = stack.enter_context(socket.create_connection(address, timeout=20))
        with pytest.raises(OSError):  # noqa: PT011 - whichever way it learns of it
            drip(dripping)
        for each in silent:
            while each.recv(1_000_000):
                pass
        assert threads_of_connections() == 0


def drip(connection: socket.socket) -> None:
    """A request that never comes to its end."""
    for _ in range(200):
        connection.sendall(b"X")
        time.sleep(0.05)


def threads_of_connections() -> int:
    """After giving them a moment to end."""
    deadline = time.monotonic() + 5
    while (alive := sum("process_request" in thread.name for thread in threading.enumerate())) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.02)
    return alive


def test_beyond_so_many_connections_a_further_one_is_closed_and_later_ones_are_welcome() -> None:
    with serving() as (_, address), ExitStack() as stack:
        for _ in range(metrics_server.MOST_CONNECTIONS):
            stack.enter_context(socket.create_connection(address, timeout=20))
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(address)
        stack.close()
        deadline = time.monotonic() + 20
        while True:
            try:
                assert ask(address)[0] == 200
            except (http.client.HTTPException, OSError):
                assert time.monotonic() < deadline
            else:
                break


def test_a_defect_is_told_and_the_next_reader_answered(caplog: pytest.LogCaptureFixture) -> None:
    broken = [True]

    def burst(openmetrics: bool) -> bytes:
        if broken:
            raise RuntimeError("burst")
        return render(openmetrics)

    with serving(burst) as (_, address):
        with pytest.raises(http.client.HTTPException):
            ask(address)
        broken.clear()
        assert ask(address)[0] == 200
    assert "a defect of the metrics: recording goes on" in caplog.text


def test_a_port_that_is_taken_is_an_error_and_one_that_was_closed_is_free_at_once() -> None:
    with serving() as (_, address):
        with pytest.raises(OSError, match="in use"):
            MetricsServer(address, render)
        assert ask(address)[0] == 200
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(address)
    again = MetricsServer(address, render)
    assert ask(address)[0] == 200
    again.close()


def test_it_asks_nobody_for_the_machines_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> str:
        raise AssertionError("a look-up may hang")

    for name in ("getfqdn", "gethostbyaddr", "gethostbyname"):
        monkeypatch.setattr(socket, name, hang)
    with serving() as (_, address):
        assert ask(address)[0] == 200
