"""``status``: whether it works, at a glance."""

from datetime import UTC, datetime, timedelta

from etl.grid import instant_text, slot_of, slot_text
from etl.model import Reason
from etl.spool.spool import Spool
from tests.cli.confined import confined
from tests.cli.program import Program
from tests.cli.terminal import on_a_terminal
from tests.values import failure, reading

NOWHERE = "postgresql://somebody:hunter22@127.0.0.1:1/balances"


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
    spool, five = Spool(anywhere.state), timedelta(minutes=5)
    at = slot_of(datetime.now(UTC), 300) - 4 * five
    requested_at = at + timedelta(seconds=1, milliseconds=250)
    spool.prepare()
    spool.put(
        [
            reading(slot_at=at - five, requested_at=at - five),
            reading({"sopt": "107.500"}, slot_at=at, requested_at=requested_at),
            failure(slot_at=at + five, reason=Reason.UNREACHABLE),
            failure(slot_at=at + 2 * five, reason=Reason.UNAVAILABLE),
        ]
    )
    assert anywhere.run("spool", "load").code == 0
    spool.put([failure(slot_at=at + 3 * five)])

    ran = anywhere.run("status", "--json", BINGX_ETL_INTERVAL="5m")
    assert (ran.code, ran.err) == (0, "")
    [whole] = ran.lines
    [account] = whole["accounts"]
    assert (account["account"], account["status"], account["provenance"]) == ("main", "partial", "measured")
    assert account["slot_at"] == slot_text(at)
    assert account["taken_at"] == instant_text(requested_at)
    assert (account["failures_since"], account["last_reason"]) == (2, "unavailable")
    assert account["total_usdt"] is None
    assert "USDTMPerp" in account["reason"]
    assert 1190 <= account["age_seconds"] <= 1600
    assert (whole["spool"], whole["quarantine"]) == (1, 0)
    assert whole["next_slot_at"] in {slot_text(at + 5 * five), slot_text(at + 6 * five)}

    assert anywhere.run("account", "accept", "main", "USDTMPerp").code == 0
    spool.put([reading({"sopt": "107.500"}, slot_at=at + 2 * five, requested_at=requested_at + 2 * five)])
    assert anywhere.run("spool", "load").code == 0
    table = anywhere.run("status", BINGX_ETL_INTERVAL="5m")
    assert (table.code, table.err) == (0, "")
    [_, row, _, below] = table.out.splitlines()
    name, slot_at, age, unit, status, total, failures, reason = row.split()
    assert (name, slot_at, status, total, failures, reason) == (
        "main",
        slot_text(at + 2 * five),
        "complete",
        "107.500",
        "1",
        "unavailable",
    )
    assert age.endswith("m")
    assert unit.endswith("s")
    assert below.startswith("spool: 0 waiting   quarantine: 0   next slot: ")


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


def test_a_person_at_a_terminal_sees_a_small_curve_of_each_account(program: Program) -> None:
    spool, day = Spool(program.state), timedelta(days=1)
    noon = slot_of(datetime.now(UTC), 86_400) - day / 2
    spool.prepare()
    spool.put(
        [
            reading({"sopt": total}, slot_at=noon - ago * day, requested_at=noon - ago * day, interval_seconds=43_200)
            for ago, total in ((3, "100"), (2, "170"), (0, "135"))
        ]
    )
    assert program.run("spool", "load").code == 0
    lines = on_a_terminal(program, "status", columns=120)
    [place] = [number for number, line in enumerate(lines) if "the last 30 days" in line]
    assert lines[place + 1].rstrip() == "main  ▁█ ▅"
    assert "▁" not in program.run("status").out
