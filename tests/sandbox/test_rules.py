"""Each rule refuses what breaks it and accepts what keeps it, over a real socket."""

import pytest

from etl.sandbox.server import SandboxServer
from tests.sandbox.asking import (
    BALANCES,
    PERMISSIONS,
    RESTRICTIONS,
    SERVER_TIME,
    SUB_BALANCES,
    UID,
    Client,
    Clock,
    signed,
)

PRIVATE = [BALANCES, UID, PERMISSIONS, RESTRICTIONS]


@pytest.mark.parametrize(
    ("secret", "text", "signature"),
    [  # printed in the notes, computed elsewhere
        (
            "UuGuyEGt6ZEkpUObCYCmIfh0elYsZVh80jlYwpJuRZEw70t6vomMH7Sjmf94ztSI",
            "quoteOrderQty=20&side=BUY&symbol=ETHUSDT&timestamp=1649404670162&type=MARKET",
            "428a3c383bde514baff0d10d3c20e5adfaacaf799e324546dafe5ccc480dd827",
        ),
        (
            "mheO6dR8ovSsxZQCOYEFCtelpuxcWGTfHw7te326y6jOwq5WpvFQ9JNljoTwBXZGv5It07m9RXSPpDQEK2w",
            "timestamp=1696751141337",
            "b1206765e9bd1cc8ef850965fc5c1edce909192ac61a811e6616a9930b8bf64c",
        ),
    ],
)
def test_the_tests_own_signatures_are_those_of_the_notes(secret: str, text: str, signature: str) -> None:
    assert signed(secret, text) == f"{text}&signature={signature}"


@pytest.mark.parametrize("path", PRIVATE)
def test_a_request_that_keeps_every_rule_is_answered(client: Client, path: str) -> None:
    response = client.ask(path)
    assert response.status == 200
    assert response.json.get("code", 0) == 0
    assert response.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("path", PRIVATE)
def test_a_request_without_a_key_is_refused(client: Client, server: SandboxServer, path: str) -> None:
    account = server.exchange.account("main")
    response = client.raw(f"{path}?{signed(account.api_secret, f'timestamp={client.timestamp()}')}")
    assert (response.status, response.code, response.json["msg"]) == (200, 100413, "Null apiKey")


@pytest.mark.parametrize("path", PRIVATE)
def test_a_key_that_is_nobodys_is_refused(client: Client, server: SandboxServer, path: str) -> None:
    account = server.exchange.account("main")
    query = signed(account.api_secret, f"timestamp={client.timestamp()}")
    for key in (account.api_key + "x", account.api_key.lower(), account.api_secret):
        assert client.raw(f"{path}?{query}", key).json["msg"] == "Incorrect apiKey"


@pytest.mark.parametrize("tail", ["", "&signature=", "?timestamp=1&signature="])
def test_a_request_without_a_signature_is_refused(client: Client, server: SandboxServer, tail: str) -> None:
    key = server.exchange.account("main").api_key
    response = client.raw(f"{BALANCES}{tail or f'?timestamp={client.timestamp()}'}".replace("ce&", "ce?"), key)
    assert response.code == 100412


def test_a_signature_by_another_secret_is_refused(client: Client, server: SandboxServer) -> None:
    main, other = server.exchange.accounts[:2]
    response = client.raw(f"{BALANCES}?{signed(other.api_secret, f'timestamp={client.timestamp()}')}", main.api_key)
    assert response.code == 100001


def test_a_signature_must_be_last_in_lower_case_and_over_the_bytes_as_they_were_sent(
    client: Client, server: SandboxServer
) -> None:
    account = server.exchange.account("main")
    text = f"recvWindow=5000&timestamp={client.timestamp()}"
    query, signature = signed(account.api_secret, text), signed(account.api_secret, text)[-64:]
    reordered = "&".join(reversed(text.split("&")))
    for bad in (
        f"signature={signature}&{text}",
        f"{query}&accountType=sopt",
        f"{text}&signature={signature.upper()}",
        f"{query}0",
        query[:-1],
        f"{reordered}&signature={signature}",
        f"{text.replace('5000', '%35000')}&signature={signature}",
    ):
        assert client.raw(f"{BALANCES}?{bad}", account.api_key).code == 100001, bad
    assert client.raw(f"{BALANCES}?{query}", account.api_key).code == 0


def test_the_order_of_signed_parameters_is_free(client: Client, server: SandboxServer) -> None:
    account = server.exchange.account("main")
    at_ms = client.timestamp()
    assert client.ask_with(account, f"recvWindow=4000&timestamp={at_ms}").code == 0
    assert client.ask_with(account, f"timestamp={at_ms}&recvWindow=4000").code == 0


def test_a_signature_is_good_once_per_path(client: Client, server: SandboxServer) -> None:
    account = server.exchange.account("main")
    query = signed(account.api_secret, f"timestamp={client.timestamp()}")
    assert client.raw(f"{BALANCES}?{query}", account.api_key).code == 0
    assert client.raw(f"{UID}?{query}", account.api_key).code == 0
    assert server.exchange.replays == 0
    assert client.raw(f"{BALANCES}?{query}", account.api_key).code == 100001
    assert server.exchange.replays == 1


