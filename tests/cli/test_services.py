"""``init --systemd``: services that systemd finds nothing wrong with, and that start what was asked for."""

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from etl.cli.init import init
from etl.ops.units import Installation, units
from tests.cli.program import Program, Ran
from tests.deployed import analyze, words
from tests.installation import install

UNITS = ("bingx-etl.service", "bingx-etl.timer", "bingx-etl-daemon.service")
FILES = {*UNITS, "bingx-etl.toml"}


def call(program: Path, *arguments: str, cwd: Path, environ: Mapping[str, str]) -> Ran:
    """Run an installed program."""
    done = subprocess.run(
        [program, *arguments], env=dict(environ), capture_output=True, text=True, cwd=cwd, check=False, timeout=60
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def bare(program: Program, **environ: str) -> dict[str, str]:
    """The environment of somebody who has set nothing else."""
    return {"HOME": str(program.home), "PATH": os.environ["PATH"], **environ}


def init_systemd(program: Program, *arguments: str, config: str = "", **environ: str) -> Ran:
    """Have it write the services of a config file into ``units`` in the program's home."""
    file = program.home / "mine.toml"
    file.write_text(config)
    file.chmod(0o600)
    command = install(program.home / "venv")
    return call(
        command,
        *("--config", str(file), "init", "--systemd", str(program.home / "units"), *arguments),
        cwd=program.home,
        environ=bare(program, **environ),
    )


def keys_of(program: Program, directory: Path, *accounts: str) -> str:
    """Key files, and the tables of a config file that name them."""
    tables = ""
    directory.mkdir(exist_ok=True)
    for account in accounts:
        held = program.exchange.account(account)
        tables += f"[accounts.{account}]\n"
        for name, text in (("api_key", held.api_key), ("api_secret", held.api_secret)):
            path = directory / f"{account}.{name}"
            path.write_text(text)
            path.chmod(0o600)
            tables += f'{name}_file = "{path}"\n'
    return tables


def started(program: Program, unit: str, **environ: str) -> Ran:
    """Start what a unit starts, with what systemd would give it and nothing else."""
    text = (program.home / "units" / unit).read_text()
    given = program.home / "credentials"
    shutil.rmtree(given, ignore_errors=True)
    given.mkdir(mode=0o700)
    for line in words(text, "LoadCredential"):
        name, _, path = line.partition(":")
        source = Path(path.replace("%%", "%"))
        if source.parent == Path("/etc/bingx-etl"):
            source = program.home / "etc" / source.name
        if source.exists():
            shutil.copy(source, given / name)
        else:
            [default] = [value for value in words(text, "SetCredential") if value.startswith(f"{name}:")]
            (given / name).write_text(default.removeprefix(f"{name}:").replace("\\n", "\n"))
        (given / name).chmod(0o440)  # as systemd leaves it where it gives the right to one user by an ACL
    variables = dict(line.split("=", 1) for line in words(text, "Environment"))
    variables = {name: value.replace("%d", str(given)) for name, value in variables.items()}
    assert variables["BINGX_ETL_CONFIG"] == "/etc/bingx-etl/bingx-etl.toml"
    variables |= {
        "BINGX_ETL_CONFIG": str(program.home / "units" / "bingx-etl.toml"),
        "CREDENTIALS_DIRECTORY": str(given),
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        **environ,
    }
    [command] = words(text, "ExecStart")
    path, *arguments = shlex.split(command.replace("%%", "%"))
    return call(Path(path), *arguments, cwd=Path("/"), environ=variables)


def test_what_the_services_start_records_the_accounts_of_the_settings(anywhere: Program) -> None:
    program = anywhere
    config = f'interval = "1d"\nretry_for = "0s"\nbase_url = "{program.server.url}"\n'
    config += f'state_dir = "{program.state}"\n'
    (program.home / "etc").mkdir()
    if program.database_url.startswith("postgresql"):
        config += f'database_url = "{program.database_url}"\n'
        (program.home / "etc" / "database_url").write_text(program.database_url + "\n")
    else:
        program.database_url = f"sqlite:///{program.state}/balances.db"
    config += keys_of(program, program.home / "keys, 100%", "main", "account-2")
    ran = init_systemd(program, config=config)
    assert ran.code == 0, ran.err
    assert {Path(line).name for line in ran.out.splitlines()} == FILES
    assert (program.home / "units" / "bingx-etl.toml").stat().st_mode & 0o777 == 0o600

    recorded = started(program, "bingx-etl.service")
    assert recorded.code == 0, recorded.err
    assert program.rows("SELECT name FROM account ORDER BY name") == [("account-2",), ("main",)]
    assert len(program.recorded()) == 2
    if program.database_url.startswith("postgresql"):
        assert not list(program.home.rglob("balances.db"))
        written = "".join((program.home / "units" / name).read_text() for name in FILES)
        assert program.database_url not in written
    held = program.exchange.account("main")
    for path in (program.home / "units").iterdir():
        assert held.api_key not in path.read_text()
        assert held.api_secret not in path.read_text()


@pytest.mark.parametrize("name", ["venv", "a venv; 100% mine"])
def test_systemd_finds_nothing_wrong_with_them_and_little_exposed(program: Program, name: str) -> None:
    (program.home / "keys").mkdir()
    file = program.home / "mine.toml"
    file.write_text('interval = "18s"\n' + keys_of(program, program.home / "k 100%", "main", "account-2"))
    command = install(program.home / name)
    units = program.home / "units"
    done = call(
        command, "--config", str(file), "init", "--systemd", str(units), cwd=program.home, environ=bare(program)
    )
    assert done.code == 0, done.err
    assert analyze("verify", "--man=no", *(units / name for name in UNITS)) == (0, "")
    for unit in ("bingx-etl.service", "bingx-etl-daemon.service"):
        code, said = analyze("security", "--offline=true", "--threshold=20", units / unit)
        assert code == 0, said


def test_a_newcomer_has_one_account_whose_key_is_put_where_the_services_look(program: Program) -> None:
    ran = init_systemd(program)
    assert ran.code == 0, ran.err
    text = (program.home / "units" / "bingx-etl.service").read_text()
    assert words(text, "LoadCredential") == [
        f"main.bingx_{key}:/etc/bingx-etl/main.bingx_{key}" for key in ("api_key", "api_secret")
    ]
    assert words(text, "StateDirectory") == ["bingx-etl"]
    assert words(text, "TimeoutStartSec") == ["285s"]
    assert words((program.home / "units" / "bingx-etl.timer").read_text(), "OnCalendar") == ["*-*-* *:00/5:00 UTC"]
    assert 'state_dir = "/var/lib/bingx-etl"' in (program.home / "units" / "bingx-etl.toml").read_text()
    (program.home / "etc").mkdir()
    held = program.exchange.account("main")
    for key, value in (("api_key", held.api_key), ("api_secret", held.api_secret)):
        assert f"cat > /etc/bingx-etl/main.bingx_{key})" in ran.err
        (program.home / "etc" / f"main.bingx_{key}").write_text(f"{value}\n")
    environ = {name: program.environ[name] for name in ("BINGX_ETL_STATE_DIR", "BINGX_ETL_BASE_URL")}
    recorded = started(program, "bingx-etl.service", **environ)
    assert recorded.code == 0, recorded.err


def test_a_key_file_that_is_missing_costs_its_own_account_alone(program: Program) -> None:
    config = f'interval = "1d"\nretry_for = "0s"\nbase_url = "{program.server.url}"\nstate_dir = "{program.state}"\n'
    config += keys_of(program, program.home / "keys", "main", "account-2")
    assert init_systemd(program, config=config).code == 0
    (program.home / "keys" / "account-2.api_key").unlink()
    for unit in ("bingx-etl.service", "bingx-etl-daemon.service"):
        text = (program.home / "units" / unit).read_text()
        loaded = [line.partition(":")[0] for line in words(text, "LoadCredential")]
        assert words(text, "SetCredential") == [f"{name}:\\n" for name in loaded], "else systemd starts nothing"

    recorded = started(program, "bingx-etl.service")
    assert recorded.code == 78, recorded.err
    assert "account-2.bingx_api_key" in recorded.err
    assert program.rows("SELECT name FROM account JOIN snapshot ON account_id = account.id") == [("main",)]


def test_nothing_else_is_written_and_nothing_is_overwritten(program: Program) -> None:
    units = program.home / "units"
    assert init_systemd(program).code == 0
    before = {path: path.read_bytes() for path in units.iterdir()}
    assert {path.name for path in before} == FILES
    assert not program.state.exists()
    assert not list(program.home.rglob("*.db"))
    shutil.rmtree(program.home / "venv")

    again = init_systemd(program, config='interval = "1h"\n')
    assert (again.code, again.out) == (73, "")
    assert "is there already" in again.err
    assert {path: path.read_bytes() for path in units.iterdir()} == before

    for path in before:
        if path.name != "bingx-etl-daemon.service":
            path.unlink()
    shutil.rmtree(program.home / "venv")
    assert init_systemd(program).code == 73
    assert [path.name for path in units.iterdir()] == ["bingx-etl-daemon.service"], "all of them, or none"


def test_secrets_of_the_environment_are_in_no_file(program: Program) -> None:
    secrets = {
        "BINGX_API_KEY": "key-that-must-not-be-written",
        "BINGX_API_SECRET": "secret-that-must-not-be-written",
        "BINGX_ETL_DATABASE_URL": "postgresql://me:password-that-must-not-be-written@db/x",
        "BINGX_ETL_PING_URL": "https://ping.example/id-that-must-not-be-written",
        "BINGX_ETL_ACCOUNT": "mine",
    }
    ran = init_systemd(program, **secrets)
    assert ran.code == 0, ran.err
    texts = [ran.out, ran.err, *(path.read_text() for path in (program.home / "units").iterdir())]
    assert not [text for text in texts if "must-not-be-written" in text]
    text = (program.home / "units" / "bingx-etl-daemon.service").read_text()
    loaded = [line.partition(":")[0] for line in words(text, "LoadCredential")]
    assert loaded == ["mine.bingx_api_key", "mine.bingx_api_secret", "database_url", "ping_url"]
    assert words(text, "Environment")[1:] == [
        "BINGX_ETL_DATABASE_URL_FILE=%d/database_url",
        "BINGX_ETL_PING_URL_FILE=%d/ping_url",
    ]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('[accounts.main]\napi_key_file = "/a\\nExecStartPre=/bin/evil"\n', "cannot be written into a unit"),
        ('[accounts.main]\napi_key_file = "/a\\\\"\n', "cannot be written into a unit"),
        ('[accounts."a\\nb"]\n', "account name"),
        ('state_dir = "/home/somebody/state"\n', "in somebody's home"),
        ('database_url = "sqlite:////root/balances.db"\n', "in somebody's home"),
        ('state_dir = "/srv/\\"quoted\\""\n', "cannot be written into a unit"),
    ],
)
def test_what_would_not_work_as_a_service_is_refused_and_nothing_is_written(
    program: Program, config: str, said: str
) -> None:
    ran = init_systemd(program, config=config)
    assert (ran.code, ran.out) == (78, "")
    assert said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (program.home / "units").exists()


