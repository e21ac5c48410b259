"""``account``: what a person changes about the accounts of the history."""

import csv
import io
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from etl.sandbox.rules import UID
from etl.spool.spool import Spool
from tests.cli.program import Program, Ran
from tests.values import SLOT, reading

NOWHERE = "postgresql://somebody:hunter22@127.0.0.1:1/balances"
DAY = timedelta(days=1)


def load(
    program: Program,
    slot_at: datetime = SLOT,
    account: str = "main",
    *,
    interval: timedelta = timedelta(minutes=5),
    uid: str | None = None,
    wallets: Mapping[str, str] | None = None,
) -> None:
    """Have a reading in the history, as if it had waited in the spool."""
    spool = Spool(program.state)
    spool.prepare()
    spool.put(
        [
            reading(
                wallets,
                account=account,
                slot_at=slot_at,
                requested_at=slot_at + timedelta(milliseconds=500),
                interval_seconds=round(interval.total_seconds()),
                uid=uid or f"uid-{account}",
            )
        ]
    )
    ran = program.run("spool", "load")
    assert ran.code == 0, ran.err


def refused(ran: Ran, code: int, word: str) -> None:
    """One line on stderr that says it."""
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (code, "", 1), ran
    assert word in ran.err


def listed(program: Program) -> dict[str, dict[str, str | None]]:
    """What `account list` tells, by name."""
    return {row["account"]: row for row in json.loads(program.run("account", "list", "--format", "json").out)}


def with_its_own_history(program: Program) -> None:
    """The account of the sandbox was recorded some days ago, once a day."""
    load(program, SLOT - 100 * DAY, interval=DAY, uid=str(program.exchange.account("main").uid))


def test_a_new_name_takes_the_history_and_what_waits_with_it(anywhere: Program) -> None:
    with_its_own_history(anywhere)
    assert anywhere.run("snapshot", BINGX_ETL_DATABASE_URL=NOWHERE).code == 75
    refused(anywhere.run("account", "rename", "main", "desk", BINGX_ETL_DATABASE_URL=NOWHERE), 75, "database")
    assert len(anywhere.spooled()) == 1
    assert anywhere.rows("SELECT name FROM account") == [("main",)]

    ran = anywhere.run("account", "rename", "main", "desk")
    assert (ran.code, ran.out) == (0, "")
    assert "settings" in ran.err
    assert not anywhere.spooled()
    assert anywhere.rows("SELECT name FROM account") == [("desk",)]
    assert anywhere.rows("SELECT account, count(*) FROM equity GROUP BY account") == [("desk", 2)]

    other = anywhere.exchange.account("account-2")
    others = {"BINGX_API_KEY": other.api_key, "BINGX_API_SECRET": other.api_secret}
    ran = anywhere.run("snapshot", "--json", **others)
    assert (ran.code, ran.lines[0]["stored"]) == (0, True), "the name is free for somebody else's history"
    assert anywhere.run("account", "rename", "main", "second").code == 0
    ran = anywhere.run("snapshot", "--json")
    assert ran.code == 78
    assert ran.lines[0]["reason"] == "identity_mismatch"
    assert len(list((anywhere.state / "quarantine").glob("*.outcome"))) == 1, "refused, and kept"
    ran = anywhere.run("snapshot", "--json", BINGX_ETL_ACCOUNT="desk")
    assert (ran.code, ran.lines[0]["stored"]) == (0, True), ran.err
    by_name = "SELECT account, count(*) FROM equity GROUP BY account ORDER BY 1"
    assert anywhere.rows(by_name) == [("desk", 2), ("second", 1)]


def test_an_outcome_that_cannot_be_stored_yet_keeps_the_name_it_waits_under(anywhere: Program) -> None:
    with_its_own_history(anywhere)
    anywhere.exchange.faults.add("error", path=UID, code=109500)
    assert anywhere.run("snapshot").code == 75
    refused(anywhere.run("account", "rename", "main", "desk"), 75, "bingx-etl spool load")
    assert anywhere.rows("SELECT name FROM account") == [("main",)]
    assert len(anywhere.spooled()) == 1
    ran = anywhere.run("spool", "load")
    assert (ran.code, ran.out) == (75, "")
    assert "still waiting 1" in ran.err
    assert "main waits" in ran.err

    anywhere.exchange.faults.clear()
    ran = anywhere.run("snapshot")
    assert ran.code == 0, ran.err
    assert not anywhere.spooled()
    assert anywhere.run("account", "rename", "main", "desk").code == 0
    assert anywhere.rows("SELECT account, count(*) FROM equity GROUP BY account") == [("desk", 2)]


def test_a_name_that_is_taken_or_none_or_unknown_changes_nothing(program: Program) -> None:
    load(program)
    load(program, account="other")
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
    load(anywhere)
    row = listed(anywhere)["main"]
    assert (row["uid"], row["environment"], row["interval"], row["retired_at"]) == ("uid-main", "sandbox", "5m", None)
    [same] = csv.DictReader(io.StringIO(anywhere.run("account", "list", "--format", "csv").out))
    assert same == {name: value or "" for name, value in row.items()}
    table = anywhere.run("account", "list").out
    assert all(str(value) in table for value in row.values() if value)


def test_of_a_retired_account_nothing_is_expected_and_nothing_is_lost(anywhere: Program) -> None:
    second = timedelta(seconds=1)
    load(anywhere, datetime.now(UTC).replace(microsecond=0), interval=second)
    expected = "SELECT day, expected FROM daily_equity ORDER BY day"
    before = anywhere.rows(expected)
    time.sleep(1.1)
    assert anywhere.rows(expected) != before, "of an account in service, slots are expected"
    assert anywhere.run("account", "retire", "main").code == 0
    time.sleep(1.1)  # the slot that had begun is expected
    before = anywhere.rows(expected)
    time.sleep(1.1)
    assert anywhere.rows(expected) == before
    assert listed(anywhere)["main"]["retired_at"]
    assert anywhere.rows("SELECT count(*) FROM equity") == [(1,)]
    assert "retired" in anywhere.run("status").out
    refused(anywhere.run("account", "retire", "main"), 78, "retired since")

    load(anywhere, datetime.now(UTC).replace(microsecond=0), interval=second)
    assert listed(anywhere)["main"]["retired_at"] is None
    assert anywhere.rows("SELECT count(*) FROM schedule WHERE valid_to IS NULL") == [(1,)]
    assert anywhere.rows("SELECT count(*) FROM equity") == [(2,)]


def test_a_wallet_that_is_gone_for_good_is_missed_until_that_is_accepted(anywhere: Program) -> None:
    wallets = {"sopt": "100.00", "grid": "7.50"}
    load(anywhere, wallets=wallets)
    del wallets["grid"]
    load(anywhere, SLOT + timedelta(minutes=5), wallets=wallets)
    refused(anywhere.run("account", "accept", "main", "nonsense"), 78, "grid")
    ran = anywhere.run("account", "accept", "main", "grid")
    assert (ran.code, ran.out) == (0, ""), ran.err
    assert "no longer missed" in ran.err
    load(anywhere, SLOT + timedelta(minutes=10), wallets=wallets)
    found = anywhere.rows("SELECT status, total_usdt_exact FROM equity ORDER BY slot_at")
    assert [(status, total and Decimal(total)) for status, total in found] == [
        ("complete", Decimal("107.50")),
        ("partial", None),
        ("complete", Decimal("100.00")),
    ]
