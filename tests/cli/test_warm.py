import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli import warm
from tests.cli.program import Program, Ran

# Runs in the place of the program, which is found through the working directory as ``python -m`` does.
CODE = "import json, os, signal, sys\n"


class Told(NamedTuple):
    before: list[str]
    pid: int
    cwd: str
    arguments: list[str]
    environ: dict[str, str]
    held: int


def ran(home: Path, code: str, *arguments: str, within: float = 20, **environ: str) -> Ran:
    """What becomes of a program that is this code."""
    package = home / "etl"
    if not package.exists():
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(CODE + code)
    return Ran(*warm.run(arguments, {"PATH": os.environ["PATH"], **environ}, home, within))


def test_what_begins_warm_says_does_and_leaves_what_begins_cold_does(program: Program) -> None:
    for command in ("db upgrade", "account list --format csv", "nope", "void 1"):
        with program.start(*command.split()) as process:
            out, err = process.communicate(timeout=60)
        assert program.run(*command.split()) == Ran(process.returncode, out, err), command
    assert program.run("snapshot").code == 0
    assert program.rows("SELECT count(*) FROM snapshot") == [(1,)]


def test_it_is_a_process_of_its_own_that_has_nothing_of_ours_but_what_it_was_given(tmp_path: Path) -> None:
    before = "before = [name for name in sys.modules if name.partition('.')[0] == 'etl']\n"
    look = "held = [int(fd) for fd in os.listdir('/dev/fd')]\n"
    tell = "print(json.dumps([before, os.getpid(), os.getcwd(), sys.argv[1:], dict(os.environ), sum(held)]))\n"
    told = [ran(tmp_path, before + look + tell, "a", "b c", ONLY="this", TZ="Asia/Tokyo") for _ in range(2)]
    assert [each.err for each in told] == ["", ""]
    one, two = (Told(*json.loads(each.out)) for each in told)
    assert one.before == ["etl"], "the package of the code itself, and nothing before it"
    assert len({one.pid, two.pid, os.getpid()}) == 3
    assert (one.cwd, one.arguments) == (str(tmp_path), ["a", "b c"])
    assert one.environ == {"PATH": os.environ["PATH"], "ONLY": "this", "TZ": "Asia/Tokyo"}
    assert one.held == two.held == 0 + 1 + 2 + 3, "its three descriptors, and that of the look"


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("sys.exit(77)", 77),
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM),
        ("import atexit; atexit.register(print, 'last')", 0),
        ("1 / 0", 1),
    ],
)
def test_it_ends_as_any_other(tmp_path: Path, code: str, ended: int) -> None:
    found = ran(tmp_path, f"sys.stdout.write('said ')\nsys.stdout.flush()\n{code}")
    assert (found.code, found.out) == (ended, "said last\n" if "atexit" in code else "said ")
    assert ("ZeroDivisionError" in found.err) == (ended == 1)


def test_what_does_not_end_is_killed(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        ran(
            tmp_path,
            "import pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)",
            within=1,
        )
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_many_at_once_are_told_apart(tmp_path: Path) -> None:
    code = "import time\ntime.sleep(0.2)\nprint(sys.argv[1] * 100_000)\nsys.exit(int(sys.argv[1]))"
    ran(tmp_path, code, "1")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: ran(tmp_path, code, str(number)), range(8)))
    assert [(each.code, each.out) for each in found] == [(n, str(n) * 100_000 + "\n") for n in range(8)]


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONWARNINGS", "LD_PRELOAD", "LC_ALL", "LANG", "FAKETIME_NO_CACHE"])
def test_what_is_read_when_an_interpreter_begins_makes_it_begin_cold(program: Program, name: str) -> None:
    assert warm.is_all_the_same(program.environ)
    assert not warm.is_all_the_same({**program.environ, name: "x"})
