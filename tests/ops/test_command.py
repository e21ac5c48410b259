"""A command of the user's: what it is given, what is kept of what it says, and that it comes to an end."""

import os
import sys
import time
from pathlib import Path

import pytest

from etl.ops.command import MOST_OUTPUT, Command, Ran

ENVIRONMENT = {"PATH": os.environ["PATH"], "ONLY": "this"}


def shell(script: str, stdin: bytes = b"", seconds: float = 10) -> Ran:
    """A script of a line."""
    return Command(["/bin/sh", "-c", script], ENVIRONMENT, stdin).wait(seconds)


def test_it_is_given_stdin_and_its_environment_and_what_it_says_is_kept() -> None:
    assert shell("cat; echo $ONLY; echo to stderr >&2", b"hello\n") == Ran(0, "hello\nthis\nto stderr")
    assert shell("exit 3") == Ran(3, "")
    assert shell("kill -9 $$").code == -9
    environment = shell("env").output.splitlines()
    assert {line.partition("=")[0] for line in environment} <= {"PATH", "ONLY", "PWD", "SHLVL", "_"}


def test_stdin_that_is_not_read_is_no_trouble_and_one_that_is_larger_than_a_pipe_arrives() -> None:
    many = b"x" * 1_000_000
    assert shell("true", many) == Ran(0, "")
    assert shell("sleep 0.2; wc -c", many).output == "1000000"
    assert shell("exec <&-; sleep 0.2; echo done", many) == Ran(0, "done")


def test_of_what_it_says_the_beginning_is_kept_and_the_rest_does_not_hold_it_up() -> None:
    command = Command([sys.executable, "-c", "print('y' * 5_000_000)"], ENVIRONMENT, b"")
    ran = command.wait(10)
    assert (ran.code, len(ran.output)) == (0, MOST_OUTPUT)
    assert len(command._output) == MOST_OUTPUT, "nor does it fill the memory"
    assert shell("printf '\\377\\376'").output == "\ufffd\ufffd"


def test_when_its_time_is_up_it_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    began = time.monotonic()
    ran = shell(
        f"sleep 60 & echo $! > {tmp_path}/pid; trap '' TERM INT HUP; echo begun; sleep 60; sleep 60", seconds=0.5
    )
    assert time.monotonic() - began < 30
    assert ran == Ran(None, "begun", "ended after 0.5 s")
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "what it had started lives on"
        time.sleep(0.02)


def test_what_it_leaves_in_the_background_is_not_waited_for() -> None:
    began = time.monotonic()
    assert shell("sleep 60 & echo told") == Ran(0, "told")
    assert shell("yes & echo told; sleep 0.1; exit 0", seconds=30).code == 0
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(("arguments", "error"), [(["/nowhere/at/all"], OSError), (["/bin/sh", "a\0b"], ValueError)])
def test_one_that_cannot_be_started_says_why(arguments: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        Command(arguments, {}, b"")


def test_it_can_be_ended_from_outside() -> None:
    command = Command(["/bin/sleep", "60"], {}, b"")
    command.kill()
    assert command.wait(5).code == -9
