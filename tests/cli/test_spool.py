"""``spool``: what waits on disk, and what was set aside."""

import csv
import io
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from etl.spool.spool import Spool
from etl.spool.spool_file import MAGIC
from tests.cli.program import Program
from tests.values import SLOT, failure, reading

NOWHERE = "postgresql://somebody:hunter22@127.0.0.1:1/balances"


@pytest.fixture
def spool(anywhere: Program) -> Spool:
    """The spool of the program, with a reading and a failure that wait."""
    spool = Spool(anywhere.state)
    spool.prepare()
    spool.put([reading(), failure(slot_at=SLOT + timedelta(minutes=5))])
    return spool


def listed(program: Program, command: str) -> list[dict[str, str]]:
    """What `spool list` or `spool quarantine` tells."""
    ran = program.run("spool", command, "--format", "json")
    assert ran.code == 0, ran.err
    rows: list[dict[str, str]] = json.loads(ran.out)
    return rows


def test_what_waits_is_listed_in_every_form(anywhere: Program, spool: Spool) -> None:
    rows = listed(anywhere, "list")
    assert [(row["slot_at"], row["account"], row["kind"], row["reason"]) for row in rows] == [
        ("2026-11-22T15:20:00Z", "main", "reading", None),
        ("2026-11-22T15:25:00Z", "main", "failure", "unavailable"),
    ]
    assert [row["file"] for row in rows] == [path.name for path in anywhere.spooled()]
    same = csv.DictReader(io.StringIO(anywhere.run("spool", "list", "--format", "csv").out))
    assert list(same) == [{name: value or "" for name, value in row.items()} for row in rows]
    table = anywhere.run("spool", "list").out
    assert all(value in table for row in rows for value in row.values() if value)
    assert len(anywhere.spooled()) == 2, "looking changes nothing"


def test_nothing_is_lost_while_the_database_is_down_and_stored_once_when_it_is_back(
    anywhere: Program, spool: Spool
) -> None:
    ran = anywhere.run("spool", "load", BINGX_ETL_DATABASE_URL=NOWHERE)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (75, "", 1)
    assert "hunter22" not in ran.err
    assert len(anywhere.spooled()) == 2
    ran = anywhere.run("spool", "load")
    assert (ran.code, ran.out) == (0, "")
    assert "stored 2," in ran.err
    assert "still waiting 0" in ran.err
    assert not anywhere.spooled()
    assert anywhere.rows("SELECT count(*) FROM snapshot") == anywhere.rows("SELECT count(*) FROM failure") == [(1,)]
    empty = anywhere.run("spool", "list")
    assert empty.code == 0
    assert re.fullmatch(r"nothing waits\nwhat was stored since \S+Z is kept as well \(0\.0 MB\)\n", empty.err)
    spool.put([replace(reading(), requested_at=reading().requested_at + timedelta(seconds=1))])
    again = anywhere.run("spool", "load")
    assert again.code == 0
    assert "duplicates of a slot that had its snapshot 1," in again.err


def test_a_damaged_file_is_set_aside_and_said_and_the_rest_is_stored(anywhere: Program, spool: Spool) -> None:
    (spool.directory / "damaged.outcome").write_bytes(b"not what it should be")
    ran = anywhere.run("spool", "load")
    assert (ran.code, ran.out) == (65, "")
    assert "stored 2," in ran.err
    assert "quarantined 1," in ran.err
    assert "unreadable" in ran.err
    [row] = listed(anywhere, "quarantine")
    assert row["reason"] == "unreadable"
    assert Path(row["file"]).read_bytes() == b"not what it should be"


def test_a_file_of_a_later_program_waits_for_it(anywhere: Program, spool: Spool) -> None:
    (spool.directory / "later.outcome").write_bytes(MAGIC + b" 2 " + b"0" * 64 + b"\nwhatever")
    ran = anywhere.run("spool", "load")
    assert (ran.code, ran.out) == (75, "")
    assert "upgrade" in ran.err
    assert [path.name for path in anywhere.spooled()] == ["later.outcome"]


def test_what_was_refused_can_be_looked_at_and_tried_again(anywhere: Program, spool: Spool) -> None:
    assert anywhere.run("spool", "load").code == 0
    spool.put([reading(slot_at=SLOT + timedelta(minutes=10), uid="2002")])
    ran = anywhere.run("spool", "load")
    assert (ran.code, ran.out) == (78, "")
    assert "identity_mismatch" in ran.err
    [row] = listed(anywhere, "quarantine")
    assert row["reason"] == "identity_mismatch"
    assert "another UID" in row["detail"]
    assert Path(row["file"]).read_bytes().startswith(MAGIC)
    [same] = csv.DictReader(io.StringIO(anywhere.run("spool", "quarantine", "--format", "csv").out))
    assert same == row

    ran = anywhere.run("spool", "quarantine", "--retry")
    assert (ran.code, ran.out) == (0, "")
    assert "bingx-etl spool load" in ran.err
    assert len(anywhere.spooled()) == 1
    assert anywhere.run("spool", "load").code == 78, "nothing has changed"
    assert anywhere.run("account", "rename", "main", "first").code == 0
    assert anywhere.run("spool", "quarantine", "--retry").code == 0
    assert anywhere.run("spool", "load").code == 0
    assert anywhere.rows("SELECT name, uid FROM account ORDER BY uid") == [("first", "1001"), ("main", "2002")]
    assert anywhere.rows("SELECT account, count(*) FROM equity GROUP BY account ORDER BY 1") == [
        ("first", 1),
        ("main", 1),
    ]
    assert listed(anywhere, "quarantine") == []
    assert not list((anywhere.state / "quarantine").iterdir()), "the note goes with it"
