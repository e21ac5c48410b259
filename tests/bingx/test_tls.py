import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from etl.bingx.client import Client, Credential
from etl.bingx.tls import trust
from etl.errors import Unreachable
from tests.bingx.certificates import Authority
from tests.bingx.servers import OK, RawServer, always, http, once, read_head

CREDENTIAL = Credential("canary-key-0123456789", "canary-secret-0123456789")
Make = Callable[..., Client]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path)


def test_an_authority_of_ones_own_is_believed_when_it_is_named(authority: Authority, client_of: Make) -> None:
    with RawServer(always(http(OK)), authority.server("127.0.0.1")) as server:
        calling = client_of(server.url, ca_bundle=authority.bundle)
        for _ in range(3):
            assert calling.balances(CREDENTIAL, 0).body == OK
        assert server.connections == 1


def test_it_is_believed_beside_the_usual_ones_and_not_instead(authority: Authority) -> None:
    usual, more = len(trust(None).get_ca_certs()), len(trust(authority.bundle).get_ca_certs())
    assert usual > 50
    assert more == usual + 1


@pytest.mark.parametrize("case", ["unknown", "self-signed", "expired", "not yet valid", "another host", "no address"])
def test_a_host_that_cannot_prove_its_name_gets_nothing(
    case: str, authority: Authority, client_of: Make, tmp_path: Path
) -> None:
    match case:
        case "unknown":
            words, context = "nobody known has signed it", Authority.make(tmp_path, "Stranger").server("127.0.0.1")
        case "self-signed":
            words, context = "nobody known has signed it", authority.server("127.0.0.1", self_signed=True)
        case "expired":
            words, context = "has expired", authority.server("127.0.0.1", days=(-3, -1))
        case "not yet valid":
            words, context = "not valid yet", authority.server("127.0.0.1", days=(1, 3))
        case "another host":
            words, context = "another host", authority.server("127.0.0.2", "open-api.bingx.com")
        case _:
            words, context = "another host", authority.server("localhost")
    with RawServer(always(http(OK)), context) as server:
        with pytest.raises(Unreachable, match=f"certificate not trusted: .*{words}"):
            client_of(server.url, ca_bundle=authority.bundle).balances(CREDENTIAL, 0)
        assert server.heads == []


def test_without_the_setting_the_authority_is_unknown(
    authority: Authority, client_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(authority.bundle))
    with RawServer(always(http(OK)), authority.server("127.0.0.1")) as server:
        with pytest.raises(Unreachable, match="certificate not trusted"):
            client_of(server.url).balances(CREDENTIAL, 0)
        assert server.heads == []


def test_session_keys_are_not_written_where_the_environment_says(
    authority: Authority, client_of: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with RawServer(always(http(OK)), authority.server("127.0.0.1")) as server:
        client_of(server.url, ca_bundle=authority.bundle).balances(CREDENTIAL, 0)
    assert not (tmp_path / "keys").exists()


def test_something_else_than_tls_is_called_so(client_of: Make) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(http(b"plain HTTP was expected", "400 Bad Request"))

    with RawServer(behave) as server, pytest.raises(Unreachable, match=r"127\.0\.0\.1: TLS failed"):
        client_of(server.url.replace("http:", "https:")).balances(CREDENTIAL, 0)


def _takes_long(calling: Client) -> float:
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"deadline of 0\.5 s passed"):
        calling.balances(CREDENTIAL, 0)
    return time.monotonic() - started


def test_the_deadline_holds_in_the_handshake(client_of: Make) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        server.stopping.wait(30)

    with RawServer(behave) as server:
        assert _takes_long(client_of(server.url.replace("http:", "https:"), request_timeout_seconds=0.5)) < 10


def test_the_deadline_holds_where_a_handshake_is_dripped(client_of: Make) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")  # a ServerHello that will take its time
        while not server.stopping.wait(0.05):
            connection.sendall(b"\x00")

    with RawServer(behave) as server:
        assert _takes_long(client_of(server.url.replace("http:", "https:"), request_timeout_seconds=0.5)) < 10


def test_the_deadline_holds_within_tls_and_on_a_connection_used_before(authority: Authority, client_of: Make) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        server.answer(connection, http(OK))
        read_head(connection)
        for byte in http(b"x" * 5000):
            connection.sendall(bytes([byte]))
            if server.stopping.wait(0.05):
                return

    with RawServer(behave, authority.server("127.0.0.1")) as server:
        calling = client_of(server.url, ca_bundle=authority.bundle, request_timeout_seconds=0.5)
        assert calling.balances(CREDENTIAL, 0).body == OK
        assert _takes_long(calling) < 10
        assert server.connections == 1


def test_a_truncated_answer_within_tls_is_no_answer(authority: Authority, client_of: Make) -> None:
    truncated = once(http(OK, length=len(OK) + 1))
    with RawServer(truncated, authority.server("127.0.0.1")) as server, pytest.raises(Unreachable, match="broke off"):
        client_of(server.url, ca_bundle=authority.bundle).balances(CREDENTIAL, 0)


def test_connecting_and_handshake_do_not_count_as_the_exchanges_latency(authority: Authority, client_of: Make) -> None:
    def behave(server: RawServer, connection: socket.socket) -> None:
        time.sleep(0.4)
        with context.wrap_socket(connection, server_side=True) as wrapped:
            server.answer(wrapped, http(OK))

    context = authority.server("127.0.0.1")
    with RawServer(behave) as server:
        calling = client_of(server.url.replace("http:", "https:"), ca_bundle=authority.bundle)
        started = time.time()
        fetched = calling.balances(CREDENTIAL, 0)
        took_ms = (time.time() - started) * 1000
    assert fetched.latency_ms < took_ms - 350
    assert fetched.requested_at.timestamp() - started > 0.35


@pytest.mark.parametrize("proxy_speaks_tls", [False, True])
def test_a_proxy_tunnels_tls_and_sees_neither_key_nor_signature(
    proxy_speaks_tls: bool, authority: Authority, client_of: Make
) -> None:
    def tunnel(server: RawServer, connection: socket.socket) -> None:
        server.heads.append(read_head(connection))
        with socket.create_connection(("127.0.0.1", target.port)) as onward:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = Thread(target=_pump, args=(onward, connection))
            back.start()
            _pump(connection, onward)
            back.join(5)

    tls = authority.server("127.0.0.1") if proxy_speaks_tls else None
    with RawServer(once(http(OK)), authority.server("127.0.0.1")) as target, RawServer(tunnel, tls) as proxy:
        calling = client_of(target.url, proxy=proxy.url, ca_bundle=authority.bundle)
        assert calling.balances(CREDENTIAL, 0).body == OK
        assert len(target.heads) == 1
        assert len(proxy.heads) == 1
        assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{target.port} HTTP/1.".encode())
        assert b"canary" not in proxy.heads[0]
        assert b"signature" not in proxy.heads[0]


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
