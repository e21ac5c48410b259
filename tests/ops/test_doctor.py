"""Every check on its own: one that hangs or fails takes no other with it. The program itself is in tests/cli."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest

from etl.db.examination import Rights, Server
from etl.errors import SettingsError
from etl.model import Environment, StoredAccount
from etl.ops.database_checks import Database
from etl.ops.doctor import Doctor
from etl.ops.finding import MOST_NAMES, Finding, Verdict, overall, together

FINE = Finding("fine", Verdict.OK, "all is well")


def doctor(local: dict[str, Callable[[], Iterable[Finding]]], database: Callable[[], Database]) -> Doctor:
    return Doctor(
        local=local,
        keys=SettingsError("no keys"),
        exchange=SettingsError("no exchange"),
        database=database,
        interval_seconds=300,
        limit_seconds=0.5,
    )


def crash() -> NoReturn:
    raise ZeroDivisionError("secret-of-a-library")


def test_a_check_that_hangs_or_crashes_is_unknown_and_takes_no_other_with_it() -> None:
    release = threading.Event()

    def hang() -> list[Finding]:
        release.wait(30)
        return []

    def hanging_database() -> NoReturn:
        release.wait(30)
        raise AssertionError

    local: dict[str, Callable[[], Iterable[Finding]]] = {"hangs": hang, "crashes": crash, "fine": lambda: [FINE]}
    began = time.monotonic()
    findings = doctor(local, hanging_database).findings()
    release.set()
    assert time.monotonic() - began < 5
    by_check = {finding.check: finding for finding in findings}
    assert by_check["fine"] == FINE
    assert by_check["hangs"].verdict is by_check["crashes"].verdict is Verdict.UNKNOWN
    assert "in time" in by_check["hangs"].says
    assert by_check["crashes"].says == "the check failed (ZeroDivisionError)", "and quotes nothing of it"
    assert by_check["database"].verdict is Verdict.PROBLEM
    assert [finding.check for finding in findings[:3]] == ["hangs", "crashes", "fine"]


def test_what_fails_while_a_finding_is_made_is_told_too() -> None:
    def half() -> Iterable[Finding]:
        yield FINE
        crash()

    findings = doctor({"half": half}, crash).findings()
    assert findings[0].verdict is Verdict.UNKNOWN
    assert {finding.check: finding.verdict for finding in findings}["database"] is Verdict.UNKNOWN


class Absurd:
    """A database whose answers no check has thought of."""

    name = "balances at nowhere"
    path: Path | None = None

    def server(self) -> Server:
        return Server("PostgreSQL", "16.3")

    def schema(self) -> str:
        return "0001"

    def is_older(self) -> bool:
        return False

    def begun_at(self) -> datetime | None:
        return None

    def is_whole(self) -> bool:
        return True

    def rights(self) -> Rights:
        return Rights((), ())

    def accounts(self) -> dict[str, StoredAccount]:
        now = datetime.now(UTC)
        return {"main": StoredAccount(1, "main", "1", Environment.LIVE, now, None, schedules=())}

    def last_slots(self, accounts: Sequence[StoredAccount], most: int) -> dict[str, list[datetime]]:
        return {"main": [datetime.now(UTC)]}


def test_a_check_that_stumbles_over_what_it_is_told_is_unknown_and_takes_no_other_with_it() -> None:
    findings = {finding.check: finding for finding in doctor({"fine": lambda: [FINE]}, Absurd).findings()}
    assert (findings["cadence"].verdict, findings["cadence"].remedy) == (Verdict.UNKNOWN, "please report it")
    assert findings["schema"].verdict is findings["rights"].verdict is findings["fine"].verdict is Verdict.OK


def test_accounts_of_which_the_same_is_found_share_a_line() -> None:
    names = [f"account-{number}" for number in range(100)]
    many = [Finding("key", Verdict.OK, "BingX accepts it", accounts=(name,)) for name in names]
    bad = Finding("key", Verdict.PROBLEM, "wrong", "mend it", ("other",))
    whole = together([*many[:50], bad, *many[50:]])
    assert [(finding.verdict, len(finding.accounts)) for finding in whole] == [(Verdict.OK, 100), (Verdict.PROBLEM, 1)]
    assert f"and {100 - MOST_NAMES} more accounts: BingX accepts it" in whole[0].line()
    assert whole[1].line() == "problem  key          other: wrong: mend it"


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ("", "ok"),
        ("ok skipped", "ok"),
        ("ok unknown", "unknown"),
        ("unknown warning", "warning"),
        ("warning problem unknown", "problem"),
    ],
)
def test_the_worst_is_the_verdict_on_the_whole(verdicts: str, whole: str) -> None:
    assert overall([Finding("x", Verdict(each), "") for each in verdicts.split()]) is Verdict(whole)
