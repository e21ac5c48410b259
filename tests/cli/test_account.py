"""``account``: what a person changes about the accounts of the history."""

import csv
import io
import json
import time
from decimal import Decimal

from etl.sandbox.rules import UID
from etl.spool import Spool
from tests.cli.program import Program, Ran
from tests.values import reading

NOWHERE = "postgresql://somebody:hunter22@127.0.0.1:1/balances"
SLOTS = {"BINGX_ETL_INTERVAL": "2s"}


def record(program: Program, *, code: int = 0, **environ: str | None) -> Ran:
    """A snapshot in the next slot of two seconds."""
    time.sleep(2.02 - time.time() % 2)
    ran = program.run("snapshot", "--json", **{**SLOTS, **environ})
    assert ran.code == code, ran.err
    return ran


def with_history(program: Program, *names: str) -> None:
    """One reading each of these accounts, in its history."""
    spool = Spool(program.state)
    spool.prepare()
    spool.put([reading(account=name, uid=f"uid-{name}") for name in names])
    assert program.run("spool", "load").code == 0


def refused(ran: Ran, code: int, word: str) -> None:
    """One line on stderr that says it."""
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (code, "", 1), ran
    assert word in ran.err


def listed(program: Program) -> dict[str, dict[str, str | None]]:
    """What `account list` tells, by name."""
    return {row["account"]: row for row in json.loads(program.run("account", "list", "--format", "json").out)}


def test_a_new_name_takes_the_history_and_what_waits_with_it(anywhere: Program) -> None:
    record(anywhere)
    record(anywhere, code=75, BINGX_ETL_DATABASE_URL=NOWHERE)
    refused(anywhere.run("account", "rename", "main", "desk", BINGX_ETL_DATABASE_URL=NOWHERE), 75, "database")
    assert len(anywhere.spooled()) == 1
    assert anywhere.rows("SELECT name FROM account") == [("main",)]

    ran = anywhere.run("account", "rename", "main", "desk")
    assert (ran.code, ran.out) == (0, "")
    assert "settings" in ran.err
    assert not anywhere.spooled()
    assert anywhere.rows("SELECT name FROM account") == [("desk",)]
    assert anywhere.rows("SELECT count(*) FROM equity WHERE account = 'desk'") == [(2,)]

    assert record(anywhere, code=78).lines[0]["reason"] == "identity_mismatch"
    assert len(list((anywhere.state / "quarantine").glob("*.outcome"))) == 1, "refused, and kept"
    record(anywhere, BINGX_ETL_ACCOUNT="desk")
    assert anywhere.rows("SELECT count(*) FROM equity WHERE account = 'desk'") == [(3,)]
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(3,)]


def test_an_outcome_that_cannot_be_stored_yet_keeps_the_name_it_waits_under(anywhere: Program) -> None:
    record(anywhere)
    rotated = anywhere.exchange.rotate_key("main")
    anywhere.environ |= {"BINGX_API_KEY": rotated.api_key, "BINGX_API_SECRET": rotated.api_secret}
    anywhere.exchange.faults.add("error", path=UID, code=109500)
    record(anywhere, code=75)
    ran = anywhere.run("account", "rename", "main", "desk")
    refused(ran, 75, "bingx-etl spool load")
    assert anywhere.rows("SELECT name FROM account") == [("main",)]
    assert len(anywhere.spooled()) == 1
    ran = anywhere.run("spool", "load")
    assert (ran.code, ran.out) == (75, "")
    assert "still waiting 1" in ran.err
    assert "main waits" in ran.err

    anywhere.exchange.faults.clear()
    record(anywhere)
    assert not anywhere.spooled()
    assert anywhere.run("account", "rename", "main", "desk").code == 0
    assert anywhere.rows("SELECT count(*) FROM equity WHERE account = 'desk'") == [(3,)]


def test_a_name_that_is_taken_or_none_or_unknown_changes_nothing(program: Program) -> None:
    with_history(program, "main", "other")
    before = program.rows("SELECT * FROM account ORDER BY id")
    assert len(before) == 2
    refused(program.run("account", "rename", "main", "other"), 78, "choose another name")
    refused(program.run("account", "rename", "main", "../x"), 78, "letters, digits")
    refused(program.run("account", "rename", "main", "main"), 78, "already")
    for command in (("rename", "nobody", "x"), ("retire", "nobody"), ("accept", "nobody", "spot")):
        refused(program.run("account", *command), 78, "bingx-etl account list")
    assert program.run("account", "rename", "main").code == 2
    assert program.rows("SELECT * FROM account ORDER BY id") == before


def test_the_list_is_the_same_in_every_form(anywhere: Program) -> None:
    ran = anywhere.run("account", "list", "--format", "json")
    assert (ran.code, ran.out) == (0, "[]\n")
    assert "first snapshot" in ran.err
    with_history(anywhere, "main")
    row = listed(anywhere)["main"]
    assert (row["uid"], row["environment"], row["interval"], row["retired_at"]) == ("uid-main", "sandbox", "5m", None)
    [same] = csv.DictReader(io.StringIO(anywhere.run("account", "list", "--format", "csv").out))
    assert same == {name: value or "" for name, value in row.items()}
    table = anywhere.run("account", "list").out
    assert all(str(value) in table for value in row.values() if value)


def test_of_a_retired_account_nothing_is_expected_and_nothing_is_lost(anywhere: Program) -> None:
    record(anywhere)
    assert anywhere.run("account", "retire", "main").code == 0
    [(ends,)] = anywhere.rows("SELECT count(*) FROM schedule WHERE valid_to IS NOT NULL")
    assert ends == 1
    expected = anywhere.rows("SELECT account, expected FROM daily_equity ORDER BY day")
    time.sleep(2.1)
    assert anywhere.rows("SELECT account, expected FROM daily_equity ORDER BY day") == expected
    assert listed(anywhere)["main"]["retired_at"]
    assert anywhere.rows("SELECT count(*) FROM equity") == [(1,)]
    assert "retired" in anywhere.run("status").out
    refused(anywhere.run("account", "retire", "main"), 78, "retired since")

    record(anywhere)
    assert listed(anywhere)["main"]["retired_at"] is None
    assert anywhere.rows("SELECT count(*) FROM schedule WHERE valid_to IS NULL") == [(1,)]
    assert anywhere.rows("SELECT count(*) FROM equity") == [(2,)]


def test_a_wallet_that_is_gone_for_good_is_missed_until_that_is_accepted(anywhere: Program) -> None:
    record(anywhere)
    anywhere.exchange.faults.add("balances", drop=["grid"])
    [line] = record(anywhere).lines
    assert (line["status"], line["total_usdt"]) == ("partial", None)
    assert "grid" in line["reason"]
    refused(anywhere.run("account", "accept", "main", "nonsense"), 78, "grid")
    [(complete,)] = anywhere.rows("SELECT count(*) FROM equity WHERE status = 'complete'")
    assert complete == 1
    ran = anywhere.run("account", "accept", "main", "grid")
    assert (ran.code, ran.out) == (0, ""), ran.err
    assert "no longer missed" in ran.err
    [line] = record(anywhere).lines
    assert line["status"] == "complete"
    assert Decimal(line["total_usdt"]) == sum(map(Decimal, line["balances"].values()))
    assert "grid" not in line["balances"]
    assert anywhere.rows("SELECT status FROM equity ORDER BY slot_at") == [("complete",), ("partial",), ("complete",)]
