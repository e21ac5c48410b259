"""Limits count right: over a real socket, under a clock that is moved by hand."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from etl.sandbox.exchange import Exchange
from etl.sandbox.limits import NO_LIMITS, Limits
from etl.sandbox.server import SandboxServer
from tests.sandbox.asking import BALANCES, SERVER_TIME, UID, Client, Clock, Response

Start = Callable[[Limits | None], Client]


@pytest.fixture
def start(clock: Clock) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(limits: Limits | None) -> Client:
            server = stack.enter_context(SandboxServer(Exchange(3, 7, clock, limits=limits)))
            return stack.enter_context(Client(server))

        yield started


def unblocked_at(response: Response) -> int:
    match = re.search(
        rb"code:100410:The endpoint trigger frequency limit rule is currently in the disabled period"
        rb" and will be unblocked after ([0-9]{13})$",
        response.body if response.status != 200 else response.json["msg"].encode(),
    )
    assert match, response
    return int(match[1])


def test_a_uid_has_five_overviews_in_any_second(start: Start, clock: Clock) -> None:
    client = start(None)
    begun = clock.seconds
    for _ in range(5):
        assert client.ask().code == 0
        clock.seconds += 0.1
    refused = client.ask()
    assert (refused.status, refused.code) == (200, 100410)
    assert unblocked_at(refused) == int(begun * 1000) + 1000
    clock.seconds = begun + 1
    assert [client.ask().code for _ in range(2)] == [0, 100410]
    clock.seconds = begun + 1.1
    assert [client.ask().code for _ in range(2)] == [0, 100410]


@pytest.mark.parametrize("fraction", [0.0, 0.0004, 0.0009, 0.9999])
def test_who_comes_back_at_the_millisecond_named_is_let_in(start: Start, clock: Clock, fraction: float) -> None:
    client = start(None)
    clock.seconds += fraction
    for _ in range(5):
        client.ask()
    until_ms = unblocked_at(client.ask())
    clock.seconds = (until_ms - 1) / 1000
    assert client.ask().code == 100410
    clock.seconds = until_ms / 1000
    assert client.ask().code == 0


def test_one_uid_does_not_use_up_anothers_seconds_and_the_limit_is_for_the_overview(start: Start) -> None:
    client = start(None)
    assert [client.ask().code for _ in range(6)] == [0, 0, 0, 0, 0, 100410]
    assert client.ask(name="account-2").code == 0
    assert [client.ask(UID).code for _ in range(10)] == [0] * 10


def test_a_request_that_is_refused_does_not_count_for_the_uid(start: Start) -> None:
    client = start(None)
    for _ in range(10):
        client.ask(parameters="x=1&")
    assert [client.ask().code for _ in range(6)] == [0, 0, 0, 0, 0, 100410]


def test_an_address_has_300_requests_per_endpoint_in_ten_seconds(start: Start, clock: Clock) -> None:
    client = start(None)
    first = clock.seconds
    for number in range(300):
        response = client.raw(SERVER_TIME)
        assert response.status == 200
        assert response.headers["X-RateLimit-Requests-Remain"] == str(299 - number)
        assert response.headers["X-RateLimit-Requests-Expire"] == str(round((first + 10 - clock.seconds) * 1000))
        clock.seconds += 0.01
    refused = client.raw(SERVER_TIME)
    assert refused.status == 429
    assert refused.headers["Content-Type"].startswith("text/plain")
    assert "Retry-After" not in refused.headers
    assert refused.headers["X-RateLimit-Requests-Remain"] == "0"
    assert unblocked_at(refused) == int(first * 1000) + 10_000
    assert client.ask(UID).status == 200
    clock.seconds = first + 9.999
    assert client.raw(SERVER_TIME).status == 429
    clock.seconds = first + 10
    assert client.raw(SERVER_TIME).headers["X-RateLimit-Requests-Remain"] == "299"


@pytest.mark.parametrize(("window", "allowed"), [("fixed", 20), ("sliding", 11)])
def test_a_fixed_window_lets_two_bursts_meet_and_a_sliding_one_does_not(
    start: Start, clock: Clock, window: str, allowed: int
) -> None:
    client = start(Limits(endpoint_requests=10, window="sliding" if window == "sliding" else "fixed", patience=99))
    begun = clock.seconds
    statuses = [client.raw(SERVER_TIME).status]
    clock.seconds = begun + 9.9
    statuses += [client.raw(SERVER_TIME).status for _ in range(9)]
    clock.seconds = begun + 10
    statuses += [client.raw(SERVER_TIME).status for _ in range(10)]
    assert statuses.count(200) == allowed


def test_all_endpoints_together_have_a_limit_too(start: Start) -> None:
    client = start(Limits(address_requests=4))
    assert [client.raw(path).status for path in (SERVER_TIME, BALANCES, UID, "/x", SERVER_TIME)] == [200] * 4 + [429]


def test_who_goes_on_after_429_is_banned_from_everything_for_a_while(start: Start, clock: Clock) -> None:
    client = start(Limits(endpoint_requests=2, patience=3, ban_seconds=60))
    statuses = [client.raw(SERVER_TIME).status for _ in range(8)]
    assert statuses == [200, 200, 429, 429, 429, 429, 418, 418]
    banned = client.ask(UID)
    assert banned.status == 418
    assert unblocked_at(banned) == int(clock() * 1000) + 60_000
    clock.seconds += 59.9
    assert client.raw(SERVER_TIME).status == 418
    clock.seconds += 0.1
    assert [client.raw(SERVER_TIME).status for _ in range(3)] == [200, 200, 429]


def test_who_waits_after_429_is_never_banned(start: Start, clock: Clock) -> None:
    client = start(Limits(endpoint_requests=2, patience=0))
    for _ in range(5):
        assert [client.raw(SERVER_TIME).status for _ in range(3)] == [200, 200, 429]
        clock.seconds += 10


def test_over_twenty_failing_calls_of_one_code_shut_the_key_out_of_the_path(start: Start, clock: Clock) -> None:
    client = start(None)
    for _ in range(21):
        assert client.ask(parameters="x=1&").code == 100400
        clock.seconds += 1
    shut = client.ask()
    assert (shut.status, shut.code) == (200, 100410)
    until = int(clock() * 1000) - 1000 + 480_000
    assert shut.json["msg"] == (
        "over 20 error code:100400 requests within 480000 ms for this api, please verify and fix it"
        f" ,can retry after time: {until}"
    )
    assert client.ask(UID).code == 0
    assert client.ask(name="account-2").code == 0
    clock.seconds += 478.9
    assert client.ask().code == 100410
    clock.seconds += 0.1
    assert client.ask().code == 0


def test_failing_calls_of_different_codes_or_long_ago_do_not_add_up(start: Start, clock: Clock) -> None:
    client = start(None)
    for _ in range(20):
        assert client.ask(parameters="x=1&").code == 100400
        assert client.raw(BALANCES, client._exchange.account("main").api_key).code == 100412
    clock.seconds += 480
    for _ in range(20):
        assert client.ask(parameters="x=1&").code == 100400
    assert client.ask().code == 0


@pytest.mark.parametrize(("code", "then"), [(100413, 100410), (100500, 0), (109500, 0)])
def test_an_error_by_a_fault_counts_unless_the_exchange_is_unwell(
    start: Start, clock: Clock, code: int, then: int
) -> None:
    client = start(None)
    client._exchange.faults.add("error", code=code, times=21)
    for _ in range(21):
        assert client.ask().code == code
        clock.seconds += 1
    assert client.ask().code == then


def test_rate_limit_refusals_are_no_failing_calls(start: Start, clock: Clock) -> None:
    client = start(None)
    for _ in range(60):
        client.ask()
    clock.seconds += 1
    assert client.ask().code == 0


def test_lifted_limits_limit_nothing_and_say_nothing(start: Start) -> None:
    client = start(NO_LIMITS)
    responses = [client.ask() for _ in range(400)]
    assert {response.code for response in responses} == {0}
    assert not any(name.startswith("X-RateLimit") for name in responses[0].headers)
    assert {client.ask(parameters="x=1&").code for _ in range(30)} == {100400}


def test_a_clock_that_is_set_back_blocks_nobody_for_ever(start: Start, clock: Clock) -> None:
    client = start(Limits(endpoint_requests=2))
    assert [client.raw(SERVER_TIME).status for _ in range(3)] == [200, 200, 429]
    clock.seconds -= 3600
    assert client.raw(SERVER_TIME).status == 200
