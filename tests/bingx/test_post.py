"""A text to an address of the user's, whatever the server there does."""

import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from etl.bingx.post import Post
from tests.bingx.certificates import Authority
from tests.bingx.servers import RawServer, closed_port, http
from tests.ops.pinged import ID, Service, drip, hang, pour


def answering(answer: bytes) -> Callable[[RawServer, socket.socket], None]:
    """The same to everybody."""
    return lambda _, connection: connection.sendall(answer)


def test_a_text_arrives_as_it_is_and_with_nothing_else() -> None:
    with Service() as service:
        assert Post()(f"{service.url}/start?rid=1", "é 1\n", 5) == ""
        [ping] = service.pings
    assert (ping.method, ping.path, ping.run, ping.text) == ("POST", "/start", "1", "é 1\n")
    assert set(ping.headers) == {
        *("host", "user-agent", "accept", "accept-encoding", "connection", "content-type", "content-length"),
    }


@pytest.mark.parametrize(
    ("answer", "words", "tries"),
    [
        (http(b"OK (not found)"), "the service knows no check of that address", 1),
        (http(b"OK (rate limited)"), "the service limits the rate", 1),
        (http(b"", "404 Not Found"), "the service answered 404", 1),
        (http(b"", "429 Too Many"), "the service answered 429", 1),
        (http(b"", "503 Busy"), "the service answered 503", 3),
        (http(b"", "204 None"), "", 1),
        (b"nonsense\r\n\r\n", "the answer is not HTTP", 3),
        (b"", "connection closed without an answer", 3),
    ],
)
def test_what_the_service_says_is_understood_and_tried_again_where_that_may_help(
    answer: bytes, words: str, tries: int
) -> None:
    pauses: list[float] = []
    with Service(answering(answer)) as service:
        assert Post(sleep=pauses.append)(service.url, "x", 5) == words
    assert (len(service.pings), len(pauses)) == (tries, tries - 1)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status: str) -> None:
    with Service() as other:
        with Service(answering(http(b"", status, f"Location: {other.url}/stolen\r\n"))) as service:
            assert "redirects are not followed" in Post()(service.url, "x", 5)
        assert len(service.pings) == 1
        assert other.server.connections == 0


@pytest.mark.parametrize("behave", [hang, drip], ids=["hangs", "drips"])
def test_a_server_that_takes_its_time_gets_no_more_than_it_is_given(
    behave: Callable[[RawServer, socket.socket], None],
) -> None:
    with Service(behave) as service:
        began = time.monotonic()
        assert Post()(service.url, "x", 0.5) == "no answer in time"
        assert time.monotonic() - began < 10
    assert len(service.pings) == 1


def test_an_answer_without_end_is_left_unread() -> None:
    with Service(pour) as service:
        began = time.monotonic()
        assert Post()(service.url, "x", 5) == ""
        assert time.monotonic() - began < 5
    bomb = zlib.compress(b"\0" * 50_000_000)
    with Service(answering(http(bomb, headers="Content-Encoding: deflate\r\n"))) as service:
        assert Post()(service.url, "x", 5) == ""


def test_nothing_that_is_said_holds_the_address() -> None:
    post = Post(sleep=lambda _: None)
    for url in (f"http://127.0.0.1:{closed_port()}/{ID}", f"http://no-such-host.invalid/{ID}", f"http://[/{ID}"):
        words = post(url, "x", 3)
        assert words
        assert ID not in words
        assert "invalid" not in words


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Service() as other, Service() as service:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, other.server.url)
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert Post()(service.url, "x", 5) == ""
        assert other.server.connections == 0
        assert "authorization" not in service.pings[0].headers


def test_our_own_proxy_and_authority_are_honoured(tmp_path: Path) -> None:
    with RawServer(lambda server, connection: server.answer(connection, http(b"OK"))) as proxy:
        assert Post(proxy=proxy.url)(f"http://service.example/{ID}", "", 5) == ""
        assert proxy.heads[0].startswith(f"POST http://service.example/{ID} HTTP/1.1\r\n".encode())
    authority = Authority.make(tmp_path)
    tls = authority.server("127.0.0.1")
    with RawServer(lambda server, connection: server.answer(connection, http(b"OK")), tls) as server:
        assert Post(ca_bundle=authority.bundle)(server.url, "x", 5) == ""
        assert "certificate not trusted" in Post(sleep=lambda _: None)(server.url, "x", 5)
    assert Post(ca_bundle=tmp_path / "none.pem")(server.url, "x", 5) == "the ca_bundle cannot be read"
