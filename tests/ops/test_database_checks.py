"""What the facts of a database come to."""

from pathlib import Path

import pytest

from etl.db.examination import Server
from etl.errors import DatabaseUnavailable
from etl.extract.workers import Lost
from etl.ops.database_checks import Facts, check_database, check_integrity, check_journal, is_wal_safe
from etl.ops.finding import Verdict


@pytest.mark.parametrize(
    ("version", "is_safe"),
    [
        ("3.6.23", True),
        ("3.7.0", False),
        ("3.40.1", False),
        ("3.44.5", False),
        ("3.44.6", True),
        ("3.45.0", False),
        ("3.50.6", False),
        ("3.50.7", True),
        ("3.50.10", True),
        ("3.51.0", False),
        ("3.51.2", False),
        ("3.51.3", True),
        ("3.53.0", True),
        ("4.0", True),
    ],
)
def test_the_versions_whose_wal_can_lose_commits_are_known(version: str, is_safe: bool) -> None:
    assert is_wal_safe(version) is is_safe
    [finding] = check_journal(Facts(Path("/x.db"), Server("SQLite", version, "wal")))
    assert finding.verdict is (Verdict.OK if is_safe else Verdict.PROBLEM)


@pytest.mark.parametrize(
    ("mode", "verdict"), [("delete", "ok"), ("truncate", "ok"), ("off", "problem"), ("memory", "problem")]
)
def test_a_journal_that_is_not_on_the_disk_is_a_problem(mode: str, verdict: str) -> None:
    [finding] = check_journal(Facts(Path("/x.db"), Server("SQLite", "3.53.0", mode)))
    assert finding.verdict is Verdict(verdict)


def test_a_database_that_takes_no_readings_or_does_not_answer_is_a_problem() -> None:
    standby = Facts(None, Server("PostgreSQL", "16.3", is_standby=True))
    server, locked = Server("PostgreSQL", "16.3"), DatabaseUnavailable("locked")
    unread = Facts(None, server, accounts=locked), Facts(None, server, accounts={}, slots=locked)
    for facts in (standby, Facts(None, DatabaseUnavailable("down")), Facts(None, Lost()), *unread):
        assert [each.verdict for each in check_database(facts)] == [Verdict.PROBLEM]
    assert [each.verdict for each in check_database(Facts(None, KeyError("x")))] == [Verdict.UNKNOWN]


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (True, Verdict.OK),
        (False, Verdict.PROBLEM),
        (None, Verdict.SKIPPED),
        (Lost(), Verdict.UNKNOWN),
        (DatabaseUnavailable("the database is locked"), Verdict.PROBLEM),
        (ZeroDivisionError(), Verdict.UNKNOWN),
    ],
)
def test_a_file_that_could_not_be_read_to_its_end_is_not_said_to_be_whole(found: object, verdict: Verdict) -> None:
    [finding] = check_integrity(Facts(Path("/x.db"), Server("SQLite", "3.53.0", "delete")), found)
    assert finding.verdict is verdict
    [finding] = check_integrity(Facts(Path("/x.db"), DatabaseUnavailable("is locked")), found)
    assert finding.verdict is Verdict.SKIPPED
