"""What a slot leaves in the log."""

import logging
from decimal import Decimal

import pytest

from etl.cli.telling import MOST_LINES, Teller
from etl.judge import judge
from etl.model import Answer, Balance
from etl.recorder import Recorded, Slot, Stored
from tests.values import ASKED, failure, reading


def recorded(account: str, *, doubt: str | None = None, amount: str | None = "1") -> Recorded:
    """A reading that was stored."""
    outcome = reading(account=account, doubt=doubt)
    wallets = (Balance("spot", None if amount is None else Decimal(amount)),)
    return Recorded(outcome, judge(outcome, Answer(ASKED, wallets), None), None, stored=True)


def test_what_was_doubted_is_a_warning_though_it_is_complete(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    slot = Slot(recorded=[recorded("a"), recorded("b", doubt="doubted: spot at 0 (confirmed)")])
    Teller().ends([slot], Stored())
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    fields = warning.__dict__["fields"]
    assert (fields["account"], fields["outcome"]) == ("b", "complete")
    assert fields["reason"] == "doubted: spot at 0 (confirmed)"


def test_of_a_fleet_those_without_a_line_are_counted_by_a_word_each(caplog: pytest.LogCaptureFixture) -> None:
    many = [recorded(f"a{number}", doubt=f"doubted: wallet {number} missing (confirmed)") for number in range(20)]
    others = [recorded("partial", amount=None), Recorded(failure(), None, failure(), stored=True)]
    Teller().ends([Slot(recorded=[*many, *others])], Stored())
    assert caplog.records[-1].__dict__["fields"] == {"doubted": 20 - MOST_LINES, "partial": 1, "unavailable": 1}
