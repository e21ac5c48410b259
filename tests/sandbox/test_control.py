"""The control interface, from this process and from others."""

import subprocess
import sys
import textwrap
import time

import pytest

from etl.sandbox.server import SandboxServer
from tests.sandbox.asking import BALANCES, SERVER_TIME, UID, Client, Clock

ERROR = {"kind": "error", "code": 100500, "account": "main", "times": 2}


def test_faults_are_put_in_force_listed_and_taken_away(client: Client) -> None:
    listed = client.post("/sandbox/faults", [ERROR, {"kind": "delay", "seconds": 0, "path": UID}])
    assert (listed.status, listed.json) == (200, {"faults": [ERROR, {"kind": "delay", "seconds": 0, "path": UID}]})
    assert client.ask().code == 100500
    assert client.raw("/sandbox/faults").json == listed.json
    assert client.raw("/sandbox/faults", method="DELETE").json == {"faults": []}
    assert client.ask().code == 0


def test_one_fault_need_not_be_a_list(client: Client) -> None:
    assert client.post("/sandbox/faults", ERROR).json == {"faults": [ERROR]}


@pytest.mark.parametrize("content", [{"kind": "nonsense"}, [ERROR, {"kind": "delay"}], 5, "x"])
def test_what_is_no_fault_is_refused_with_the_reason_and_nothing_is_put_in_force(
    client: Client, content: object
) -> None:
    response = client.post("/sandbox/faults", content)
    assert response.status == 400
    assert response.json["error"]
    assert client.raw("/sandbox/faults").json == {"faults": []}


def test_what_is_no_json_is_refused(client: Client) -> None:
    assert client.raw("/sandbox/faults", method="POST").status == 400


def test_requests_are_told_without_secrets(client: Client, server: SandboxServer, clock: Clock) -> None:
    client.ask()
    client.raw(SERVER_TIME)
    told = client.raw("/sandbox/requests")
    assert told.json == {
        "requests": [
            {"at": clock(), "path": BALANCES, "account": "main", "outcome": "ok"},
            {"at": clock(), "path": SERVER_TIME, "account": None, "outcome": "ok"},
        ],
        "counts": [[BALANCES, "ok", 1], [SERVER_TIME, "ok", 1]],
        "replays": 0,
    }
    assert server.exchange.account("main").api_key.encode() not in told.body


def test_a_reset_forgets_faults_and_requests(client: Client) -> None:
    client.post("/sandbox/faults", ERROR)
    client.ask()
    assert client.raw("/sandbox/reset", method="POST").json == {"faults": []}
    assert client.raw("/sandbox/requests").json == {"requests": [], "counts": [], "replays": 0}
    assert client.ask().code == 0


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/sandbox/"), ("GET", "/sandbox/reset"), ("POST", "/sandbox/requests"), ("GET", "/sandbox/secrets")],
)
def test_what_does_not_exist_is_not_found(client: Client, method: str, target: str) -> None:
    assert client.raw(target, method=method).status == 404


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example:80"}, {"Host": "127.0.0.1.evil.example"}]
)
def test_a_web_page_in_the_readers_browser_controls_nothing(client: Client, headers: dict[str, str]) -> None:
    assert client.raw("/sandbox/requests", headers=headers).status == 403
    assert client.raw("/sandbox/requests", headers={"Host": "localhost"}).status == 200


def test_control_is_neither_limited_nor_counted(client: Client, server: SandboxServer) -> None:
    client.raw("/sandbox/requests")
    assert server.requests == ()


def test_who_sends_the_server_down_still_gets_the_answer(client: Client, server: SandboxServer, clock: Clock) -> None:
    for _ in range(5):
        with Client(server) as other:
            assert other.post("/sandbox/faults", {"kind": "refuse", "seconds": 9}).status == 200
        with pytest.raises(ConnectionRefusedError), Client(server) as other:
            other.ask()
        clock.seconds += 9
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                with Client(server) as other:
                    other.ask()
                break
            except ConnectionRefusedError:
                time.sleep(0.01)


def test_two_processes_control_one_sandbox(client: Client, server: SandboxServer) -> None:
    program = textwrap.dedent("""
        import sys, urllib.request
        request = urllib.request.Request(sys.argv[1] + "/sandbox/faults", sys.argv[2].encode(), method="POST")
        print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).read().decode())
    """)
    faults = ('{"kind": "error", "code": 100500, "times": 1}', '{"kind": "error", "code": 109500, "times": 1}')
    for fault in faults:
        subprocess.run([sys.executable, "-c", program, server.url, fault], check=True, timeout=60, capture_output=True)
    # Both hit the first request, where the older one is what is answered.
    assert [client.ask().code, client.ask().code] == [100500, 0]
