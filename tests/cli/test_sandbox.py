"""``sandbox``: the local BingX as a command."""

import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import ROOT, Program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_its_url_comes_first_and_its_words_make_this_program_use_it(program: Program, number: signal.Signals) -> None:
    with program.start("sandbox", "--seed", "3") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        words = [process.stderr.readline().strip() for _ in range(7)]
        exported = dict(word.removeprefix("export ").split("=", 1) for word in words[1:])
        assert exported.pop("BINGX_ETL_CONFIG").startswith('"$BINGX_ETL_STATE_DIR/')
        assert exported.pop("BINGX_ETL_STATE_DIR") == '"$(mktemp -d)"', "play money goes nowhere near real money"
        assert exported["BINGX_ETL_BASE_URL"] == url
        ran = program.run("snapshot", "--json", **exported)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert ran.code == 0, ran.err
    assert ran.lines[0]["status"] == "complete"
    assert process.returncode == 128 + number
    assert (out, err) == ("", "")


@pytest.mark.parametrize("arguments", [(), ("--config-dir", "a box")])
def test_pasted_where_real_settings_are_its_words_lead_away_from_all_of_them(
    program: Program, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """A real database in the environment, a real account and a ping in the config file of the user."""
    real = tmp_path / "real"
    config = program.home / ".config" / "bingx-etl" / "bingx-etl.toml"
    config.parent.mkdir(parents=True)
    config.write_text(
        f'state_dir = "{real}"\nping_url = "http://127.0.0.1:1/0123456789abcdef"\n'
        '[accounts.main]\napi_key_file = "/nowhere"\napi_secret_file = "/nowhere"\n'
    )
    config.chmod(0o600)
    program.environ |= {
        "BINGX_ETL_DATABASE_URL": f"sqlite:///{real}/balances.db",
        "BINGX_ETL_METRICS_TEXTFILE": f"{real}/x.prom",
        "TMPDIR": str(tmp_path),
    }
    given = [str(tmp_path / each) if each == "a box" else each for each in arguments]
    with program.start("sandbox", *given) as process:
        assert process.stderr is not None
        words = [process.stderr.readline() for _ in range(2 if arguments else 7)]
        call = [sys.executable, "-m", "etl", "snapshot", "--json"]
        script = "".join(words) + shlex.join(call) + '; find "$(dirname "$BINGX_ETL_CONFIG")" -name balances.db'
        ran = subprocess.run(
            ["sh", "-c", script], env=program.environ, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        )
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    reading, database = ran.stdout.splitlines()
    assert '"status":"complete"' in reading, ran.stderr
    assert "0123456789abcdef" not in ran.stderr
    assert database.endswith("/balances.db")
    assert not real.exists()


def test_a_config_file_for_all_of_its_accounts(program: Program, tmp_path: Path) -> None:
    directory = tmp_path / "box"
    program.environ = {name: value for name, value in program.environ.items() if not name.startswith("BINGX_")}
    for _ in range(2):  # a new start writes its own file anew, for the port has changed
        with program.start("sandbox", "--accounts", "2", "--config-dir", str(directory)) as process:
            assert process.stderr is not None
            said = [process.stderr.readline() for _ in range(2)]
            config = directory / "bingx-etl.toml"
            assert said[1] == f"export BINGX_ETL_CONFIG={config}\n"
            ran = program.run("snapshot", "--json", "--config", str(config))
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)
        assert [line["account"] for line in ran.lines] == ["account-2", "main"], ran.err
        assert ran.code == 0, ran.err


def test_a_config_file_of_a_person_stays(program: Program, tmp_path: Path) -> None:
    mine = tmp_path / "bingx-etl.toml"
    mine.write_text('interval = "1h"\n')
    ran = program.run("sandbox", "--config-dir", str(tmp_path))
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (73, "", 1)
    assert str(mine) in ran.err
    assert mine.read_text() == 'interval = "1h"\n'


def test_what_it_cannot_do_it_says_in_one_line(program: Program) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for arguments, word in (
            (("--port", "65536"), "65535"),
            (("--accounts", "0"), "--accounts"),
            (("--port", str(taken.getsockname()[1])), "choose another"),
        ):
            ran = program.run("sandbox", *arguments)
            assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1), ran
            assert word in ran.err
    assert program.run("sandbox", "--port", "http").code == 2
