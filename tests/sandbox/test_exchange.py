import time
from decimal import Decimal

import pytest

from etl.sandbox.exchange import Exchange
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


def test_the_overview_is_the_truth_of_its_own_timestamp(client: Client, server: SandboxServer, clock: Clock) -> None:
    for name in ("main", "account-2"):
        clock.seconds += 3600
        answer = client.ask(name=name).json
        assert answer.keys() == {"code", "timestamp", "data"}
        assert (answer["code"], answer["timestamp"]) == (0, int(clock() * 1000))
        rows = tuple((row["accountType"], row["usdtBalance"]) for row in answer["data"])
        assert rows == server.exchange.wallets(name, answer["timestamp"])
        assert all(isinstance(amount, str) and Decimal(amount) >= 0 for _, amount in rows)


def test_one_wallet_can_be_asked_for(client: Client) -> None:
    for asked, named in (("USDTMPerp", "USDTMPerp"), ("sopt", "sopt"), ("spot", "sopt")):
        data = client.ask(parameters=f"accountType={asked}&").json["data"]
        assert [row["accountType"] for row in data] == [named]
    assert client.ask(parameters="accountType=margin&").code == 100400


def test_the_servers_time_is_told_without_a_key(client: Client, clock: Clock) -> None:
    answer = client.raw(SERVER_TIME).json
    assert answer == {"code": 0, "msg": "", "data": {"serverTime": int(clock() * 1000)}}


def test_the_uid_is_that_of_the_key(client: Client, server: SandboxServer) -> None:
    for account in server.exchange.accounts:
        assert client.ask(UID, account.name).json["data"] == {"uid": account.uid}


def test_permissions_are_flat_echo_the_key_and_follow_the_account(client: Client, server: SandboxServer) -> None:
    key = server.exchange.account("main").api_key
    assert client.ask(PERMISSIONS).json == {"apiKey": key, "permissions": [2], "ipAddresses": [], "note": "sandbox"}
    server.exchange.restrict_key("main", permissions=[1, 2, 4], ip_addresses=["127.0.0.1"])
    shown = client.ask(PERMISSIONS).json
    assert (shown["permissions"], shown["ipAddresses"]) == ([1, 2, 4], ["127.0.0.1"])


def test_restrictions_are_the_same_as_flags(client: Client, server: SandboxServer) -> None:
    names = ("ipRestrict", "enableReading", "enableFutures", "enableSpotAndMarginTrading", "permitsUniversalTransfer")
    assert [client.ask(RESTRICTIONS).json[name] for name in names] == [False, True, False, False, False]
    server.exchange.restrict_key("main", permissions=[1, 2, 3, 4], ip_addresses=["127.0.0.1"])
    assert [client.ask(RESTRICTIONS).json[name] for name in names] == [True] * 5


def test_a_main_account_sees_its_sub_accounts_page_by_page(client: Client, server: SandboxServer, clock: Clock) -> None:
    pages = [client.ask(SUB_BALANCES, parameters=f"pageIndex={page}&pageSize=1&").json["data"] for page in (1, 2, 3)]
    assert [(page["pageId"], page["total"], len(page["result"])) for page in pages] == [(1, 2, 1), (2, 2, 1), (3, 2, 0)]
    for page, account in zip(pages, server.exchange.accounts[1:], strict=False):
        (result,) = page["result"]
        assert result["subUid"] == str(account.uid)
        rows = tuple((row["accountType"], row["usdtBalance"]) for row in result["accountBalances"])
        assert rows == server.exchange.wallets(account.name, int(clock() * 1000))


def test_an_error_has_a_code_a_text_and_a_time_under_http_200(client: Client, clock: Clock) -> None:
    response = client.raw(BALANCES, "nobody")
    assert response.status == 200
    assert response.json == {"code": 100413, "msg": "Incorrect apiKey", "timestamp": int(clock() * 1000)}


def test_the_same_seed_is_the_same_exchange_and_another_is_not(clock: Clock) -> None:
    one, same, other = Exchange(2, 1, clock), Exchange(2, 1, clock), Exchange(2, 2, clock)
    assert one.accounts == same.accounts != other.accounts
    assert one.wallets("main", 10**12) == same.wallets("main", 10**12) != other.wallets("main", 10**12)


def test_an_exchange_without_accounts_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one account"):
        Exchange(0)


def test_requests_are_remembered_with_time_path_account_and_outcome_and_no_secret(
    client: Client, server: SandboxServer, clock: Clock
) -> None:
    client.ask()
    clock.seconds += 1
    client.ask(UID, "account-2")
    client.raw(BALANCES, "nobody")
    client.raw(SERVER_TIME)
    assert [tuple(request) for request in server.requests] == [
        (clock() - 1, BALANCES, "main", "ok"),
        (clock(), UID, "account-2", "ok"),
        (clock(), BALANCES, None, "100413"),
        (clock(), SERVER_TIME, None, "ok"),
    ]
    account = server.exchange.account("main")
    assert server.exchange.counts == {
        (BALANCES, "ok"): 1,
        (UID, "ok"): 1,
        (BALANCES, "100413"): 1,
        (SERVER_TIME, "ok"): 1,
    }
    for told in (repr(server.requests), repr(server.exchange.counts), repr(server.exchange.accounts)):
        assert account.api_key not in told
        assert "signature" not in told


def test_the_busiest_window_is_counted_whatever_came_of_the_requests(
    client: Client, server: SandboxServer, clock: Clock
) -> None:
    for pause in (0, 0.4, 0.4, 0.4, 5, 0.1):
        clock.seconds += pause
        client.raw(BALANCES, "nobody")
    assert server.exchange.busiest(BALANCES, 1.0) == 3
    assert server.exchange.busiest(BALANCES, 100.0) == 6
    assert server.exchange.busiest(UID, 1.0) == 0


def test_a_reset_forgets_requests_replays_and_faults_but_not_the_accounts(
    client: Client, server: SandboxServer
) -> None:
    account = server.exchange.rotate_key("main")
    query = signed(account.api_secret, f"timestamp={client.timestamp()}")
    assert [client.raw(f"{BALANCES}?{query}", account.api_key).code for _ in range(2)] == [0, 100001]
    server.exchange.faults.add("error", code=1)
    server.exchange.reset()
    assert (server.requests, server.exchange.replays, server.exchange.counts) == ((), 0, {})
    assert client.raw(f"{BALANCES}?{query}", account.api_key).code == 0


def test_a_replay_is_counted_even_where_it_is_let_through(clock: Clock) -> None:
    with SandboxServer(Exchange(1, 0, clock, refuse_replays=False)) as server, Client(server) as client:
        account = server.exchange.account("main")
        query = signed(account.api_secret, f"timestamp={client.timestamp()}")
        assert [client.raw(f"{BALANCES}?{query}", account.api_key).code for _ in range(3)] == [0, 0, 0]
        assert server.exchange.replays == 2


def test_without_anything_said_the_clock_is_the_machines() -> None:
    with SandboxServer() as server, Client(server) as client:
        assert abs(client.raw(SERVER_TIME).json["data"]["serverTime"] - time.time() * 1000) < 1000
        assert client.ask().code == 0
