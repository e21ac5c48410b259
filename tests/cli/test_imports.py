"""``import``: history from a file, whole or not at all."""

import io
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.cli.imports import _read
from etl.errors import NotUnderstood
from etl.model import Provenance
from etl.transfer.portable import csv_header, csv_lines, json_lines
from etl.transfer.spreadsheet import Habits
from tests.cli.program import Program, Ran, eventually
from tests.cli.test_export import record
from tests.cli.test_streams import run_closed
from tests.transfer.test_portable import PLAIN

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def piped(program: Program, content: str, *arguments: str) -> Ran:
    """With that on its stdin."""
    done = subprocess.run(
        [sys.executable, "-m", "etl", "import", "-", *arguments],
        env=program.environ,
        input=content,
        capture_output=True,
        text=True,
        cwd=program.home,
        check=False,
        timeout=60,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def written(program: Program, content: str, name: str = "old.csv") -> str:
    """A file of the person's."""
    path = program.home / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def hours(count: int) -> str:
    """A table of so many hours."""
    return "time,total\n" + "".join(f"{BEGIN + n * HOUR:%Y-%m-%d %H:%M},{n}.50\n" for n in range(count))


@pytest.fixture
def elsewhere(anywhere: Program, new_database: Callable[..., str], dialect: str) -> Program:
    """Another installation, with a database of the other kind."""
    home = anywhere.home.with_name("elsewhere")
    home.mkdir()
    other = {"sqlite": "postgresql", "postgresql": "sqlite"}[dialect]
    return Program(home, anywhere.server, new_database(other, name="elsewhere.db"))


def test_what_is_exported_here_is_imported_there(anywhere: Program, elsewhere: Program) -> None:
    record(anywhere, 0, 1, 2)
    record(anywhere, 3, wallets={"sopt": "99999.99999999999999"})
    [(key,)] = anywhere.rows("SELECT min(snapshot_id) FROM equity")
    assert anywhere.run("void", str(key), "--reason", "wrong").code == 0
    whole = anywhere.run("export", "--voided").out
    ran = piped(elsewhere, whole)
    assert (ran.code, ran.out, ran.err) == (0, "", "imported 4 snapshots; new in the history: main (sandbox)\n")
    assert elsewhere.run("export", "--voided").out == whole.replace("measured", "imported")
    assert elsewhere.rows("SELECT DISTINCT provenance FROM snapshot") == [("imported",)]
    assert len(elsewhere.rows("SELECT 1 FROM equity")) == 3, "what is void there is void here"

    ran = piped(elsewhere, anywhere.run("export", "--voided", "--format", "jsonl").out)
    assert (ran.code, ran.err) == (0, "imported 0 snapshots, and 4 slots had theirs already\n")
    ran = anywhere.run("import", written(anywhere, whole))
    assert (ran.code, ran.err) == (0, "imported 0 snapshots, and 4 slots had theirs already\n")
    assert anywhere.rows("SELECT DISTINCT provenance FROM snapshot") == [("measured",)]


def test_a_table_of_ones_own_comes_before_what_is_recorded(anywhere: Program) -> None:
    table = written(anywhere, "Datum;Gesamt\n31.12.2019;1.234,50\n31.12.2023;2.000,00\n")
    ran = anywhere.run("import", table, "--account", "main", "--tz", "Europe/Berlin")
    assert (ran.code, ran.out, ran.err) == (0, "", "imported 2 snapshots; new in the history: main (sandbox)\n")
    assert anywhere.rows("SELECT count(*) FROM slot_gap") == [(0,)], "nobody expected the years between"
    ran = anywhere.run("snapshot", "--json")
    assert (ran.code, ran.lines[0]["stored"]) == (0, True), ran.err
    assert anywhere.rows("SELECT count(*) FROM account WHERE uid IS NOT NULL") == [(1,)]
    assert anywhere.rows("SELECT count(*) FROM slot_gap") == [(0,)]
    by_day = anywhere.run("export", "--until", "2023-12-31").out.splitlines()
    assert by_day[1:] == [
        "main,2019-12-31 23:00:00,2019-12-31 23:00:00.000,,,1234.50,complete,imported,,,,sandbox",
        "main,2023-12-31 23:00:00,2023-12-31 23:00:00.000,,,2000.00,complete,imported,,,,sandbox",
    ]
    provenance = "SELECT provenance, count(*) FROM snapshot GROUP BY provenance ORDER BY provenance"
    assert anywhere.rows(provenance) == [("imported", 2), ("measured", 1)]


def test_a_total_that_was_mistyped_is_told_when_it_comes_right_and_can_be_mended(program: Program) -> None:
    def totals(*lines: str) -> Ran:
        return piped(program, "\n".join(lines), "--account", "main", "--tz", "Europe/Berlin")

    assert totals("2025-12-30,100", "2025-12-31,1001").err.startswith("imported 2 snapshots")
    ran = totals("2025-12-30,100", "2025-12-31,101")
    assert ran.code == 0
    assert (
        "imported 0 snapshots, and 2 slots had theirs already\n1 of those slots were imported with another" in ran.err
    )
    assert "2025-12-31T23:00:00Z of main" in ran.err
    assert program.run("void", "2", "--reason", "mistyped").code == 0
    assert totals("2025-12-31 23:59,101").err == "imported 1 snapshots\n"
    report = program.run("report", "--tz", "Europe/Berlin", "--since", "2025-12-31", "--format", "csv")
    assert report.out.splitlines()[1].split(",")[7] == "101"


def test_one_bad_line_and_nothing_of_the_file_is_imported(anywhere: Program) -> None:
    bad = written(anywhere, hours(2500) + "03/04/2026 17:00,7\n")
    ran = anywhere.run("import", bad, "--account", "main", "--tz", "UTC")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (65, "", 1)
    for word in (bad, "line 2502", "03/04/2026 could be two days", "--dates", "nothing of it is imported"):
        assert word in ran.err
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(0,)]
    assert anywhere.rows("SELECT count(*) FROM account") == [(0,)]
    ran = anywhere.run("import", bad, "--account", "main", "--tz", "UTC", "--dates", "day-first")
    assert (ran.code, ran.err) == (0, "imported 2501 snapshots; new in the history: main (sandbox)\n")


