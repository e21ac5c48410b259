"""``void`` and ``unvoid``, from the command line to what reports say."""

import json
from datetime import UTC, datetime

import pytest

from tests.cli.program import Program, Ran
from tests.cli.test_account import load

SLOT = datetime(2026, 1, 5, 15, 20, tzinfo=UTC)


def refused(ran: Ran, code: int, *words: str) -> None:
    """Words on stderr, nothing on stdout."""
    assert (ran.code, ran.out) == (code, ""), ran
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err


def test_a_wrong_snapshot_is_left_out_until_the_mark_is_taken_back(anywhere: Program) -> None:
    load(anywhere, SLOT, wallets={"sopt": "100.00", "grid": "7.5"})
    [(key,)] = anywhere.rows("SELECT snapshot_id FROM equity")
    ran = anywhere.run("void", str(key), "--reason", "grid counted twice")
    assert (ran.code, ran.out) == (0, "")
    assert "main, 2026-01-05T15:20:00Z, 107.50 USDT (measured)" in ran.err
    assert f"bingx-etl unvoid {key}" in ran.err
    assert anywhere.rows("SELECT count(*) FROM equity") == [(0,)]
    assert anywhere.rows("SELECT count(*) FROM snapshot") == [(1,)], "the row stays"
    assert '"void"' in anywhere.run("gaps", "--format", "json").out
    [day] = json.loads(anywhere.run("report", "--until", "2026-01-05", "--format", "json").out)
    assert (day["close_usdt"], day["snapshots"]) == (None, 0)

    again = anywhere.run("void", str(key), "--reason", "and again")
    refused(again, 78, "void already", "grid counted twice")
    ran = anywhere.run("unvoid", str(key), "--reason", "it was not")
    assert (ran.code, ran.out) == (0, "")
    assert "107.50 USDT" in ran.err
    assert anywhere.rows("SELECT count(*) FROM equity") == [(1,)]
    refused(anywhere.run("unvoid", str(key)), 78, "is not void")
    said = anywhere.rows("SELECT kind, text FROM annotation ORDER BY id")
    assert said == [("void", "grid counted twice"), ("unvoid", "it was not")]


def test_a_snapshot_that_nobody_knows_is_told_with_where_to_look(program: Program) -> None:
    for command in (("void", "--reason", "x"), ("unvoid",)):
        ran = program.run(command[0], "17", *command[1:])
        refused(ran, 78, "no snapshot 17", "snapshot_id")
        assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("void", "1"),
        ("void", "1", "--reason", "  "),
        ("void", "1", "--reason", "two\nlines"),
        ("void", "0", "--reason", "x"),
        ("void", str(2**63), "--reason", "x"),
        ("void", "main", "--reason", "x"),
        ("unvoid",),
        ("unvoid", "1", "--reason", ""),
    ],
)
def test_usage_is_told_before_anything_is_touched(program: Program, arguments: tuple[str, ...]) -> None:
    refused(program.run(*arguments), 2, "--help")
    assert not program.state.exists()
