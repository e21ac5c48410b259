"""Key, secret and signature are looked for in everything that the client gives out, whatever the server does."""

import logging
import re
import socket
import traceback
from collections.abc import Callable, Iterator

import pytest

from etl.bingx.client import Client, Credential
from etl.errors import MalformedAnswer, Trouble
from tests.bingx.servers import OK, RawServer, closed_port, http, read_head

KEY = "CanaryKey0123456789abcdefABCDEF"
SECRET = "CanarySecret0123456789abcdefABCDEF"
CREDENTIAL = Credential(KEY, SECRET)
Make = Callable[..., Client]


class Everything(logging.Handler):
    """All records of all levels, formatted with their tracebacks, as a program might write them."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.name, f"{self.format(record)} {record.__dict__}"))


@pytest.fixture
def log() -> Iterator[Everything]:
    handler, root = Everything(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def echo(status: str, envelope: str) -> Callable[[bytes], bytes]:
    """Send everything that came back, in the body and in headers."""

    def answer(head: bytes) -> bytes:
        target = head.split(b" ")[1].decode()
        said = f"{KEY} {SECRET} {target}"
        headers = f"X-Echo: {said}\r\nRetry-After: {said}\r\nLocation: http://{KEY}{target}\r\n"
        return http(envelope.replace("ECHO", said).encode(), f"{status} {said}", headers)

    return answer


def no_header(head: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nno header: at all " + head.split(b"\r\n")[0] + b"\r\nno-colon\r\n\r\n"


BEHAVIOURS: dict[str, Callable[[bytes], bytes]] = {
    "success": echo("200", '{"code":0,"msg":"ECHO","data":[]}'),
    "refused": echo("200", '{"code":100001,"msg":"Signature verification failed: ECHO"}'),
    "unknown code": echo("200", '{"code":5,"msg":"ECHO"}'),
    "page": echo("200", "<html>ECHO</html>"),
    "page 500": echo("500", "<html>ECHO</html>"),
    "page 429": echo("429", "<html>ECHO</html>"),
    "page 401": echo("401", "ECHO"),
    "redirect": echo("302", "ECHO"),
    "garbage": lambda head: b"ECHO " + head,
    "broken header": no_header,
    "truncated": lambda _: http(OK, length=5000),
    "nothing": lambda _: b"",
    "no gzip": lambda head: http(head, headers="Content-Encoding: gzip\r\n"),
    "bad length": lambda head: b"HTTP/1.1 200 OK\r\nContent-Length: " + head.split(b" ")[1] + b"\r\n\r\n",
    "bad chunk": lambda head: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + head,
    "hang": lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
}


def outcome(calling: Client) -> str:
    """Whatever can be seen of one call, as text."""
    try:
        return repr(calling.balances(CREDENTIAL, 0))
    except Trouble as error:
        seen = [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
        linked: BaseException | None = error
        while linked is not None:
            seen += [repr(linked), repr(linked.args)]
            linked = linked.__cause__ or linked.__context__
        if isinstance(error, MalformedAnswer):
            seen.append(repr(error.body))
        return "\n".join(seen)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_no_outcome_and_no_log_of_ours_shows_a_secret(name: str, log: Everything, client_of: Make) -> None:
    signatures: list[str] = []

    def behave(server: RawServer, connection: socket.socket) -> None:
        head = read_head(connection)
        signatures.extend(re.findall("signature=([0-9a-f]{64})", head.decode()))
        connection.sendall(BEHAVIOURS[name](head))
        if name == "hang":
            server.stopping.wait(5)

    with RawServer(behave) as server:
        calling = client_of(server.url, request_timeout_seconds=0.3 if name == "hang" else 10)
        seen = outcome(calling) + repr(calling) + repr(vars(calling)) + repr(CREDENTIAL)
    logged = "\n".join(line for logger, line in log.lines if logger.partition(".")[0] != "urllib3")
    assert len(signatures) == 1
    for canary in (KEY, SECRET, signatures[0]):
        assert canary.lower() not in seen.lower()
        assert canary.lower() not in logged.lower()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_is_not_there_shows_no_secret(scheme: str, log: Everything, client_of: Make) -> None:
    seen = outcome(client_of(f"{scheme}://127.0.0.1:{closed_port()}"))
    assert "connection refused" in seen
    assert not re.search("Canary|signature", seen)


def test_neither_key_nor_secret_is_in_the_logs_of_the_libraries(log: Everything, client_of: Make) -> None:
    """The signature is: that logger has to be kept from the outside by whoever sets logging up."""
    for name in ("success", "broken header", "garbage"):

        def behave(server: RawServer, connection: socket.socket, name: str = name) -> None:
            connection.sendall(
                BEHAVIOURS[name](read_head(connection)).replace(KEY.encode(), b"").replace(SECRET.encode(), b"")
            )

        with RawServer(behave) as server:
            outcome(client_of(server.url))
    text = "\n".join(line for _, line in log.lines)
    assert KEY not in text
    assert SECRET not in text
    assert {name.partition(".")[0] for name, line in log.lines if "signature=" in line} == {"urllib3"}
