"""``status``: whether it works, at a glance."""

import re
import time

from tests.cli.confined import confined
from tests.cli.program import Program

NOWHERE = "postgresql://somebody:hunter22@127.0.0.1:1/balances"
SLOTS = {"BINGX_ETL_INTERVAL": "2s"}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SLOT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def next_slot() -> None:
    """Wait for the beginning of the next slot of two seconds."""
    time.sleep(2.02 - time.time() % 2)


def test_before_the_first_snapshot_it_says_what_to_do(program: Program) -> None:
    ran = program.run("status", "--json", BINGX_ETL_DATABASE_URL=None)
    assert ran.code == 0, ran.err
    assert ran.lines[0]["accounts"] == []
    assert (ran.lines[0]["spool"], ran.lines[0]["quarantine"]) == (0, 0)
    ran = program.run("status", BINGX_ETL_DATABASE_URL=None)
    assert ran.code == 0
    assert "bingx-etl snapshot" in ran.err
    assert not program.exchange.counts


def test_it_tells_the_last_snapshot_the_failures_since_and_what_waits(anywhere: Program) -> None:
    next_slot()
    ran = anywhere.run("snapshot", "--json", **SLOTS)
    assert ran.code == 0, ran.err
    [last] = ran.lines
    anywhere.exchange.faults.add("status", status=503)
    next_slot()
    assert anywhere.run("snapshot", **SLOTS).code == 69
    anywhere.exchange.faults.clear()
    next_slot()
    assert anywhere.run("snapshot", BINGX_ETL_DATABASE_URL=NOWHERE, **SLOTS).code == 75

    ran = anywhere.run("status", "--json", **SLOTS)
    assert ran.code == 0, ran.err
    [whole] = ran.lines
    [account] = whole["accounts"]
    assert (account["account"], account["status"], account["provenance"]) == ("main", "complete", "measured")
    assert account["slot_at"] == last["slot_at"]
    assert account["taken_at"] == last["taken_at"]
    assert account["total_usdt"] == last["total_usdt"]
    assert (account["failures_since"], account["last_reason"]) == (1, "unavailable")
    assert 2 <= account["age_seconds"] < 60
    assert (whole["spool"], whole["quarantine"]) == (1, 0)
    assert INSTANT.fullmatch(account["taken_at"])
    assert SLOT.fullmatch(whole["next_slot_at"])
    table = anywhere.run("status", **SLOTS)
    for told in (last["total_usdt"], last["slot_at"], "unavailable", "spool: 1 waiting", "quarantine: 0"):
        assert told in table.out
    assert table.err == ""
    assert len(anywhere.spooled()) == 1, "looking changes nothing"


def test_without_a_database_it_says_so(program: Program) -> None:
    ran = program.run("status", "--json", BINGX_ETL_DATABASE_URL=NOWHERE)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (75, "", 1)
    assert "hunter22" not in ran.err


def test_a_spool_that_cannot_be_looked_into_is_not_an_empty_one(program: Program) -> None:
    assert program.run("snapshot").code == 0
    for name in ("spool", "quarantine"):
        directory = program.state / name
        directory.chmod(0)
        for command in (("status", "--json"), ("spool", "list"), ("spool", "quarantine"), ("spool", "load")):
            ran = confined(program, *command)
            assert (ran.code, ran.out, len(ran.err.splitlines())) == (74, "", 1), ran
            assert str(directory) in ran.err
        directory.chmod(0o700)
