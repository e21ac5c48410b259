"""What lies in deploy/ to be copied: units, a line for cron, a Dockerfile; as much of it as can be tested here."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from etl.cli import COMMANDS
from etl.cli.exits import Exit
from etl.config.table import BY_NAME
from etl.grid import format_duration
from etl.ops.units import DAEMON, ONESHOT, TIMER, template
from tests.cli.program import Program, installed
from tests.deployed import DEPLOY, ROOT, analyze, words
from tests.installation import install

SERVICES = (ONESHOT, DAEMON)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as they lie there, with a program that there is on every machine."""
    for name in (*SERVICES, TIMER):
        (tmp_path / name).write_text(template(name).replace("/opt/bingx-etl/bin/bingx-etl", "/bin/true"))
    return tmp_path


# --- systemd --------------------------------------------------------------------------------------------------------


def test_systemd_finds_nothing_wrong_with_any_unit(units: Path) -> None:
    assert analyze("verify", "--man=no", *(units / name for name in (*SERVICES, TIMER))) == (0, "")


def test_a_unit_with_something_wrong_is_seen(units: Path) -> None:
    path = units / ONESHOT
    path.write_text(path.read_text().replace("ProtectSystem=strict", "ProtectSystems=strict"))
    assert "ProtectSystems" in analyze("verify", "--man=no", path)[1]


@pytest.mark.parametrize("name", SERVICES)
def test_little_is_exposed_by_a_service(units: Path, name: str) -> None:
    code, said = analyze("security", "--offline=true", "--threshold=20", units / name)
    assert code == 0, said
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None
    assert float(found[1]) <= 2.0
    path = units / name
    path.write_text(path.read_text().replace("NoNewPrivileges=yes", "").replace("SystemCallFilter=", "#"))
    assert analyze("security", "--offline=true", "--threshold=20", path)[0] == 1, (
        "a score that cannot be bad says nothing"
    )


def test_both_services_are_hardened_alike() -> None:
    oneshot, daemon = (
        template(name).partition("# --- what it may do")[2].partition("\n[Install]")[0].strip() for name in SERVICES
    )
    assert oneshot == daemon
    assert len(oneshot.splitlines()) > 30


def test_keys_come_as_credentials_and_state_is_private() -> None:
    for name in SERVICES:
        unit = template(name)
        loaded = [line.partition(":")[0] for line in words(unit, "LoadCredential")]
        assert loaded == ["main.bingx_api_key", "main.bingx_api_secret"]
        assert words(unit, "StateDirectory") == ["bingx-etl"]
        assert words(unit, "StateDirectoryMode") == ["0700"]
        assert words(unit, "User") == ["bingx-etl"]
        assert int(words(unit, "TimeoutStopSec")[0].removesuffix("s")) > 10
        assert words(unit, "LimitCORE") == ["0"], "a core dump holds the keys"
        assert not re.search(r"^Environment=\S*(KEY|SECRET)=", unit, re.MULTILINE)


def test_the_timer_fits_the_default_interval_and_loses_no_time() -> None:
    timer = template(TIMER)
    assert BY_NAME["interval"].default == format_duration(300)
    assert words(timer, "OnCalendar") == ["*-*-* *:00/5:00 UTC"]
    assert words(timer, "AccuracySec") == ["100ms"]
    assert words(timer, "RandomizedDelaySec") == ["0"]
    assert words(timer, "Persistent") == ["yes"]
    [seconds] = words(template(ONESHOT), "TimeoutStartSec")
    assert int(seconds.removesuffix("s")) + 15 <= 300, "a run that hangs must not cost the next slot"


def test_what_needs_a_person_is_not_tried_again_and_everything_else_is_for_ever() -> None:
    daemon, oneshot = template(DAEMON), template(ONESHOT)
    assert words(daemon, "RestartPreventExitStatus") == [f"{Exit.USAGE:d} {Exit.KEY_REFUSED:d} {Exit.SETTINGS:d}"]
    assert words(daemon, "Restart") == ["always"]
    assert words(daemon, "StartLimitIntervalSec") == ["0"]
    assert words(daemon, "SuccessExitStatus") == [f"{Exit.INTERRUPTED:d} {Exit.TERMINATED:d}"]
    assert words(oneshot, "Restart") == []
    good = f"{Exit.UNAVAILABLE:d} {Exit.TRY_AGAIN:d} {Exit.TERMINATED:d}"
    assert words(oneshot, "SuccessExitStatus") == [good]