def test_an_export_that_was_cut_off_is_refused(program: Program) -> None:
    record(program, 0, 1)
    whole = program.run("export").out
    lines = whole.splitlines(keepends=True)
    for content, number in (("".join(lines[:-1]), 4), (whole[:-20], 5), ("".join(lines[1:]), None)):
        ran = piped(program, content)
        assert (ran.code, ran.out) == (65 if number else 2, "")
        assert f"stdin, line {number}:" in ran.err or not number


def test_a_name_of_real_money_takes_no_play_money(program: Program) -> None:
    record(program, 0)
    whole = program.run("export").out
    ran = piped(program, whole.replace("sandbox", "live").replace("2026-", "2025-"))
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1)
    assert "main is from sandbox, the file's is from live" in ran.err
    assert program.rows("SELECT count(*) FROM snapshot") == [(1,)]


@pytest.mark.parametrize(
    ("content", "arguments", "code", "word"),
    [
        ("time,total\n2025-12-31,5\n", (), 2, "--account NAME"),
        ("time,total\n2025-12-31,5\n", ("--account", "main"), 65, "line 2: 2025-12-31 has no time zone"),
        ("time,total\n2025-12-31,5\n", ("--account", "../main"), 78, "letters, digits"),
        ("time,total\n2025-12-31,5\n", ("--account", "main", "--tz", "Berlin"), 2, "Europe/Berlin"),
        ("time,total\n2025-12-31,5\n", ("--account", "main", "--tz", "../../etc"), 2, "Europe/Berlin"),
        ("", (), 65, "line 1: it is empty"),
        ("\n \n", (), 65, "line 1: it is empty"),
        ("{}\n", (), 65, "line 1: no JSON object"),
        ("{}\n", ("--account", "main"), 2, "an export names its accounts"),
    ],
)
def test_what_cannot_be_understood_is_told_before_anything_is_touched(
    program: Program, content: str, arguments: tuple[str, ...], code: int, word: str
) -> None:
    ran = piped(program, content, *arguments)
    assert (ran.code, ran.out) == (code, ""), ran
    assert word in ran.err
    assert "Traceback" not in ran.err
    assert not program.state.exists()


