"""The log of the real program, one-shot and daemon, read by strict readers of logfmt and JSON."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etl.sandbox.rules import BALANCES
from tests.cli.program import Program, eventually, installed
from tests.test_docs import rows

PAIR = re.compile(r'([a-z_]+)=(?:([!#-<>-~]+)|("(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-f]{4})*"))( |$)')
HOSTILE = 'he said "x=1"\n\té\u2028\U0001f4a3 \x1b[31m\\ key=value'
# A library that warns, by its logger and by a warning, and at a level that nobody wants to hear.
LIBRARY = """
import logging, warnings
from etl.recorder import Recorder
def loudly(read):
    def wrapped(*args, **kwargs):
        import os
        secret = os.environ["BINGX_API_SECRET"]
        logging.getLogger("some.library").warning("not %s\\nbut \\"%s\\" signature=%s", "a=b", secret, "ab" * 32)
        logging.getLogger("some.library").info("nobody wants to hear this")
        warnings.warn(f"deprecated, says {secret}")
        return read(*args, **kwargs)
    return wrapped
Recorder.read = loudly(Recorder.read)
"""
DOCUMENTED = {cells[0].strip("`"): set(re.findall(r"`([a-z_]+)`", cells[1])) for cells in rows("## The log")}
COMMON = ["at", "level", "event"]


def logfmt(line: str) -> dict[str, Any]:
    """A line of strict logfmt; AssertionError where it is none."""
    pairs, at = {}, 0
    while at < len(line):
        match = PAIR.match(line, at)
        assert match, f"not logfmt from {line[at:]!r} on"
        key, plain, quoted, _ = match.groups()
        assert key not in pairs, f"{key} twice in {line!r}"
        pairs[key] = plain if quoted is None else json.loads(quoted)
        at = match.end()
    return pairs


READERS: dict[str, Callable[[str], dict[str, Any]]] = {"text": logfmt, "json": json.loads}


def read(log_format: str, said: str) -> list[dict[str, Any]]:
    """Every line, which has an event that is documented, and no key that is not."""
    assert said.isascii()
    assert not set(said) & set(map(chr, [*range(10), *range(11, 32), 127]))
    events = [READERS[log_format](line) for line in said.split("\n")[:-1]]
    for event in events:
        assert list(event)[:3] == COMMON
        assert set(event) - {"traceback"} <= {*COMMON, *DOCUMENTED[event["event"]]}, event
    return events


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Those of one name."""
    return [event for event in events if event["event"] == name]


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("as_daemon", [False, True])
def test_every_line_is_an_event_that_is_documented_whatever_bingx_and_libraries_say(
    tmp_path: Path, log_format: str, *, as_daemon: bool
) -> None:
    with installed(tmp_path / "home") as program:
        custom = tmp_path / "custom"
        custom.mkdir()
        (custom / "sitecustomize.py").write_text(LIBRARY)
        environ = {
            "PYTHONPATH": f"{custom}:{program.environ['PYTHONPATH']}",
            "BINGX_ETL_LOG_FORMAT": log_format,
        }
        program.exchange.faults.add("error", path=BALANCES, code=109500, msg=HOSTILE, times=1)
        if as_daemon:
            with program.daemon(**environ, BINGX_ETL_INTERVAL="1s") as daemon:
                eventually(lambda: len(program.recorded()) >= 2)
                daemon.stop()
            said = daemon.said
        else:
            said = program.run("snapshot", **environ, BINGX_ETL_INTERVAL="1s").err
            time.sleep(1)
            said += program.run("snapshot", **environ, BINGX_ETL_INTERVAL="1s").err
    for hidden in (program.exchange.accounts[0].api_secret, "ab" * 32, "nobody wants"):
        assert hidden not in said
    events = read(log_format, said)
    recorded = named(events, "slot recorded")
    assert list(recorded[0])[3:10] == ["account", "slot_at", "outcome", "reason", "attempts", "latency_ms", "stored"]
    assert {event["outcome"] for event in recorded} == {"failed", "complete"}
    # A slot that failed may be read once more: at its very end, by the thread of the slot before, which began so late.
    first = [(event["slot_at"], event["outcome"]) for event in recorded if "duplicate" not in event]
    assert len(set(first)) == len(first)
    library = named(events, "library")
    assert 'not a=b\nbut "***" signature=***' in [event["text"] for event in library]
    assert any(event["logger"] == "py.warnings" and "says ***" in event["text"] for event in library)


def test_the_reader_of_logfmt_is_strict() -> None:
    assert logfmt('a=1 b="" c="x\\n\\"y\\" é="') == {"a": "1", "b": "", "c": 'x\n"y" é='}
    for line in ("a", "a=", "a=b=c", 'a="x', "a=é", "a=1  b=2", "a=1 a=2", 'a="\x1b"', "=1", 'a="\\x1b"'):
        with pytest.raises(AssertionError):
            logfmt(line)


def test_amounts_and_uids_are_in_the_log_only_where_they_were_asked_for(program: Program) -> None:
    ran = program.run("snapshot", "--json")
    total, uid = ran.lines[0]["total_usdt"], program.rows("SELECT uid FROM account")[0][0]
    assert total not in ran.err
    assert uid not in ran.err
    ran = program.run("snapshot", BINGX_ETL_LOG_PRIVATE="yes", BINGX_ETL_INTERVAL="12h")
    [event] = named(read("text", ran.err), "slot recorded")
    assert event["uid"] == uid
    assert re.fullmatch(r"[0-9]+(\.[0-9]+)?", event["total_usdt"])
    ran = program.run("snapshot", BINGX_ETL_LOG_PRIVATE="maybe")
    assert (ran.code, "log_private" in ran.err) == (78, True)


@pytest.mark.parametrize("command", ["snapshot", "run"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_ends_it_is_an_event_too_even_where_the_settings_are_wrong(
    program: Program, command: str, log_format: str
) -> None:
    config = program.home / "config.toml"
    config.write_text(f'log_format = "{log_format}"\ninterval = "a \\"week\\""\n')
    ran = program.run("--config", str(config), command, BINGX_ETL_INTERVAL=None)
    [event] = read(log_format, ran.err)
    assert ran.code == 78
    assert (event["event"], event["level"], str(event["exit_code"])) == ("ended", "error", "78")
    assert event["text"].startswith("interval 'a \"week\"' (")


def test_so_is_a_bug_with_its_traceback(tmp_path: Path, program: Program) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from etl.recorder import Recorder\nRecorder.record = lambda *_: 1 / 0\n"
    )
    ran = program.run("snapshot", PYTHONPATH=f"{tmp_path}:{program.environ['PYTHONPATH']}")
    [event] = read("text", ran.err)
    assert (ran.code, event["event"], event["exit_code"]) == (70, "ended", "70")
    assert event["traceback"].endswith("ZeroDivisionError: division by zero")
