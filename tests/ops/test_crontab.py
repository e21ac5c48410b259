"""Whether a crontab starts a run in every slot."""

from datetime import timedelta

import pytest

from etl.ops.crontab import check_crontab, minutes_of
from etl.ops.finding import Verdict

UTC = timedelta(0)


@pytest.mark.parametrize(
    ("when", "minutes"),
    [
        ("* * * * *", set(range(1440))),
        ("*/15 * * * *", set(range(0, 1440, 15))),
        ("0,30 8-10 * * *", {480, 510, 540, 570, 600, 630}),
        ("5-20/5 0 * * *", {5, 10, 15, 20}),
        ("@hourly", set(range(0, 1440, 60))),
        ("@midnight", {0}),
    ],
)
def test_the_minutes_of_a_line_are_those_of_cron(when: str, minutes: set[int]) -> None:
    assert minutes_of(f"{when} $HOME/.local/bin/bingx-etl snapshot 2>>$HOME/bingx-etl.log") == minutes


@pytest.mark.parametrize(
    "when",
    [
        "* * 1 * *",
        "* * * * 1-5",
        "@reboot",
        "*/0 * * * *",
        "60 * * * *",
        "5/5 * * * *",
        "jan * * * *",
        "*/5 *",
        "~ * * * *",
    ],
)
def test_what_is_more_than_that_is_not_guessed(when: str) -> None:
    assert minutes_of(f"{when} bingx-etl snapshot") is None
    [finding] = check_crontab(f"{when} bingx-etl snapshot", 300, UTC)
    assert finding.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("crontab", "interval", "verdict", "words"),
    [
        ("*/5 * * * * bingx-etl snapshot", 300, "ok", ""),
        ("* * * * * /x/python -m etl snapshot --json", 300, "ok", "more often is harmless"),
        ("*/10 * * * * bingx-etl snapshot", 300, "problem", "144 of the 288"),
        ("*/5 * * * * bingx-etl --config x snapshot", 30, "problem", "288 of the 2880"),
        ("@hourly bingx-etl snapshot", 86_400, "ok", ""),
        ("0-29/5 * * * * bingx-etl snapshot\n30-59/5 * * * * bingx-etl snapshot", 300, "ok", "together"),
        ("# */5 * * * * bingx-etl snapshot\nMAILTO=me\n*/5 * * * * bingx-etl status", 300, "skipped", ""),
        ("", 300, "skipped", ""),
        (None, 300, "skipped", ""),
    ],
)
def test_every_slot_wants_a_run(crontab: str | None, interval: int, verdict: str, words: str) -> None:
    [finding] = check_crontab(crontab, interval, UTC)
    assert finding.verdict is Verdict(verdict)
    assert verdict != "problem" or words in finding.says


def test_lines_for_accounts_of_their_own_are_looked_at_one_by_one() -> None:
    crontab = "*/5 * * * * bingx-etl snapshot --account main\n*/10 * * * * bingx-etl snapshot --account=second"
    assert {each.accounts: each.verdict for each in check_crontab(crontab, 300, UTC)} == {
        ("main",): Verdict.OK,
        ("second",): Verdict.PROBLEM,
    }


def test_slots_are_of_utc_and_cron_is_of_the_local_time() -> None:
    crontab = "0 1,5,9,13,17,21 * * * bingx-etl snapshot\n59 3 * * * bingx-etl snapshot"
    assert [each.verdict for each in check_crontab(crontab, 14_400, UTC)] == [Verdict.OK]
    crontab = "0 0,5,8,12,16,20 * * * bingx-etl snapshot"
    assert [each.verdict for each in check_crontab(crontab, 14_400, UTC)] == [Verdict.OK]
    assert [each.verdict for each in check_crontab(crontab, 14_400, timedelta(hours=-1))] == [Verdict.OK]
    assert [each.verdict for each in check_crontab(crontab, 14_400, timedelta(hours=1))] == [Verdict.PROBLEM]