def test_the_daemon_is_watched_and_told_what_it_understands() -> None:
    daemon = template(DAEMON)
    assert (words(daemon, "Type"), words(daemon, "NotifyAccess")) == (["notify"], ["main"])
    assert float(words(daemon, "WatchdogSec")[0].removesuffix("s")) >= 60
    assert words(daemon, "ExecReload") == ["/bin/kill -HUP $MAINPID"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_services_call_commands_that_there_are(name: str) -> None:
    [command] = words(template(name), "ExecStart")
    path, *arguments = shlex.split(command)
    assert path == "/opt/bingx-etl/bin/bingx-etl"
    assert set(arguments) <= set(COMMANDS)


# --- what the services forbid, and what the program does ------------------------------------------------------------


@cache
def calls_of(name: str) -> frozenset[str]:
    """The system calls of a set, as systemd knows them."""
    said = analyze("syscall-filter", name)[1]
    listed = [line.strip() for line in said.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return frozenset().union(*(calls_of(each) if each.startswith("@") else {each} for each in listed))


def allowed_calls() -> set[str]:
    """What the units' filters leave."""
    allow, deny = words(template(DAEMON), "SystemCallFilter")
    allowed = set().union(*(calls_of(name) for name in allow.split()), calls_of("@default"))
    return allowed - set().union(*(calls_of(name) for name in deny.removeprefix("~").split()))


def traced(program: Program, *arguments: str, **environ: str) -> list[str]:
    """The system calls of a run, as strace writes them."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    trace = program.home / "trace"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "signal=none", "-o", trace, sys.executable, "-m", "etl", *arguments],
        env={**program.environ, **environ},
        cwd=program.home,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return trace.read_text(errors="replace").splitlines()


def test_a_run_needs_no_call_that_is_forbidden(tmp_path: Path, database_url: str) -> None:
    with installed(tmp_path / "home", database_url) as program:
        lines = traced(program, "snapshot")
    made = {found[1] for line in lines if (found := re.match(r"[0-9]+ +([a-z0-9_]+)\(", line))}
    assert {"openat", "connect", "fsync"} <= made
    roots_own = {"fchown"} if os.geteuid() == 0 else set()  # SQLite gives its files away for nobody but root
    assert made - allowed_calls() - roots_own == set()
    assert not [line for line in lines if re.search(r"PROT_WRITE\|PROT_EXEC", line)], "MemoryDenyWriteExecute"
    families = {found[1] for line in lines if (found := re.search(r"\bsocket\((AF_[A-Z0-9]+)", line))}
    assert families - {"AF_NETLINK"} <= set(words(template(ONESHOT), "RestrictAddressFamilies")[0].split())


# --- cron -----------------------------------------------------------------------------------------------------------


def cron_line() -> str:
    """The one line of the crontab that is none of explanation."""
    [line] = [line for line in (DEPLOY / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    return line


def test_the_line_for_cron_is_the_readmes_and_fits_the_default_interval() -> None:
    assert cron_line() in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    minutes, *others, _, _ = cron_line().split(maxsplit=6)
    assert minutes == f"*/{BY_NAME['interval'].default}".removesuffix("m")
    assert others == ["*"] * 4
    assert "%" not in cron_line(), "for cron that is the end of the line"


def test_the_line_for_cron_records_with_what_cron_gives_it_and_has_nothing_to_mail(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as program:
        command = install(program.home / "venv")
        (program.home / ".local" / "bin").mkdir(parents=True)
        (program.home / ".local" / "bin" / "bingx-etl").symlink_to(command)
        account = program.exchange.account("main")
        config = program.home / ".config" / "bingx-etl"
        config.mkdir(parents=True)
        for name, text in (("key", account.api_key), ("secret", account.api_secret)):
            (config / name).write_text(text)
            (config / name).chmod(0o600)
        (config / "bingx-etl.toml").write_text(
            f'base_url = "{program.server.url}"\ninterval = "1d"\n[accounts.main]\n'
            f'api_key_file = "{config}/key"\napi_secret_file = "{config}/secret"\n'
        )
        done = subprocess.run(
            ["/bin/sh", "-c", cron_line().split(maxsplit=5)[5]],
            env={"HOME": str(program.home), "LOGNAME": "me", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"},
            cwd=program.home,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert "slot recorded" in (program.home / "bingx-etl.log").read_text()
        assert (program.home / ".local" / "share" / "bingx-etl" / "balances.db").is_file()


# --- Docker ---------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as its instructions, each with its text on one line."""
    text = "".join(line for line in (DEPLOY / "Dockerfile").read_text().splitlines(keepends=True) if line[0] != "#")
    joined = re.sub(r"\\\n\s*", "", text)
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def stages() -> list[list[tuple[str, str]]]:
    """The same, stage by stage."""
    found: list[list[tuple[str, str]]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        found[-1].append(instruction)
    return found


def copied() -> list[str]:
    """What of the checkout is copied into the image that builds."""
    return [path for name, rest in stages()[0] if name == "COPY" for path in rest.split()[:-1]]


def test_the_image_runs_as_nobody_in_particular_and_without_a_shell() -> None:
    last = dict(stages()[-1])
    assert re.fullmatch(r"[1-9][0-9]{3,}:[1-9][0-9]{3,}", last["USER"])
    order = [name for name, _ in stages()[-1]]
    assert order.index("USER") < order.index("ENTRYPOINT")
    assert json.loads(last["ENTRYPOINT"]) == ["/opt/bingx-etl/bin/bingx-etl"]
    assert json.loads(last["CMD"]) == ["run"]
    options, _, check = last["HEALTHCHECK"].partition(" CMD ")
    assert json.loads(check) == ["/opt/bingx-etl/bin/bingx-etl", "health"]
    assert "--timeout=" in options
    assert {"run", "health"} <= set(COMMANDS)
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["VOLUME"] == last["WORKDIR"] == "/var/lib/bingx-etl"
    assert f"BINGX_ETL_STATE_DIR={last['VOLUME']}" in last["ENV"]


def test_a_health_check_compiles_nothing_on_a_root_that_is_read_only() -> None:
    last = stages()[-1]
    [compiling] = [place for place, (name, rest) in enumerate(last) if name == "RUN" and "-m compileall" in rest]
    assert compiling < [name for name, _ in last].index("USER"), "only root may write there"
    assert not any("PYTHONDONTWRITEBYTECODE" in rest for _, rest in instructions())


def test_the_image_is_built_from_what_is_pinned() -> None:
    bases = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    assert len(set(bases)) == 1, "what was built for one Python is run by the same"
    found = re.fullmatch(r"python:(3\.[0-9]+)-slim-[a-z]+", bases[0])
    assert found is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"Programming Language :: Python :: {found[1]}" in project["classifiers"]
    runs = " ".join(rest for name, rest in instructions() if name == "RUN")
    for install_of in re.findall(r"pip (?:--python \S+ )?install ([^&]+)", runs):
        assert "--require-hashes" in install_of or "--no-index" in install_of
    assert {name for name, _ in instructions()} <= {
        *("FROM", "WORKDIR", "ENV", "COPY", "RUN", "USER", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    }, "no ADD, which fetches, and no ARG, which stays in a layer"


def test_no_secret_can_get_into_a_layer() -> None:
    for path in copied():
        assert (ROOT / path).exists()
        assert path not in {".", "./", "*"}
    assert not (DEPLOY / "Dockerfile.dockerignore").exists(), (
        "builders other than BuildKit would send the whole checkout"
    )
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    sent = [line[1:] for line in ignored if line.startswith("!")]
    for path in copied():
        assert any(fnmatch(path.rstrip("/"), pattern) for pattern in sent), f"{path} is not sent to the builder"
    for name, rest in instructions():
        assert not re.search(r"(API_KEY|API_SECRET|PASSWORD|DATABASE_URL)", rest), name


def commands_for_docker() -> str:
    """The lines of the page that build the image and run it."""
    page = (DEPLOY / "README.md").read_text(encoding="utf-8").partition("\n## Docker\n")[2]
    return page.partition("```sh\n")[2].partition("```")[0]


def test_every_option_of_the_line_for_docker_has_its_reason() -> None:
    [run] = re.findall(r"^docker run ((?:.*\\\n)+.*)$", commands_for_docker(), re.MULTILINE)
    given = {word for word in shlex.split(run.replace("\\\n", " ")) if word.startswith("--")}
    page = (DEPLOY / "README.md").read_text(encoding="utf-8").partition("| option | reason |")[2].partition("\n\n")[0]
    reasoned = set(re.findall(r"--[a-z][a-z-]+", "".join(line.split(" | ")[0] for line in page.splitlines())))
    assert given - {"--name"} == reasoned
    assert {"--init", "--read-only", "--cap-drop", "--stop-timeout"} <= given


def test_the_lines_for_docker_expand_no_name_in_a_directory_that_their_reader_cannot_read() -> None:
    root_only = [line for line in commands_for_docker().splitlines() if line.startswith("sudo ")]
    assert any("install -d -m 700" in line for line in root_only)
    assert not [line for line in root_only if "*" in line], "the shell that expands it is not root"


def test_what_is_copied_is_enough_to_build_the_same_wheel(tmp_path: Path) -> None:
    context = tmp_path / "src"
    for path in copied():
        source, target = ROOT / path, context / path
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    names = []
    for place in (context, ROOT):
        directory = str(tmp_path / f"dist-{place.name}")
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory]
        subprocess.run(command, cwd=place, check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
        [wheel] = Path(directory).glob("bingx_etl-*.whl")
        names.append(sorted(zipfile.ZipFile(wheel).namelist()))
    assert names[0] == names[1]