def test_what_lies_elsewhere_may_be_written_to_and_nothing_else(program: Program) -> None:
    config = 'state_dir = "/srv/bingx etl"\ndatabase_url = "sqlite:////data/100%/balances.db"\n'
    ran = init_systemd(program, config=config)
    assert ran.code == 0, ran.err
    text = (program.home / "units" / "bingx-etl.service").read_text()
    assert words(text, "StateDirectory") == []
    assert words(text, "ReadWritePaths") == ["/data/100%%", '"/srv/bingx etl"']
    assert "install -d -m 700 -o bingx-etl '/srv/bingx etl'" in ran.err
    assert "install -d -m 700 -o bingx-etl /data/100%\n" in ran.err
    assert analyze("verify", "--man=no", *(program.home / "units" / name for name in UNITS)) == (0, "")


def test_a_path_in_the_callers_home_is_not_one_in_the_services(program: Program) -> None:
    config = """metrics_textfile = "~/m.prom"\non_change = "~/tell --to 'two words'"\n"""
    ran = init_systemd(program, config=config)
    assert ran.code == 0, ran.err
    settings = tomllib.loads((program.home / "units" / "bingx-etl.toml").read_text())
    assert settings["metrics_textfile"] == f"{program.home}/m.prom"
    assert settings["on_change"] == f"{program.home}/tell --to 'two words'"
    assert words((program.home / "units" / "bingx-etl.service").read_text(), "ReadWritePaths") == [str(program.home)]


