import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from etl.sandbox.exchange import Exchange
from etl.sandbox.limits import NO_LIMITS
from etl.sandbox.server import SandboxServer
from tests.sandbox.asking import BALANCES, SERVER_TIME, Client, Clock


def spoken(server: SandboxServer, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


@pytest.mark.parametrize("host", ["::", "8.8.8.8", "203.0.113.1", "127.evil.example", "localhost", ""])
def test_any_address_but_a_loopback_one_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"loopback|IPv4"):
        SandboxServer(host=host)


def test_the_url_is_where_it_listens(server: SandboxServer, client: Client) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert client.raw(SERVER_TIME).status == 200


def test_two_servers_have_two_ports_and_a_taken_one_is_an_error(server: SandboxServer) -> None:
    with SandboxServer() as other:
        assert other.port != server.port
    with pytest.raises(OSError, match="in use"):
        SandboxServer(port=server.port).start()


def test_a_port_that_somebody_takes_when_the_server_goes_down_is_waited_for(
    server: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, bind = socket.socket(), server._bind

    def too_late() -> socket.socket:
        monkeypatch.setattr(server, "_bind", bind)
        taken.bind(("127.0.0.1", server.port))
        return bind()

    monkeypatch.setattr(server, "_bind", too_late)
    with taken, ThreadPoolExecutor(1) as pool:
        down = pool.submit(server.exchange.faults.add, "refuse", seconds=60)
        time.sleep(0.3)
        assert not down.done(), "it is down when the port is its own again"
        taken.close()
        down.result(5)
    server.exchange.faults.clear()
    with Client(server) as client:
        assert client.raw(SERVER_TIME).status == 200


def test_a_stopped_server_frees_its_port_its_connections_and_its_threads() -> None:
    before = set(threading.enumerate())
    server = SandboxServer()
    server.exchange.faults.add("hang", path=BALANCES)
    server.start()
    with Client(server) as idle, Client(server) as hanging, ThreadPoolExecutor(1) as pool:
        assert idle.raw(SERVER_TIME).status == 200
        hung = pool.submit(hanging.ask)
        while not any(request.path == BALANCES for request in server.requests):
            time.sleep(0.01)
        begun = time.monotonic()
        server.stop()
        server.stop()
        assert time.monotonic() - begun < 2
        assert isinstance(hung.exception(5), OSError)
    assert set(threading.enumerate()) == before
    with SandboxServer(port=server.port) as again, Client(again) as client:
        assert client.ask().code == 0


def test_a_connection_is_kept_alive_until_the_client_says_otherwise(server: SandboxServer) -> None:
    get = f"GET {SERVER_TIME} HTTP/1.1\r\nHost: x\r\n"
    assert spoken(server, f"{get}\r\n{get}\r\n{get}\r\n".encode()).count(b"HTTP/1.1 200 OK") == 3
    assert spoken(server, f"{get}Connection: close\r\n\r\n{get}\r\n".encode()).count(b"HTTP/1.1 200 OK") == 1
    old = get.replace("1.1", "1.0")
    assert spoken(server, f"{old}\r\n{old}\r\n".encode()).count(b"HTTP/1.1 200 OK") == 1


def test_a_request_may_come_in_pieces(server: SandboxServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        for piece in (b"GET ", SERVER_TIME.encode(), b" HTTP/1.1\r", b"\nHost: x\r\n", b"\r\n"):
            connection.sendall(piece)
            time.sleep(0.01)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_400_and_harms_nobody(server: SandboxServer, client: Client, content: bytes) -> None:
    assert spoken(server, content).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert client.raw(SERVER_TIME).status == 200


def test_a_head_without_an_end_is_cut_off(server: SandboxServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 65_536)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_is_announced_too_large_is_not_waited_for(server: SandboxServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")


def test_a_header_may_be_in_any_case_but_only_once(server: SandboxServer, client: Client) -> None:
    key = server.exchange.account("main").api_key
    get = f"GET {BALANCES} HTTP/1.1\r\n"
    assert b"Null signature" in spoken(server, f"{get}x-bx-ApiKey:  {key} \r\n\r\n".encode())
    assert b"Incorrect apiKey" in spoken(server, f"{get}X-BX-APIKEY: {key}\r\nX-BX-APIKEY: {key}\r\n\r\n".encode())
    assert b"Null apiKey" in spoken(server, f"{get}X-BX-APIKEY:\r\n\r\n".encode())


def test_many_connections_at_once_are_all_answered_and_all_counted(clock: Clock) -> None:
    accounts = 60
    with SandboxServer(Exchange(accounts, 1, clock, limits=NO_LIMITS)) as server:

        def ask(number: int) -> list[int]:
            with Client(server) as client:
                return [client.ask(name=server.exchange.accounts[number].name).code for _ in range(10)]

        with ThreadPoolExecutor(accounts) as pool:
            codes = [code for each in pool.map(ask, range(accounts)) for code in each]
        assert codes == [0] * accounts * 10
        assert server.exchange.counts == {(BALANCES, "ok"): accounts * 10}
        assert len(server.requests) == accounts * 10


def test_it_serves_hundreds_of_requests_in_a_second(server: SandboxServer, client: Client) -> None:
    begun = time.monotonic()
    for _ in range(500):
        assert client.ask().status == 200
    # Thousands on a quiet machine; an answer in two writes would wait for a delayed acknowledgement, 40 ms each.
    assert time.monotonic() - begun < 5


def test_it_imports_neither_the_clients_libraries_nor_the_client() -> None:
    program = (
        "import sys, etl.sandbox.serve\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('requests', 'urllib3', 'sqlalchemy', 'click',"
        " 'http.server') or name.startswith(('etl.bingx', 'etl.db'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
