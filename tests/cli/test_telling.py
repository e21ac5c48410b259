"""What a slot leaves in the log."""

import logging
from decimal import Decimal

import pytest

from etl.cli.telling import RECORDED, SUMMARY, Teller
from etl.load.judge import judge
from etl.model import Answer, Balance
from etl.recorder import Recorded, Slot, Stored
from tests.values import ASKED, failure, reading

KEYS = ["account", "slot_at", "outcome", "reason", "attempts", "latency_ms", "stored"]


def recorded(account: str, *, doubt: str | None = None, amount: str | None = "1.5") -> Recorded:
    """A reading that was stored."""
    outcome = reading(account=account, doubt=doubt)
    wallets = (Balance("spot", None if amount is None else Decimal(amount)),)
    return Recorded(outcome, judge(outcome, Answer(ASKED, wallets), None), None, stored=True)


def failed(account: str, **changes: int) -> Recorded:
    """A failure that was stored."""
    outcome = failure(account=account, **changes)
    return Recorded(outcome, None, outcome, stored=True)


def said(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    """The fields of all events of a name."""
    return [record.__dict__["fields"] for record in caplog.records if record.getMessage() == event]


def test_what_was_doubted_is_a_warning_though_it_is_complete(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    slot = Slot(recorded=[recorded("a"), recorded("b", doubt="doubted: spot at 0 (confirmed)")])
    Teller().ends([slot], Stored())
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    fields = warning.__dict__["fields"]
    assert (fields["account"], fields["outcome"]) == ("b", "complete")
    assert fields["reason"] == "doubted: spot at 0 (confirmed)"


def test_every_account_has_its_event_with_the_same_keys_and_all_of_them_one_together(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    slot = Slot(recorded=[recorded("a"), recorded("b", amount=None), *(failed(f"c{number}") for number in range(30))])
    Teller().ends([slot], Stored())
    events = said(caplog, RECORDED)
    assert [event["account"] for event in events] == ["a", "b", *(f"c{number}" for number in range(30))]
    assert all(list(event)[: len(KEYS)] == KEYS for event in events)
    assert [(event["outcome"], event["reason"], event["latency_ms"]) for event in events[::2][:2]] == [
        ("complete", None, 100),
        ("failed", "unavailable", None),
    ]
    [together] = said(caplog, SUMMARY)
    counts = {key: together[key] for key in ("accounts", "complete", "partial", "failed", "stored")}
    assert counts == {"accounts": 32, "complete": 1, "partial": 1, "failed": 30, "stored": 32}
    assert caplog.records[-1].getMessage() == SUMMARY


def test_one_account_alone_needs_no_summary(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Teller().ends([Slot(recorded=[failed("a", slots=3)])], Stored())
    assert said(caplog, SUMMARY) == []
    [event] = said(caplog, RECORDED)
    assert event["slots"] == 3


def test_totals_and_uids_are_told_to_those_who_asked_and_to_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    slot = Slot(recorded=[recorded("a"), failed("b")])
    Teller().ends([slot], Stored())
    assert "1.5" not in str(said(caplog, RECORDED))
    assert "1001" not in str(said(caplog, RECORDED))
    caplog.clear()
    Teller(is_private=lambda: True).ends([slot], Stored())
    private = [(event["total_usdt"], event["uid"]) for event in said(caplog, RECORDED)]
    assert private == [("1.5", "1001"), (None, None)]
