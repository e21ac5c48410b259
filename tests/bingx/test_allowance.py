"""How many requests are left, in BingX's words."""

import pytest

from etl.bingx.allowance import HEADER, Allowance
from etl.bingx.client import Client, Credential
from etl.sandbox.exchange import Exchange
from etl.sandbox.server import SandboxServer


def test_the_fewest_since_the_last_question_count() -> None:
    allowance = Allowance()
    assert allowance.take() is None
    for left in ("7", "3", "5"):
        allowance.note({HEADER: left})
    assert (allowance.take(), allowance.take()) == (3, None)


@pytest.mark.parametrize("said", ["", "many", "-1", "1e3", "٣", "9" * 10_000, "3, 4"])
def test_what_is_no_number_is_no_news(said: str) -> None:
    allowance = Allowance()
    allowance.note({HEADER: said})
    assert allowance.take() is None


def test_only_questions_for_balances_count_since_every_endpoint_has_a_limit_of_its_own() -> None:
    with SandboxServer(Exchange(1, 7)) as server:
        [account] = server.exchange.accounts
        client = Client(server.url)
        credential = Credential(account.api_key, account.api_secret)
        client.uid(credential, 0)
        assert client.allowance.take() is None
        client.balances(credential, 0)
        first = client.allowance.take()
        client.balances(credential, 0)
        assert first is not None
        assert client.allowance.take() == first - 1
        client.close()