def test_a_closed_stdin_is_an_empty_one(program: Program) -> None:
    done = run_closed(program, "<&-", "import", "-")
    assert (done.returncode, done.stdout) == (65, "")
    assert "line 1: it is empty" in done.stderr


EXPORT = csv_header() + csv_lines([PLAIN._replace(total_usdt="100.00"), PLAIN._replace(slot_at="2026-11-22T15:25:00Z")])
TABLE = b"Datum;Gesamt\n31.12.2019 17:00;1.234,50\n2023-12-31;2.000,00\n"
JSON = json_lines([PLAIN._replace(total_usdt="100.00")])
PIECES = st.binary(max_size=8) | st.sampled_from(
    [
        b"\n",
        b'"',
        b";",
        b",",
        b"-",
        b"9" * 30,
        b"\xef\xbb\xbf",
        b"\\ud800",
        b"\0",
        b"9999-12-31",
        b"0001-01-01 00:00",
        b"null",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    content=st.sampled_from([EXPORT, TABLE, JSON, b""]),
    pieces=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 9), PIECES), max_size=3),
)
def test_whatever_a_file_is_it_is_read_or_refused_with_a_line(
    content: bytes, pieces: list[tuple[int, int, bytes]]
) -> None:
    for place, length, piece in pieces:
        content = content[:place] + piece + content[place + length :]
    for account in (None, "main"):
        try:
            for entry in _read(io.BytesIO(content), account, Habits(ZoneInfo("Europe/Berlin")), BEGIN + 10**5 * HOUR):
                assert entry.snapshot.provenance is Provenance.IMPORTED
                assert entry.snapshot.total is None or entry.snapshot.total.is_finite()
        except (NotUnderstood, click.UsageError) as error:
            assert str(error).startswith("line ") or isinstance(error, click.UsageError)  # noqa: PT017 - either way is good


def test_a_file_that_is_not_there_is_told(program: Program) -> None:
    for path in (program.home / "none.csv", program.home):
        ran = program.run("import", str(path))
        assert (ran.code, ran.out) == (2, "")
        assert str(path) in ran.err


def test_an_empty_export_is_nothing_to_do(program: Program) -> None:
    ran = piped(program, program.run("export").out)
    assert (ran.code, ran.err) == (0, "imported 0 snapshots\n")


def test_a_recorder_comes_between_and_what_was_interrupted_is_finished_by_the_next(anywhere: Program) -> None:
    table = written(anywhere, hours(12_000))
    arguments = ("import", table, "--account", "old", "--tz", "UTC")
    with anywhere.start(*arguments) as process:
        so_far = "SELECT count(*) FROM snapshot"
        eventually(lambda: anywhere._rows_so_far(so_far) not in ([], [(0,)]))
        assert anywhere.run("snapshot").code == 0
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    [(stored,)] = anywhere.rows("SELECT count(*) FROM snapshot WHERE provenance = 'imported'")
    if process.returncode == 130:
        assert f"not all of it: {stored} snapshots are stored" in said
        assert stored % 2000 == 0
    else:
        assert (process.returncode, stored) == (0, 12_000), "it was faster"
    ran = anywhere.run(*arguments)
    assert ran.code == 0, ran.err
    assert anywhere.rows("SELECT count(*) FROM snapshot WHERE provenance = 'imported'") == [(12_000,)]
