"""Which of several exit codes wins."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

import etl.errors
from etl.cli.exits import BY_NEED, BY_REASON, Exit, most_needing
from etl.model import Reason
from tests.cli.program import Program

IN_THE_CONTRACT = (78, 77, 65, 70, 74, 73, 69, 75)


@given(st.lists(st.sampled_from([0, *IN_THE_CONTRACT])))
def test_the_one_that_most_needs_a_person_wins_in_any_order(codes: list[int]) -> None:
    order = [*IN_THE_CONTRACT, 0]
    assert most_needing(codes) == min(codes, key=order.index, default=0)


def test_the_order_is_the_contracts_and_knows_every_code_of_an_outcome() -> None:
    assert BY_NEED == IN_THE_CONTRACT
    assert set(BY_REASON) == set(Reason)
    assert set(BY_REASON.values()) <= set(BY_NEED)


def test_every_error_of_ours_ends_in_a_code_of_the_contract() -> None:
    classes = [each for each in vars(etl.errors).values() if isinstance(each, type)]
    errors = [each for each in classes if issubclass(each, etl.errors.EtlError)]
    assert {each.exit_code for each in errors} <= set(Exit)


def test_two_accounts_in_trouble_end_in_the_code_of_the_worse(program: Program) -> None:
    program.environ.pop("BINGX_API_KEY")
    program.environ.pop("BINGX_API_SECRET")
    names = [account.name for account in program.exchange.accounts]
    text = "".join(
        f'[accounts.{each.name}]\napi_key = "{each.api_key}"\napi_secret = "{each.api_secret}"\n'
        for each in program.exchange.accounts
    )
    config = program.home / "accounts.toml"
    config.write_text(text)
    config.chmod(0o600)
    troubles = {69: {"code": 109500}, 75: {"code": 100410}, 77: {"code": 100004}}
    for (one, first), (other, second) in itertools.combinations(troubles.items(), 2):
        program.exchange.faults.clear()
        program.exchange.faults.add("error", account=names[0], **first)
        program.exchange.faults.add("error", account=names[1], **second)
        state = str(program.home / f"state-{one}-{other}")
        ran = program.run("snapshot", "--config", str(config), BINGX_ETL_STATE_DIR=state, BINGX_ETL_DATABASE_URL=None)
        assert ran.code == most_needing([one, other]), ran.err
