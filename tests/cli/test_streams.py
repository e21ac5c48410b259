"""Whoever does not listen any more, the work is done."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.program import Program

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="/dev/full is Linux's")


@contextmanager
def gone_reader() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


def run(
    program: Program, *arguments: str, stdout: object = subprocess.PIPE, stderr: object = subprocess.PIPE
) -> tuple[int, str]:
    """Exit code and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "etl", *arguments],
        env=program.environ,
        stdout=stdout,  # type: ignore[call-overload]
        stderr=stderr,
        text=True,
        cwd=program.home,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr or ""


def run_closed(program: Program, redirection: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """With a redirection of the shell's, such as ``>&-``."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -m etl "$@" {redirection}', sys.executable, *arguments],
        env=program.environ,
        capture_output=True,
        text=True,
        cwd=program.home,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", ["snapshot --json", "status --json", "gaps", "--help", "spool list", "db current"])
def test_a_stdout_that_cannot_be_written_is_74_in_one_line_and_the_work_is_done(program: Program, command: str) -> None:
    if command != "snapshot --json":
        assert program.run("init").code == 0
    with FULL.open("w") as full:
        code, err = run(program, *command.split(), stdout=full)
    assert code == 74, err
    *_, last = err.splitlines()
    assert last == "bingx-etl: stdout cannot be written: No space left on device"
    assert "Traceback" not in err
    assert "Exception" not in err
    if command == "snapshot --json":
        assert program.rows("SELECT count(*) FROM snapshot") == [(1,)]


def test_what_needs_a_person_more_than_a_full_disk_stays_the_exit_code(program: Program) -> None:
    program.exchange.faults.add("error", code=100413)
    with FULL.open("w") as full:
        code, _ = run(program, "snapshot", "--json", stdout=full)
    assert code == 77
    with gone_reader() as pipe:
        code, err = run(program, "snapshot", "--json", stdout=pipe)
    assert code == 77
    assert "stdout" not in err
    assert program.rows("SELECT reason FROM failure") == [("key_refused",)]


@pytest.mark.parametrize("command", ["snapshot --json", "report --format json", "--help"])
def test_a_reader_who_has_gone_is_nobodys_fault(program: Program, command: str) -> None:
    with gone_reader() as pipe:
        code, err = run(program, *command.split(), stdout=pipe)
    assert code == 0, err
    assert "Traceback" not in err
    assert "pipe" not in err
    if command == "snapshot --json":
        assert program.rows("SELECT count(*) FROM snapshot") == [(1,)]


def test_more_than_a_pipe_holds_is_cut_off_without_a_word(program: Program) -> None:
    # Enough rows that not all of them fit into the buffers between the two.
    assert program.run("snapshot").code == 0
    account = program.rows("SELECT id FROM account")[0][0]
    program.rows(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
        "INSERT INTO failure SELECT "
        f"{account}, strftime('%Y-%m-%dT%H:%M:%SZ', 1699920000 - i * 86400 * 2, 'unixepoch'), 'unavailable', '', 1, "
        "'2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z' FROM n"
    )
    program.rows("UPDATE schedule SET valid_from = '1990-01-01T00:00:00Z'")
    with gone_reader() as pipe:
        code, err = run(program, "gaps", "--format", "json", stdout=pipe)
    assert (code, err) == (1, "")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&-", ">&- 2>&-", ">&- 2>&- <&-"])
def test_a_snapshot_is_taken_whatever_cron_has_closed(program: Program, redirection: str) -> None:
    done = run_closed(program, redirection, "snapshot")
    assert done.returncode == 0, done.stderr
    assert program.rows("SELECT count(*) FROM snapshot") == [(1,)]
    assert not program.spooled()
    assert program.rows("PRAGMA integrity_check") == [("ok",)]


def test_without_a_stderr_an_error_is_still_an_exit_code(program: Program) -> None:
    program.exchange.faults.add("error", code=100413)
    assert run_closed(program, "2>/dev/full", "snapshot").returncode == 77
    program.environ["BINGX_ETL_INTERVAL"] = "7m"
    for redirection in ("2>&-", "2>/dev/full"):
        assert run_closed(program, redirection, "snapshot").returncode == 78
    done = run_closed(program, ">&-", "--help")
    assert done.returncode == 74
    assert "stdout cannot be written" in done.stderr


def test_a_wallet_whose_name_the_terminal_cannot_write_is_written_all_the_same(program: Program) -> None:
    program.exchange.faults.add("balances", set={"gewölbe": "1"})
    program.environ |= {"PYTHONIOENCODING": "ascii"}
    ran = program.run("snapshot", "--json")
    assert ran.code == 0, ran.err
    assert "gew" in ran.out
    assert program.rows("SELECT count(*) FROM balance WHERE account_type = 'gewölbe'") == [(1,)]


WITH_STREAMS = """
import os, sys
from etl.cli.streams import patient_streams
with patient_streams():
    {code}
"""


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_stream_that_is_closed(program: Program, redirection: str) -> None:
    code = WITH_STREAMS.format(code="os._exit(os.open('/dev/null', os.O_RDONLY))")
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code], env=program.environ, check=False
    )
    assert done.returncode > 2


def test_what_is_said_on_stderr_is_there_when_the_process_dies(program: Program) -> None:
    code = WITH_STREAMS.format(code="sys.stderr.write('said\\n'); os._exit(0)")
    done = subprocess.run(
        [sys.executable, "-c", code], env=program.environ, capture_output=True, text=True, check=False
    )
    assert done.stderr == "said\n"


def test_a_reader_sees_lines_as_they_come(program: Program) -> None:
    with program.start("sandbox") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.terminate()
        process.communicate(timeout=20)
    began = time.monotonic()
    assert json.loads(program.run("status", "--json").out)["spool"] == 0
    assert time.monotonic() - began < 30
