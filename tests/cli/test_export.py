"""``export``: the balances as a file, from the command line."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl.spool.spool import Spool
from tests.cli.program import Program
from tests.cli.test_streams import gone_reader
from tests.cli.test_streams import run as run_into
from tests.values import reading

HEADER = (
    "account,slot_at_utc,taken_at_utc,account_type,usdt_balance,total_usdt,status,provenance,voided,reason,raw_type,"
    "environment\n"
)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def record(program: Program, *hours: int, account: str = "main", wallets: dict[str, str] | None = None) -> None:
    """A reading so many hours after the new year."""
    spool = Spool(program.state)
    spool.prepare()
    spool.put(
        [
            reading(
                wallets or {"sopt": "100.00", "=grid": "-7.50"},
                account=account,
                uid=f"uid-{account}",
                slot_at=NEW_YEAR + hour * HOUR,
                requested_at=NEW_YEAR + hour * HOUR + timedelta(milliseconds=1500),
                interval_seconds=3600,
            )
            for hour in hours
        ]
    )
    assert program.run("spool", "load").code == 0


def slots(out: str) -> list[str]:
    """Of the first wallet of each snapshot, the slot."""
    return [line.split(",")[1] for line in out.splitlines()[1:] if ",spot," in line]


def test_the_balances_leave_as_csv_and_as_json_lines(anywhere: Program) -> None:
    record(anywhere, 0)
    ran = anywhere.run("export")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        HEADER
        + "main,2026-01-01 00:00:00,2026-01-01 00:00:01.500,'=grid,-7.50,92.50,complete,measured,,,,sandbox\n"
        + "main,2026-01-01 00:00:00,2026-01-01 00:00:01.500,spot,100.00,92.50,complete,measured,,,sopt,sandbox\n"
    )
    ran = anywhere.run("export", "--format", "jsonl")
    assert (ran.code, ran.err) == (0, "")
    first, second = map(json.loads, ran.out.splitlines())
    assert (first["account_type"], first["usdt_balance"], first["slot_at"]) == (
        "=grid",
        "-7.50",
        "2026-01-01T00:00:00Z",
    )
    assert (second["raw_type"], second["voided"], second["taken_at"]) == ("sopt", None, "2026-01-01T00:00:01.500Z")


def test_a_day_is_the_same_day_as_in_reports(anywhere: Program) -> None:
    record(anywhere, 0, 1, 24, 25, 48)
    record(anywhere, 1, account="other")
    only = ("export", "--account", "main")
    of_the_first = anywhere.run(*only, "--since", "2026-01-01", "--until", "2026-01-01")
    assert slots(of_the_first.out) == ["2026-01-01 01:00:00", "2026-01-02 00:00:00"]
    of_the_second = anywhere.run(*only, "--since", "2026-01-02", "--until", "2026-01-02")
    assert slots(of_the_second.out) == ["2026-01-02 01:00:00", "2026-01-03 00:00:00"], "each slot is of one day"
    exact = anywhere.run(*only, "--since", "2026-01-02T00:00:00Z", "--until", "2026-01-02T02:00:00+01:00")
    assert slots(exact.out) == ["2026-01-02 00:00:00", "2026-01-02 01:00:00"]
    assert len(slots(anywhere.run("export").out)) == 6


def test_a_void_snapshot_stays_at_home_unless_asked_for(program: Program) -> None:
    record(program, 0)
    [(key,)] = program.rows("SELECT snapshot_id FROM equity")
    assert program.run("void", str(key), "--reason", "=cmd()").code == 0
    ran = program.run("export", "--since", "2026-01-01")
    assert (ran.code, ran.out) == (0, HEADER)
    assert ran.err == "nothing recorded in that time\n"
    ran = program.run("export", "--voided")
    assert ran.out.count(",'=cmd(),") == 2


def test_an_empty_history_is_a_header_and_a_hint(program: Program) -> None:
    ran = program.run("export")
    assert (ran.code, ran.out) == (0, HEADER)
    assert "bingx-etl snapshot" in ran.err
    assert program.run("export", "--format", "jsonl").out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--account", "nobody"), 78, "bingx-etl account list"),
        (("--since", "2026-02-30"), 2, "2026-12-31T23:00:00Z"),
        (("--until", "2026-01-01T00:00:00"), 2, "2026-12-31T23:00:00Z"),
        (("--until", "9999-12-31T23:59:59-12:00"), 2, "2026-12-31T23:00:00Z"),
        (("--format", "xlsx"), 2, "csv"),
    ],
)
def test_what_cannot_be_is_told(program: Program, arguments: tuple[str, ...], code: int, word: str) -> None:
    ran = program.run("export", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert word in ran.err
    assert "Traceback" not in ran.err


# The history is made up, the rest is the program: so many pages, with so many seconds before each.
MADE_UP = """
import sys
import time
import etl.cli.export
from etl.cli import main
from tests.transfer.test_portable import PLAIN

class MadeUp:
    def count(self):
        return {pages}

    def pages(self):
        for _ in range({pages}):
            time.sleep({seconds})
            yield 1, [PLAIN]

etl.cli.export.build_export = lambda *_, **__: MadeUp()
sys.argv = ["bingx-etl", "export"]
main()
"""


def test_a_reader_who_has_seen_enough_ends_even_an_export_without_an_end(program: Program) -> None:
    with gone_reader() as writing:
        done = subprocess.run(
            [sys.executable, "-c", MADE_UP.format(pages=10**12, seconds=0)],
            env=program.environ,
            stdout=writing,
            stderr=subprocess.PIPE,
            cwd=program.home,
            check=False,
            timeout=30,
        )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("is_piped", [True, False])
def test_how_far_it_is_is_shown_on_a_terminal_and_never_among_the_lines(program: Program, *, is_piped: bool) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", MADE_UP.format(pages=20, seconds=0.1)],
        env={**program.environ, "TERM": "xterm"},
        stdout=subprocess.PIPE if is_piped else theirs,
        stderr=theirs,
        cwd=program.home,
    ) as process:
        os.close(theirs)
        piped, _ = process.communicate(timeout=30)
        assert process.returncode == 0
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert ("exporting" in shown, "/20" in shown) == (is_piped, is_piped)
    assert ((piped or b"").decode() or shown).count("2026-11-22 15:20:00") == 20


def test_a_full_disk_is_told(program: Program) -> None:
    record(program, *range(3))
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            code, said = run_into(program, "export", stdout=full)
        assert code == 74
        assert "stdout cannot be written" in said


def test_the_file_is_utf_8_whatever_the_terminal_is(program: Program) -> None:
    record(program, 0, wallets={"\u00e4\u4e2d": "1"})
    done = subprocess.run(
        [sys.executable, "-m", "etl", "export"],
        env={**program.environ, "PYTHONIOENCODING": "latin-1", "LC_ALL": "C"},
        capture_output=True,
        cwd=program.home,
        check=True,
    )
    assert ",\u00e4\u4e2d,1,".encode() in done.stdout