def test_replays_are_remembered_until_their_timestamp_refuses_them(
    client: Client, server: SandboxServer, clock: Clock
) -> None:
    account = server.exchange.account("main")
    query = signed(account.api_secret, f"timestamp={int(clock() * 1000) + 1000}")
    codes = []
    for _ in range(8):
        codes.append(client.raw(f"{BALANCES}?{query}", account.api_key).code)
        clock.seconds += 1
    assert codes == [0, *([100001] * 6), 100421]


@pytest.mark.parametrize(("path", "code"), [(BALANCES, 100421), (UID, 109400), (PERMISSIONS, 109400)])
def test_a_timestamp_that_is_missing_old_ahead_or_no_number_is_refused(
    client: Client, server: SandboxServer, clock: Clock, path: str, code: int
) -> None:
    account = server.exchange.account("main")
    now_ms = int(clock() * 1000)
    for bad in (
        "recvWindow=5000",
        "timestamp=",
        f"timestamp={now_ms - 5001}",
        f"timestamp={now_ms + 1001}",
        f"timestamp={now_ms // 1000}",
        f"timestamp={now_ms}.0",
        f"timestamp=-{now_ms}",
        f"recvWindow=1000&timestamp={now_ms - 1001}",
        "timestamp=" + "9" * 5000,
    ):
        response = client.ask_with(account, bad, path)
        assert response.code == code, bad
        assert "timestamp" in response.json["msg"]
    for good in (f"timestamp={now_ms - 5000}", f"timestamp={now_ms + 1000}", f"recvWindow=9&timestamp={now_ms - 9}"):
        assert client.ask_with(account, good, path).json.get("code", 0) == 0, good


@pytest.mark.parametrize("value", ["5001", "60000", "", "x", "-1", "5e3"])
def test_a_receive_window_that_is_too_large_or_no_number_is_refused(client: Client, value: str) -> None:
    response = client.ask(parameters=f"recvWindow={value}&")
    assert response.code == 100400
    assert "timestamp" not in response.json["msg"]
    assert client.ask(parameters="recvWindow=5000&").code == 0


@pytest.mark.parametrize("parameters", ["symbol=BTC-USDT&", "account_type=sopt&", "recvWindow=1&recvWindow=1&", "&"])
def test_a_parameter_that_is_unknown_empty_or_given_twice_is_refused(client: Client, parameters: str) -> None:
    for path in PRIVATE:
        assert client.ask(path, parameters=parameters).code == 100400


def test_the_public_endpoint_refuses_unknown_parameters_by_the_other_numbering(client: Client) -> None:
    assert client.raw(f"{SERVER_TIME}?symbol=x").code == 109400
    assert client.raw(f"{SERVER_TIME}?timestamp=1").code == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"])
def test_anything_but_get_is_refused(server: SandboxServer, method: str) -> None:
    with Client(server) as client:
        assert client.raw(SERVER_TIME, method=method).code == 100400
    assert server.requests[-1].outcome == "100400"


@pytest.mark.parametrize(
    "path", ["/", "/openApi/account/v2/allAccountBalance", BALANCES + "/", "//x", BALANCES.lower()]
)
def test_an_unknown_path_is_refused(client: Client, path: str) -> None:
    response = client.ask(path)
    assert (response.status, response.code, response.json["msg"]) == (200, 100400, "this api is not exist")


def test_a_key_bound_to_other_addresses_is_refused(client: Client, server: SandboxServer) -> None:
    server.exchange.restrict_key("main", ip_addresses=["203.0.113.9"])
    response = client.ask()
    assert response.code == 100419
    assert response.json["success"] is False
    server.exchange.restrict_key("main", ip_addresses=["203.0.113.9", "127.0.0.1"])
    assert client.ask().code == 0


def test_a_key_without_read_is_refused(client: Client, server: SandboxServer) -> None:
    server.exchange.restrict_key("main", permissions=[1, 3])
    assert client.ask().code == 100004
    server.exchange.restrict_key("main", permissions=[1, 2])
    assert client.ask().code == 0


def test_a_rotated_key_replaces_the_old_one_and_keeps_the_uid(client: Client, server: SandboxServer) -> None:
    old = server.exchange.account("main")
    new = server.exchange.rotate_key("main")
    assert client.ask_with(old, f"timestamp={client.timestamp()}").code == 100413
    assert client.ask_with(new, f"timestamp={client.timestamp()}").code == 0
    assert client.ask(UID).json["data"]["uid"] == old.uid


@pytest.mark.parametrize(
    "parameters", ["", "pageIndex=1&", "pageSize=1&", "pageIndex=0&pageSize=1&", "pageIndex=1&pageSize=11&"]
)
def test_sub_accounts_are_asked_for_by_whole_pages(client: Client, parameters: str) -> None:
    assert client.ask(SUB_BALANCES, parameters=parameters).code == 100400


def test_a_sub_account_may_not_ask_for_sub_accounts(client: Client) -> None:
    assert client.ask(SUB_BALANCES, "account-2", "pageIndex=1&pageSize=10&").code == 100403
    assert client.ask(SUB_BALANCES, "main", "pageIndex=1&pageSize=10&").code == 0
