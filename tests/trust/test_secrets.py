"""No secret anywhere: looked for in every byte that the program writes or says. And where keys may lie."""

import base64
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from etl.sandbox.rules import BALANCES
from tests.bingx.servers import RawServer, closed_port, http, read_head
from tests.bingx.test_canary import BEHAVIOURS, KEY, SECRET
from tests.cli.program import Program, Ran, eventually, installed
from tests.trust.crowd import all_text, crowd, inside

Tally = Callable[..., None]
NONE = {"BINGX_API_KEY": None, "BINGX_API_SECRET": None, "BINGX_ETL_ACCOUNT": None}


def forms(secret: str) -> Iterator[bytes]:
    """How a secret may turn up: as it is, in either case, quoted, encoded, or most of it."""
    for text in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe="")):
        yield text.lower().encode()
    yield base64.b64encode(secret.encode())[:-4].lower()
    yield secret.encode().hex().encode()
    yield secret[: len(secret) * 3 // 4].lower().encode()
    yield secret[len(secret) // 4 :].lower().encode()


def leaks(written: bytes, secrets: Iterable[str]) -> list[str]:
    """The secrets that are in what was written, each with a little of what is around it."""
    lowered = written.lower()
    found = [(secret, lowered.find(form)) for secret in secrets for form in forms(secret) if form in lowered]
    return [f"{secret[:6]}…: {written[max(0, at - 60) : at + 20]!r}" for secret, at in found]


def everything(program: Program, *runs: Ran) -> bytes:
    """All that was said, every byte of every file, and every value in the database."""
    said = "".join(run.out + run.err for run in runs).encode()
    file = program.database_url.removeprefix("sqlite:///")
    stored = all_text(program.database_url) if not file.startswith("/") or Path(file).is_file() else b""
    return b"\n".join([said, program.everything_written(), stored])


# --- at every level, whatever comes back ----------------------------------------------------------------------------

# Every logger speaks, at every level, into the handler that the program itself has set up.
LOUD = "import logging\nlogging.Logger.isEnabledFor = lambda self, level: True\n"


@contextmanager
def echoing(name: str) -> Iterator[tuple[RawServer, list[str]]]:
    """A server that behaves so to every request, and the signatures that it was sent."""
    signatures: list[str] = []

    def behave(server: RawServer, connection: socket.socket) -> None:
        while head := read_head(connection):
            signatures.extend(re.findall("signature=([0-9a-f]{64})", head.decode()))
            connection.sendall(BEHAVIOURS[name](head))
            if name == "hang":
                server.stopping.wait(5)
            if not BEHAVIOURS[name](head).startswith(b"HTTP/1.1 200 ") or name != "success":
                return

    with RawServer(behave) as server:
        yield server, signatures


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_comes_back_is_said_and_written_without_a_secret_at_every_level(
    tmp_path: Path, log_format: str, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.setattr(logging.Logger, "isEnabledFor", lambda self, level: True)
    found: dict[str, list[str]] = {}
    for name in BEHAVIOURS:
        with installed(tmp_path / name) as program, echoing(name) as (server, signatures):
            environ = {
                "BINGX_API_KEY": KEY,
                "BINGX_API_SECRET": SECRET,
                "BINGX_ETL_BASE_URL": server.url,
                "BINGX_ETL_LOG_FORMAT": log_format,
                "BINGX_ETL_REQUEST_TIMEOUT": "500ms" if name == "hang" else "10s",
            }
            runs = [
                inside(program, *command.split(), **environ)
                for command in ("snapshot --json", "snapshot --force", "status", "spool quarantine", "spool list")
            ]
            assert all(run.code in {0, 65, 69, 70, 75, 77} and "this is a bug" not in run.err for run in runs)
            assert "Starting new HTTP connection" in runs[0].err, "not loud at all"
            assert signatures
            if leaked := leaks(everything(program, *runs), [KEY, SECRET, *signatures]):
                found[name] = leaked
            tally("faults injected")
    assert not found, "\n".join(f"{name}: {leaked}" for name, leaked in found.items())


def test_a_key_that_is_echoed_into_a_good_answer_is_in_neither_database(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    with crowd(tmp_path / "home", 4, database_url) as people:
        program = people.program
        secrets = [text for each in program.exchange.accounts for text in (each.api_key, each.api_secret)]
        for account in program.exchange.accounts:
            both = f"{account.api_key} {account.api_secret}"
            echo = {"code": 0, "timestamp": 1, "note": both, "data": [{"accountType": "spot", "usdtBalance": "1.50"}]}
            if account.index == 1:
                echo["data"] = [{"accountType": both, "usdtBalance": "1.50"}]
            elif account.index == 2:
                echo["data"] = [{"accountType": "spot", "usdtBalance": both}]
            body = json.dumps(echo)
            if account.index == 3:
                body = json.dumps({"code": 100500, "msg": both})
            people.misbehave(account.name, "raw", body=body)
        ran = people.run("snapshot", "--json")
        assert [line["reason"] for line in ran.lines if line["status"] == "failed"] == ["malformed", "unavailable"]
        assert people.exact() == {"main": {"spot": "1.50"}, "account-2": {"*** ***": "1.50"}}
        shown = [people.run(*command.split()) for command in ("status --json", "report --format json", "gaps")]
        config = Path(program.environ["BINGX_ETL_CONFIG"])
        config.unlink()
        assert leaks(everything(program, ran, *shown), secrets) == []
        tally("faults injected", 4)


def test_a_key_within_a_broken_compression_is_not_kept_with_it(tmp_path: Path) -> None:
    body = b'{"code":0,"note":"' + KEY.encode() + b'","data":[]}' + os.urandom(64).hex().encode()

    def behave(server: RawServer, connection: socket.socket) -> None:
        while read_head(connection):
            press = zlib.compressobj(0, wbits=31)  # stored, as a server may: the key is there to be read
            connection.sendall(http((press.compress(body) + press.flush())[:-6], headers="Content-Encoding: gzip\r\n"))

    with installed(tmp_path / "home") as program, RawServer(behave) as server:
        ran = inside(
            program, "snapshot", "--json", BINGX_API_KEY=KEY, BINGX_API_SECRET=SECRET, BINGX_ETL_BASE_URL=server.url
        )
        assert (ran.code, ran.lines[0]["reason"]) == (65, "malformed")
        assert "compression is broken" in ran.lines[0]["detail"]
        [kept] = (program.state / "quarantine").glob("*.outcome")
        assert b'{"code":0,"note":"***"' in kept.read_bytes()
        assert leaks(everything(program, ran), [KEY, SECRET]) == []


# --- tracebacks, titles, passwords ----------------------------------------------------------------------------------

# A defect of ours at its worst: an exception whose text, cause and repr hold everything that there is to hide.
DEFECT = """
import os, sys
def burst(*_, **__):
    key, secret = os.environ["BINGX_API_KEY"], os.environ["BINGX_API_SECRET"]
    try:
        raise KeyError(secret)
    except KeyError as error:
        headers = {"X-BX-APIKEY": key, "quoted": repr(secret)}
        raise RuntimeError(f"GET /?timestamp=1&signature={'ab' * 32} {key}", headers) from error
if os.environ["TEST_DEFECT_IN"] == "a worker":
    from etl.bingx.source import BingXSource
    BingXSource.balances = burst
else:
    from etl.recorder import Recorder
    Recorder.record = Recorder.read = burst
"""


def customised(program: Program, text: str) -> dict[str, str]:
    """What makes a process run this before the program."""
    directory = program.home.parent / f"{program.home.name}-custom"
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": f"{directory}{os.pathsep}{program.environ['PYTHONPATH']}"}


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("where", ["a worker", "the main thread"])
def test_a_traceback_with_a_secret_in_it_is_redacted_wherever_it_ends(
    tmp_path: Path, where: str, log_format: str, tally: Tally
) -> None:
    with installed(tmp_path / "home") as program:
        environ = {
            **customised(program, LOUD + DEFECT),
            "TEST_DEFECT_IN": where,
            "BINGX_API_KEY": KEY + '"quoted\\',
            "BINGX_API_SECRET": SECRET,
            "BINGX_ETL_LOG_FORMAT": log_format,
        }
        ran = program.run("snapshot", "--json", **environ)
        assert ran.code == 70
        assert "RuntimeError" in ran.err, "there is a traceback, and it can be read"
        assert "burst" in ran.err
        assert leaks(everything(program, ran), [KEY, SECRET, "ab" * 32]) == []
        if where == "a worker":
            with program.daemon(**environ, BINGX_ETL_INTERVAL="1s") as daemon:
                eventually(lambda: daemon.said.count("RuntimeError") >= 2)
                daemon.stop()
            assert leaks(everything(program), [KEY, SECRET, "ab" * 32]) == []
        tally("faults injected")


def shown_of(pid: int) -> bytes:
    """What any user of the machine can see of a process: its command line and its threads' names."""
    told = b""
    for file in (Path(f"/proc/{pid}/cmdline"), *Path(f"/proc/{pid}/task").glob("*/comm")):
        with file.open("rb") as opened:
            told += opened.read()
    if not told and (ps := shutil.which("ps")):
        told = subprocess.run([ps, "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, check=True).stdout
    return told


@pytest.mark.parametrize("command", ["snapshot", "run"])
def test_neither_the_command_line_nor_the_name_of_a_thread_shows_a_secret(tmp_path: Path, command: str) -> None:
    with installed(tmp_path / "home") as program:
        account = program.exchange.account("main")
        program.exchange.faults.add("hang", path=BALANCES, seconds=1.5)
        process = program.start(command)
        try:
            eventually(lambda: program.exchange.counts[BALANCES, "fault hang"])
            told = shown_of(process.pid)
            assert command.encode() in told
            assert leaks(told, [account.api_key, account.api_secret]) == []
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        assert (
            leaks(everything(program, Ran(process.returncode, out, err)), [account.api_key, account.api_secret]) == []
        )


PASSWORD = "CanaryPass/0123@word"
QUOTED = quote(PASSWORD, safe="")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:{quoted}@127.0.0.1:{closed}/balances",
        "postgresql://me@127.0.0.1:{closed}/balances?password={quoted}",
        "postgresql://me:{quoted}@nowhere.invalid/balances",
        "postgresql://me:{quoted}@127.0.0.1:port/balances",
        "postgresql://me:{quoted}@127.0.0.1:{closed}/balances?nonsense=1",
        "postgresql://me:{plain}@127.0.0.1:{closed}/balances",
        "postgresql+asyncpg://me:{quoted}@127.0.0.1/balances",
        "mysql://me:{quoted}@127.0.0.1/balances",
    ],
)
def test_the_password_of_a_database_is_in_no_word_of_ours(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.Logger, "isEnabledFor", lambda self, level: True)
    with installed(tmp_path / "home") as program:
        environ = {"BINGX_ETL_DATABASE_URL": url.format(quoted=QUOTED, plain=PASSWORD, closed=closed_port())}
        runs = [
            inside(program, *command.split(), **environ)
            for command in ("snapshot --json", "status", "db current", "db upgrade", "report", "spool load", "init")
        ]
        assert {run.code for run in runs} <= {0, 75, 78}
        said = b"\n".join([*((run.out + run.err).encode() for run in runs), program.everything_written()])
        assert leaks(said, [PASSWORD, "CanaryPass"]) == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("answer", [None, http(b"", "407 Who"), b"garbage\r\n\r\n", http(b"", "502 No")])
def test_the_password_of_a_proxy_is_in_no_word_of_ours(
    tmp_path: Path, scheme: str, answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.Logger, "isEnabledFor", lambda self, level: True)

    def behave(server: RawServer, connection: socket.socket) -> None:
        server.answer(connection, answer or b"")

    with installed(tmp_path / "home") as program, RawServer(behave) as server:
        port = closed_port() if answer is None else server.port
        base = "https://open-api.bingx.com" if scheme == "https" else "http://127.0.0.1:1"
        runs = [
            inside(
                program, "snapshot", "--json",
                BINGX_ETL_PROXY=f"http://me:{QUOTED}@127.0.0.1:{port}", BINGX_ETL_BASE_URL=base,
            )
        ]  # fmt: skip
        assert runs[0].code in {69, 70}, runs
        account = program.exchange.account("main")
        token = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        secrets = [PASSWORD, token, account.api_key, account.api_secret]
        assert leaks(everything(program, *runs), secrets) == []
        heads = b"".join(server.heads)
        if scheme == "https":
            assert leaks(heads, [account.api_key, account.api_secret]) == [], "the tunnel is told nothing"


# --- where keys lie -------------------------------------------------------------------------------------------------

CANARY = "CanaryInAFile0123456789"
Make = Callable[[Path, str], None]


def text(content: str | bytes, mode: int = 0o600) -> Make:
    """Writes a file: ``SECRET`` in it is the secret."""

    def make(path: Path, secret: str) -> None:
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(data.replace(b"SECRET", secret.encode()))
        path.chmod(mode)

    return make


def link(make: Make, *, relative: bool = False, times: int = 1) -> Make:
    """Links to a file that is made so, by way of so many links."""

    def made(path: Path, secret: str) -> None:
        target = path.with_name(f"{path.name}.0")
        make(target, secret)
        for number in range(1, times):
            path.with_name(f"{path.name}.{number}").symlink_to(target)
            target = path.with_name(f"{path.name}.{number}")
        path.symlink_to(target.name if relative else target)

    return made


def listening(path: Path, _: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket must be short
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


# By what it is: how the file is made, and whether its secret is used.
FILES: dict[str, tuple[Make, bool]] = {
    "plain": (text("SECRET"), True),
    "a newline": (text("SECRET\n"), True),
    "CRLF": (text("SECRET\r\n"), True),
    "spaces behind": (text("SECRET   "), True),
    "spaces around and CRLF": (text("\t SECRET \r\n\r\n"), True),
    "a byte order mark": (text("\ufeffSECRET\n"), True),
    "read-only": (text("SECRET", 0o400), True),
    "executable by its owner": (text("SECRET", 0o700), True),
    "a link": (link(text("SECRET")), True),
    "a relative link": (link(text("SECRET"), relative=True), True),
    "a link to a link": (link(text("SECRET"), times=3), True),
    "a link to what others can read": (link(text("SECRET", 0o644)), False),
    "others can read it": (text("SECRET", 0o604), False),
    "the group can read it": (text("SECRET", 0o640), False),
    "all can": (text("SECRET", 0o644), False),
    "others can write it": (text("SECRET", 0o602), False),
    "all can do all": (text("SECRET", 0o777), False),
    "empty": (text(""), False),
    "blank": (text(" \r\n"), False),
    "a byte order mark alone": (text("\ufeff"), False),
    "two lines": (text("SECRET\nSECRET\n"), False),
    "a space within": (text("SECRET SECRET"), False),
    "a NUL": (text("SECRET\0"), False),
    "an escape": (text("SECRET\x1b[31m"), False),
    "a zero-width space": (text("SECRET\u200b"), False),
    "not ASCII": (text("SECRETä"), False),
    "full-width": (text("ＳＥＣ１２３"), False),
    "UTF-16": (text("SECRET".encode("utf-16")), False),
    "not text": (text(b"\xff\xfe\xfd"), False),
    "very long": (text("SECRET" + "x" * 5000), False),
    "missing": (lambda path, _: None, False),
    "a dangling link": (lambda path, _: path.symlink_to(path.with_name("nowhere")), False),
    "a link to itself": (lambda path, _: path.symlink_to(path), False),
    "a directory": (lambda path, _: path.mkdir(), False),
    "a FIFO": (lambda path, _: os.mkfifo(path, 0o600), False),
    "a link to a FIFO": (link(lambda path, _: os.mkfifo(path, 0o600)), False),
    "a socket": (listening, False),
    "a device": (lambda path, _: path.symlink_to("/dev/null"), False),
    "a device without end": (lambda path, _: path.symlink_to("/dev/zero"), False),
}


def test_every_kind_of_secret_file_is_read_or_refused_by_name_and_stops_no_other(tmp_path: Path, tally: Tally) -> None:
    with crowd(tmp_path / "home", len(FILES)) as people:
        program = people.program
        keys = tmp_path / "keys"
        keys.mkdir(mode=0o700)
        accounts = dict(zip(people.names, FILES, strict=True))
        config = ""
        for account, what in accounts.items():
            known = program.exchange.account(account)
            make, is_used = FILES[what]
            text(known.api_key)(keys / f"{account}.key", "")
            make(keys / account, known.api_secret if is_used else CANARY)
            config += f'[accounts.{account}]\napi_key_file = "{keys / f"{account}.key"}"\n'
            config += f'api_secret_file = "{keys / account}"\n'
        Path(program.environ["BINGX_ETL_CONFIG"]).write_text(config)
        ran = people.run("snapshot", "--json")
        assert ran.code == 78
        lines = {line["account"]: line for line in ran.lines}
        wrong = {}
        for account, what in accounts.items():
            line, is_used = lines[account], FILES[what][1]
            if is_used and line["status"] != "complete":
                wrong[what] = line
            if not is_used and (line["status"], line["reason"]) != ("failed", "key_missing"):
                wrong[what] = line
            if not is_used and str(keys / account) not in line["detail"] and "api_secret_file" not in line["detail"]:
                wrong[what] = line
        assert not wrong
        asked = {request.account for request in program.exchange.requests}
        assert asked == {account for account, what in accounts.items() if FILES[what][1]}
        used = [text for name in asked if name for text in secrets_of(program, name)]
        assert leaks(everything(program, ran), [CANARY, *used]) == []
        tally("faults injected", len(FILES))


def secrets_of(program: Program, name: str) -> tuple[str, str]:
    account = program.exchange.account(name)
    return account.api_key, account.api_secret


def private(path: Path, content: str) -> str:
    """The path of a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(content)
    return str(path)


def test_a_secret_from_two_places_is_refused_whichever_they_are(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as program:
        key, secret = secrets_of(program, "main")
        file = private(tmp_path / "file", CANARY)
        credentials = tmp_path / "credentials"
        credentials.mkdir()
        private(credentials / "main.bingx_api_secret", CANARY)
        config = private(tmp_path / "config.toml", f'[accounts.main]\napi_key = "{key}"\napi_secret = "{CANARY}"\n')
        twice = private(
            tmp_path / "twice.toml",
            f'[accounts.main]\napi_key = "{key}"\napi_secret = "{CANARY}"\napi_secret_file = "{file}"\n',
        )
        for environ in (
            {"BINGX_API_SECRET_FILE": file},
            {"CREDENTIALS_DIRECTORY": str(credentials)},
            {"BINGX_ETL_CONFIG": config},
            {**NONE, "BINGX_ETL_CONFIG": twice},
            {**NONE, "BINGX_ETL_CONFIG": config, "CREDENTIALS_DIRECTORY": str(credentials)},
            {"BINGX_API_SECRET": None, "BINGX_API_SECRET_FILE": file, "CREDENTIALS_DIRECTORY": str(credentials)},
            {"BINGX_ETL_DATABASE_URL_FILE": file},
        ):
            ran = inside(program, "snapshot", **environ)
            assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1)
            assert "keep one" in ran.err
            assert leaks(ran.err.encode(), [CANARY, key, secret]) == []
        assert not program.exchange.counts
        assert not program.state.exists()


NAMES = (
    "../x", "..", ".", "/etc/x", "a/b", "a\\b", ".hidden", "-x", "", " ", "a b", "a\nb", "a" * 65, "ä", "ａ", "a\u200b",
    "~", "$HOME", "con:", "a;b", "%2e%2e%2fx", "..\u2215x",
)  # fmt: skip


def test_a_path_that_leads_out_of_where_others_keep_secrets_is_not_kept_there(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as program:
        _, secret = secrets_of(program, "main")
        credentials = tmp_path / "credentials"
        credentials.mkdir()
        for path in (credentials / "mine", tmp_path / "open"):
            path.write_text(secret)
            path.chmod(0o644)
        (tmp_path / "there").symlink_to(credentials)
        for path, code in (
            (tmp_path / "there" / "mine", 0),
            (credentials / "mine", 0),
            (credentials / ".." / "open", 78),
            (tmp_path / "there" / ".." / "open", 78),
        ):
            files = {"BINGX_API_SECRET": None, "BINGX_API_SECRET_FILE": str(path)}
            ran = inside(program, "snapshot", **files, CREDENTIALS_DIRECTORY=str(credentials))
            assert ran.code == code, (path, ran)


def test_no_name_of_an_account_leaves_the_state_directory(tmp_path: Path, tally: Tally) -> None:
    with installed(tmp_path / "home") as program:
        key, secret = secrets_of(program, "main")
        assert inside(program, "snapshot").code == 0
        before = set(tmp_path.rglob("*"))
        asked = program.exchange.counts.total()
        for name in NAMES:
            text = f"[accounts.{json.dumps(name, ensure_ascii=False)}]\napi_key = {key!r}\napi_secret = {secret!r}\n"
            config = private(tmp_path / "config.toml", text)
            for environ in ({"BINGX_ETL_ACCOUNT": name}, {**NONE, "BINGX_ETL_CONFIG": config}):
                ran = inside(program, "snapshot", **environ)
                assert (ran.code, ran.out) == (78, ""), (name, ran)
                assert "account name" in ran.err or "not TOML" in ran.err, (name, ran)
                assert leaks(ran.err.encode(), [key, secret]) == []
            Path(config).unlink()
            for command in (("account", "rename", "--", "main", name), ("snapshot", "--account", name)):
                assert inside(program, *command).code in {2, 78}, (name, command)
            tally("faults injected", 4)
        credentials = tmp_path / "credentials"
        credentials.mkdir()
        for name in ("...bingx_api_key", "..bingx_api_key", "-x.bingx_api_key", "a b.bingx_api_key"):
            private(credentials / name, key)
            assert inside(program, "snapshot", CREDENTIALS_DIRECTORY=str(credentials)).code == 78, name
            (credentials / name).unlink()
        credentials.rmdir()
        assert set(tmp_path.rglob("*")) - before == set()
        assert program.exchange.counts.total() == asked
        assert [name for (name,) in program.rows("SELECT name FROM account")] == ["main"]


def test_a_key_rotated_by_halves_costs_the_slots_between_and_is_asked_at_once_when_it_is_whole(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as program:
        key, secret = (tmp_path / name for name in ("key", "secret"))
        files = {**NONE, "BINGX_API_KEY_FILE": str(key), "BINGX_API_SECRET_FILE": str(secret)}
        old = secrets_of(program, "main")
        private(key, old[0])
        private(secret, old[1])
        assert inside(program, "snapshot", **files).code == 0
        program.exchange.rotate_key("main")
        new = secrets_of(program, "main")
        runs = [inside(program, "snapshot", "--json", **files)]
        private(key, new[0])
        runs.append(inside(program, "snapshot", "--json", **files))
        private(secret, "")
        runs.append(inside(program, "snapshot", "--json", **files))
        private(secret, new[1])
        runs.append(inside(program, "snapshot", "--json", **files, BINGX_ETL_INTERVAL="12h"))
        assert [run.code for run in runs] == [77, 77, 78, 0]
        assert runs[-1].lines[0]["status"] == "complete", "no waiting: it is another pair than the one refused"
        assert program.rows("SELECT count(*) FROM account") == [(1,)]
        assert leaks(everything(program, *runs), [*old, *new]) == []


def test_while_the_daemon_runs_files_may_be_in_the_middle_of_being_changed(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as program:
        key, secret = (tmp_path / name for name in ("key", "secret"))
        old = secrets_of(program, "main")
        private(key, old[0] + "\r\n")
        private(secret, old[1] + "  \n")
        files = {**NONE, "BINGX_API_KEY_FILE": str(key), "BINGX_API_SECRET_FILE": str(secret)}
        with program.daemon(**files, BINGX_ETL_INTERVAL="1s") as daemon:
            eventually(program.recorded)
            changes: list[Callable[[], object]] = [
                lambda: private(secret, ""),
                secret.unlink,
                lambda: os.mkfifo(secret),
            ]
            for number, change in enumerate(changes, 1):
                change()
                daemon.send(signal.SIGHUP)
                eventually(lambda number=number: daemon.said.count("the old ones stay") == number)  # type: ignore[misc]
            after = time.time()
            eventually(lambda: sum(slot > after for slot in program.recorded()) >= 1)
            program.exchange.rotate_key("main")
            new = secrets_of(program, "main")
            secret.unlink()
            private(key, new[0])
            private(secret, new[1])
            daemon.send(signal.SIGHUP)
            after = time.time()
            eventually(lambda: sum(slot > after for slot in program.recorded()) >= 2)
            assert daemon.stop() == 143
        assert program.rows("SELECT count(*) FROM account") == [(1,)]
        assert leaks(everything(program), [*old, *new]) == []


def test_the_config_file_may_end_its_lines_as_windows_does_and_be_a_link_and_is_no_fifo(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as program:
        key, secret = secrets_of(program, "main")
        lines = f'interval = "1d"\r\n[accounts.main]\r\napi_key = "{key}"\r\napi_secret = " {secret} "\r\n'
        config = tmp_path / "config.toml"
        config.touch(mode=0o600)
        config.write_bytes(lines.encode())
        (tmp_path / "link.toml").symlink_to(config)
        alone = {**NONE, "BINGX_ETL_INTERVAL": None}
        assert inside(program, "snapshot", "--config", str(tmp_path / "link.toml"), **alone).code == 0
        config.write_bytes(b"\xef\xbb\xbf" + lines.encode())
        assert inside(program, "snapshot", "--config", str(config), **alone).code == 0
        config.chmod(0o644)
        for path in (config, tmp_path / "link.toml"):
            ran = inside(program, "snapshot", "--config", str(path), **alone)
            assert (ran.code, "others can read" in ran.err) == (78, True)
            assert leaks(ran.err.encode(), [key, secret]) == []
        os.mkfifo(tmp_path / "fifo.toml")
        ran = program.run("snapshot", "--config", str(tmp_path / "fifo.toml"), **alone)
        assert (ran.code, "not a regular file" in ran.err) == (78, True)