def test_what_of_a_home_the_services_need_they_see_and_nothing_else() -> None:
    home = Path("/home/somebody/.local/share/pipx/venvs/bingx-etl")
    command = Path("/root/bin/tell-me")
    parts = (home, Path("/usr"), home / "lib")
    here = Installation(home / "bin" / "bingx-etl", parts, 300, reads=(command, Path("/etc/ssl/mine.pem")))
    text = units(here)["bingx-etl.service"]
    assert words(text, "ProtectHome") == ["tmpfs"]
    assert words(text, "BindReadOnlyPaths") == [str(home), str(home / "lib"), str(command)]
    there = Installation(Path("/opt/x/bin/bingx-etl"), (Path("/opt/x"), Path("/usr")), 300)
    text = units(there)["bingx-etl.service"]
    assert (words(text, "ProtectHome"), words(text, "BindReadOnlyPaths")) == (["yes"], [])


def test_the_commands_that_come_next_are_commands_of_a_shell(program: Program) -> None:
    ran = init_systemd(program, config='interval = "1m"\n')
    commands = [line.strip() for line in ran.err.splitlines() if line.startswith("  ")]
    assert len(commands) >= 7
    subprocess.run(["/bin/sh", "-n"], input="\n".join(commands), text=True, check=True)
    for path in re.findall(rf"{re.escape(str(program.home))}\S+", "\n".join(commands)):
        assert Path(path).is_file()
    assert commands[-2].endswith("bingx-etl-daemon.service"), "a timer is slow for a minute"
    assert commands[-1].endswith("bingx-etl.timer")


def test_a_program_that_is_not_installed_is_no_program_to_start(program: Program) -> None:
    command = install(program.home / "venv")
    moved = command.with_name("other")
    command.rename(moved)
    ran = call(moved, "init", "--systemd", "units", cwd=program.home, environ=bare(program))
    assert (ran.code, ran.out) == (73, "")
    assert "install the program" in ran.err
    assert init.params
