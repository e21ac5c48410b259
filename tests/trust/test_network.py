"""The whole program against a network at its worst: reason, exit code, time, memory, and to whom the key goes."""

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from etl.bingx.names import look_up
from etl.sandbox.rules import BALANCES
from tests.bingx.certificates import Authority
from tests.bingx.servers import RawServer, always, closed_port, http
from tests.cli.program import PATIENCE_SECONDS, Program, Ran, eventually, installed
from tests.trust.crowd import crowd, inside

Tally = Callable[..., None]
MEGABYTE = 1024 * 1024
# What any run needs, and a little for the answer.
ORDINARY_MEMORY = 100 * MEGABYTE
GOOD = b'{"code":0,"timestamp":1700000000000,"data":[{"accountType":"sopt","usdtBalance":"100.00"}]}'


# --- what happens on the way ----------------------------------------------------------------------------------------

FAST = {"BINGX_ETL_REQUEST_TIMEOUT": "2s"}
# By what it is: the fault of the sandbox and its options, and the reason, None where the reading is good all the same.
ON_THE_WAY: dict[str, tuple[str, dict[str, object], str | None]] = {
    "reset": ("reset", {}, "unreachable"),
    "reset in the head": ("reset", {"after_bytes": 20}, "unreachable"),
    "reset in the body": ("reset", {"after_bytes": 300}, "unreachable"),
    "closed": ("close", {}, "unreachable"),
    "closed in the head": ("close", {"after_bytes": 20}, "unreachable"),
    "closed in the body": ("close", {"after_bytes": 300}, "unreachable"),
    "truncated": ("truncate", {}, "unreachable"),
    "truncated by a byte": ("truncate", {"bytes": 1}, "unreachable"),
    "silent": ("hang", {}, "unreachable"),
    "one byte a second": ("drip", {"bytes_per_second": 1}, "unreachable"),
    "headers that never end": ("endless_headers", {}, "unreachable"),
    "headers that never end, slowly": ("endless_headers", {"pause_seconds": 0.05}, "unreachable"),
    "in chunks": ("chunked", {"bytes": 1}, None),
    "compressed, unasked": ("gzip", {}, None),
    "a little late": ("delay", {"seconds": 0.5}, None),
    "200 with HTML": ("html", {}, "malformed"),
    "200 with nothing": ("raw", {"body": ""}, "malformed"),
    "200 with a login of the hotel": ("html", {"body": "<form action=login>"}, "malformed"),
    "204": ("status", {"status": 204}, "unavailable"),
    **{str(status): ("status", {"status": status, "body": "<html>"}, "unavailable")
       for status in (500, 502, 503, 504, 520, 522, 599)},
    "500 with a good answer": ("raw", {"status": 500, "body": GOOD.decode()}, "unavailable"),
    "400 with a code": ("error", {"status": 400, "code": 100500}, "unavailable"),
    "401": ("status", {"status": 401, "body": "<html>"}, "key_refused"),
    "404": ("status", {"status": 404, "body": "<html>"}, "request_refused"),
}  # fmt: skip


def test_whatever_happens_on_the_way_every_account_has_its_reason_in_time_and_the_next_run_has_its_reading(
    tmp_path: Path, database_url: str, tally: Tally
) -> None:
    with crowd(tmp_path / "home", len(ON_THE_WAY), database_url) as people:
        accounts = dict(zip(people.names, ON_THE_WAY, strict=True))
        for account, what in accounts.items():
            kind, options, _ = ON_THE_WAY[what]
            people.misbehave(account, kind, **options)
        run = people.measured("snapshot", "--json", **FAST)
        lines = {line["account"]: line for line in run.ran.lines}
        found = {what: lines[account].get("reason") for account, what in accounts.items()}
        reasons = {what: reason for what, (_, _, reason) in ON_THE_WAY.items()}
        assert found == reasons
        assert {account: reasons[what] for account, what in accounts.items() if reasons[what]} == people.failures()
        assert all(line["stored"] for line in lines.values())
        assert run.ran.code == 77, "the key refused needs a person most"
        assert run.seconds < 10, "one deadline, not one after the other"
        assert run.most_memory < ORDINARY_MEMORY
        quarantined = {accounts[account]: bodies for account, bodies in people.quarantined().items()}
        assert quarantined.keys() == {what for what in accounts.values() if "200" in what} | {"500 with a good answer"}
        assert quarantined["500 with a good answer"] == [GOOD], "not believed, and not thrown away"
        assert people.bodies().keys() == {account for account, what in accounts.items() if reasons[what] is None}

        people.program.exchange.faults.clear()
        again = people.run("snapshot", "--json", "--force")
        assert again.code == 0, again.err
        assert {line["account"] for line in again.lines if line["status"] == "complete"} == accounts.keys()
        assert people.failures() == {}
        tally("faults injected", len(ON_THE_WAY))


def test_what_is_too_large_is_cut_short_whatever_it_claims_and_memory_stays_small(tmp_path: Path, tally: Tally) -> None:
    large = {
        "10 GB": ("flood", {"megabytes": 10_240}),
        "a gzip bomb": ("gzip_bomb", {"megabytes": 400}),
    }
    with crowd(tmp_path / "home", len(large)) as people:
        ordinary = people.measured("snapshot")
        assert ordinary.ran.code == 0
        for account, (kind, options) in zip(people.names, large.values(), strict=True):
            people.misbehave(account, kind, **options)
        run = people.measured("snapshot", "--json")
        assert run.ran.code == 65, run.ran.err
        for line in run.ran.lines:
            assert (line["reason"], line["stored"]) == ("malformed", True)
            assert "larger than" in line["detail"]
        assert run.most_memory < ordinary.most_memory + 16 * MEGABYTE
        kept = sorted((people.program.state / "quarantine").glob("*.outcome"))
        assert len(kept) == 2
        assert all(file.stat().st_size < 80_000 for file in kept)
        tally("faults injected", len(large))


def test_nobody_listening_and_no_such_host_are_told_apart(tmp_path: Path, tally: Tally) -> None:
    for url, words in (
        (f"http://127.0.0.1:{closed_port()}", "connection refused"),
        ("https://open-api.bingx.invalid", "name not resolved"),
    ):
        with installed(tmp_path / words) as program:
            ran = program.run("snapshot", "--json", BINGX_ETL_BASE_URL=url)
        assert (ran.code, ran.lines[0]["reason"], ran.lines[0]["stored"]) == (69, "unreachable", True)
        assert words in ran.lines[0]["detail"]
        tally("faults injected")


# --- to whom the key goes -------------------------------------------------------------------------------------------


@contextmanager
def thief() -> Iterator[RawServer]:
    """Somebody who would answer, and must never be asked."""
    with RawServer(always(http(GOOD))) as other:
        yield other
        assert other.connections == 0
        assert other.heads == []


def test_the_key_travels_to_no_other_host_however_it_is_sent_there(tmp_path: Path, tally: Tally) -> None:
    with thief() as other:
        there = f"127.0.0.1:{other.port}"
        locations = (
            f"http://{there}{BALANCES}", f"https://{there}/", f"//{there}/", f"http://{there}\\@127.0.0.1/",
            f"http:{there}", f"http://localhost:{other.port}/", f"ftp://{there}/",
        )  # fmt: skip
        ways = [(status, location) for status in (300, 301, 302, 303, 307, 308) for location in locations]
        with crowd(tmp_path / "home", len(ways)) as people:
            for account, (status, location) in zip(people.names, ways, strict=True):
                people.misbehave(account, "redirect", location=location, status=status)
            ran = people.run("snapshot", "--json", BINGX_ETL_RETRY_FOR="2s")
            assert ran.code == 69
            assert {(line["reason"], line["detail"][:16]) for line in ran.lines} == {
                ("unavailable", "redirect refused")
            }
            assert all(line["attempts"] > 1 for line in ran.lines), "retried, and never at the other host"
            assert {path for path, _ in people.program.exchange.counts} == {BALANCES}
        tally("faults injected", len(ways))


def test_nothing_in_the_environment_turns_a_request_elsewhere_or_opens_it(tmp_path: Path, tally: Tally) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password thief-password\ndefault login me password thief-password\n")
    netrc.chmod(0o600)
    authority = Authority.make(tmp_path)
    heads: list[bytes] = []
    with thief() as other, installed(tmp_path / "home") as program, ExitStack() as stack:
        (program.home / ".netrc").write_bytes(netrc.read_bytes())
        (program.home / ".netrc").chmod(0o600)
        hostile: dict[str, str | None] = {
            **dict.fromkeys(
                ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), other.url
            ),
            "no_proxy": "",
            "NETRC": str(netrc),
            "REQUESTS_CA_BUNDLE": str(authority.bundle),
            "CURL_CA_BUNDLE": str(authority.bundle),
            "SSL_CERT_FILE": str(authority.bundle),
            "SSLKEYLOGFILE": str(tmp_path / "keys"),
            "PYTHONHTTPSVERIFY": "0",
        }
        ran = program.run("snapshot", "--json", **hostile)
        assert (ran.code, ran.lines[0]["status"]) == (0, "complete")
        # An authority of the environment's is nobody, a proxy of its does not tunnel, and nobody writes TLS keys down.
        server = stack.enter_context(RawServer(always(http(GOOD)), authority.server("127.0.0.1")))
        ran = program.run("snapshot", "--json", **hostile, BINGX_ETL_BASE_URL=server.url, BINGX_ETL_ACCOUNT="account-2")
        assert (ran.code, ran.lines[0]["reason"]) == (69, "unreachable")
        assert "nobody known has signed it" in ran.lines[0]["detail"]
        ran = program.run(
            "snapshot", "--json", **hostile, BINGX_ETL_BASE_URL=server.url, BINGX_ETL_ACCOUNT="account-3",
            BINGX_ETL_CA_BUNDLE=str(authority.bundle),
        )  # fmt: skip
        assert ran.lines[0]["status"] == "complete"
        heads += server.heads
    assert heads
    assert not any(b"authorization" in head.lower() or b"thief" in head for head in heads)
    assert not (tmp_path / "keys").exists()
    tally("faults injected", len(hostile))


def test_a_host_that_cannot_prove_its_name_is_told_nothing(tmp_path: Path, tally: Tally) -> None:
    mine = Authority.make(tmp_path)
    contexts: dict[str, ssl.SSLContext] = {
        "has expired": mine.server("127.0.0.1", days=(-3, -1)),
        "not valid yet": mine.server("127.0.0.1", days=(1, 3)),
        "another host": mine.server("open-api.bingx.com"),
        "nobody known has signed it": mine.server("127.0.0.1", self_signed=True),
        "": mine.server("127.0.0.1"),
    }
    with ExitStack() as stack:
        runs = []
        for number, (words, context) in enumerate(contexts.items()):
            server = stack.enter_context(RawServer(always(http(GOOD)), context))
            program = stack.enter_context(installed(tmp_path / str(number)))
            environ = {"BINGX_ETL_BASE_URL": server.url, "BINGX_ETL_CA_BUNDLE": str(mine.bundle)}
            runs.append((words, server, program.start("snapshot", "--json", **environ)))
        for words, server, process in runs:
            out, err = process.communicate(timeout=60)
            line = Ran(process.returncode, out, err).lines[0]
            if words:
                assert (process.returncode, line["reason"], server.heads) == (69, "unreachable", [])
                assert "certificate not trusted" in line["detail"]
                assert words in line["detail"]
            else:
                assert (line["status"], line["stored"]) == ("complete", True), err
        tally("faults injected", len(contexts) - 1)


# --- limits and refusals of the whole host --------------------------------------------------------------------------


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


EAST = timezone(timedelta(hours=5, minutes=30))
FIVE_MINUTES, HOUR = 300.0, 3600.0
# By its text: in how many seconds BingX is asked again. What says nothing that can be believed is five minutes.
RETRY_AFTER: dict[str, Callable[[], tuple[str, float]]] = {
    "seconds": lambda: ("3600", HOUR),
    "no seconds": lambda: ("0", 1),
    "with blanks": lambda: (" 3600 ", HOUR),
    "a date": lambda: (format_datetime(later(HOUR), usegmt=True), HOUR),
    "a date in another zone": lambda: (later(HOUR).astimezone(EAST).strftime("%a, %d %b %Y %H:%M:%S +0530"), HOUR),
    "a date of RFC 850": lambda: (later(HOUR).strftime("%A, %d-%b-%y %H:%M:%S GMT"), HOUR),
    "a date of asctime": lambda: (later(HOUR).strftime("%a %b %d %H:%M:%S %Y"), HOUR),
    "a date that is over": lambda: (format_datetime(later(-HOUR), usegmt=True), 1),
    "a date of 1970": lambda: ("Thu, 01 Jan 1970 00:00:00 GMT", 1),
    "a date far off": lambda: ("Fri, 31 Dec 9999 23:59:59 GMT", FIVE_MINUTES),
    "ten years": lambda: ("315360000", FIVE_MINUTES),
    "no number of any size": lambda: ("9" * 400, FIVE_MINUTES),
    "negative": lambda: ("-1", FIVE_MINUTES),
    "a fraction": lambda: ("1.5", FIVE_MINUTES),
    "an exponent": lambda: ("1e3", FIVE_MINUTES),
    "full-width digits": lambda: ("\uff11\uff12".encode().decode("latin-1"), FIVE_MINUTES),
    "words": lambda: ("soon", FIVE_MINUTES),
    "empty": lambda: ("", FIVE_MINUTES),
    "twice": lambda: ("3600, 7200", FIVE_MINUTES),
    "a date that is none": lambda: ("Mon, 99 Foo 2026 99:99:99 GMT", FIVE_MINUTES),
}


def once_refused(program: Program, status: int, headers: dict[str, str], body: str = "") -> tuple[Ran, float]:
    """A run that is refused, and in how many seconds the host may be used again."""
    program.exchange.faults.add("status", path=BALANCES, status=status, headers=headers, body=body)
    ran = inside(program, "snapshot", "--json")
    host = msgspec.json.decode((program.state / "remembered" / "host.json").read_bytes())
    return ran, (datetime.fromisoformat(host["block"]["until"]) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("form", RETRY_AFTER)
def test_every_form_of_retry_after_is_obeyed_or_is_five_minutes(tmp_path: Path, form: str, tally: Tally) -> None:
    text, seconds = RETRY_AFTER[form]()
    with installed(tmp_path / "home") as program:
        ran, blocked = once_refused(program, 429, {"Retry-After": text})
        [line] = ran.lines
        assert (ran.code, line["reason"], line["stored"]) == (75, "rate_limited", True)
        assert seconds - 10 < blocked < seconds + 5
        assert program.exchange.counts.total() == 1
        assert set(program.failed().values()) == {"rate_limited"}
    tally("faults injected")


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [(429, {}, FIVE_MINUTES), (418, {"Retry-After": "3600"}, HOUR), (403, {}, FIVE_MINUTES)],
)
def test_a_host_that_is_limited_asks_for_no_account_until_its_time_and_is_read_again_after(
    tmp_path: Path, status: int, headers: dict[str, str], seconds: float, tally: Tally
) -> None:
    with installed(tmp_path / "home") as program:
        ran, blocked = once_refused(program, status, headers, "<html>no</html>")
        assert (ran.code, ran.lines[0]["reason"]) == (75, "rate_limited")
        assert seconds - 10 < blocked < seconds + 5
        program.exchange.faults.clear()
        second = program.exchange.account("account-2")
        other = {"BINGX_API_KEY": second.api_key, "BINGX_API_SECRET": second.api_secret, "BINGX_ETL_ACCOUNT": "other"}
        ran = inside(program, "snapshot", "--json", **other)
        assert (ran.code, ran.lines[0]["reason"], ran.lines[0]["attempts"]) == (75, "rate_limited", 0)
        assert program.exchange.counts.total() == 1
        host = program.state / "remembered" / "host.json"
        host.write_bytes(host.read_bytes().replace(b"block", b"was_block"))
        assert inside(program, "snapshot").code == 0
        assert program.rows("SELECT count(*) FROM snapshot") == [(1,)]
        tally("faults injected")


def test_a_short_limit_is_waited_for_within_the_slot(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as program:
        program.exchange.faults.add("status", path=BALANCES, status=429, headers={"Retry-After": "1"}, times=1)
        began = time.monotonic()
        ran = program.run("snapshot", "--json", BINGX_ETL_RETRY_FOR="30s")
        assert (ran.code, ran.lines[0]["status"], ran.lines[0]["attempts"]) == (0, "complete", 2)
        assert time.monotonic() - began > 1


# --- names ----------------------------------------------------------------------------------------------------------

ONE_SECOND = {"BINGX_ETL_REQUEST_TIMEOUT": "1s"}
# A resolver that cannot be interrupted, as the real one: the call is made in the thread of whoever wants to know.
RESOLVER = """
import os, socket, time
real = socket.getaddrinfo
def getaddrinfo(host, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name == "localhost":
        while os.path.exists(os.environ["TEST_DNS_HANGS"]):
            time.sleep(0.02)
        if left := int(open(os.environ["TEST_DNS_FAILS"]).read()):
            open(os.environ["TEST_DNS_FAILS"], "w").write(str(left - 1))
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return real(host, *args, **kwargs)
socket.getaddrinfo = getaddrinfo
"""


@dataclass(frozen=True)
class Resolver:
    """The names of a program's world: ``localhost`` is what it may fail to find."""

    program: Program
    hangs: Path  # while this is there
    fails: Path  # so many times more

    @property
    def environ(self) -> dict[str, str]:
        """What makes the program use it."""
        return {
            "PYTHONPATH": f"{self.hangs.parent}{os.pathsep}{self.program.environ['PYTHONPATH']}",
            "TEST_DNS_HANGS": str(self.hangs),
            "TEST_DNS_FAILS": str(self.fails),
            "BINGX_ETL_BASE_URL": self.program.server.url.replace("127.0.0.1", "localhost"),
        }


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[Resolver]:
    """Finds every name until it is told otherwise."""
    directory = tmp_path / "resolver"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(RESOLVER)
    (directory / "fails").write_text("0")
    with installed(tmp_path / "home") as program:
        yield Resolver(program, directory / "hangs", directory / "fails")


def test_a_name_whose_look_up_hangs_costs_no_more_than_the_deadline(resolver: Resolver, tally: Tally) -> None:
    program = resolver.program
    resolver.hangs.touch()
    began = time.monotonic()
    ran = program.run("snapshot", "--json", **resolver.environ, **ONE_SECOND)
    assert time.monotonic() - began < 8, "not as long as a call is counted on"
    assert (ran.code, ran.lines[0]["reason"], ran.lines[0]["stored"]) == (69, "unreachable", True)
    assert "deadline of 1 s passed, and the name is not resolved yet; look at DNS" in ran.lines[0]["detail"]
    began = time.monotonic()
    ran = program.run(
        "snapshot", "--json", **resolver.environ, **ONE_SECOND, BINGX_ETL_FALLBACK_BASE_URL=program.server.url
    )
    assert time.monotonic() - began < 8
    assert (ran.code, ran.lines[0]["status"]) == (0, "complete"), "a fallback by another name is asked all the same"
    tally("faults injected", 2)


def test_a_name_that_cannot_be_found_for_now_is_tried_again_within_the_slot(resolver: Resolver, tally: Tally) -> None:
    resolver.fails.write_text("1")
    ran = resolver.program.run("snapshot", "--json", **resolver.environ)
    assert (ran.code, ran.lines[0]["reason"]) == (69, "unreachable")
    assert "name not resolved; look at DNS and network" in ran.lines[0]["detail"]
    resolver.fails.write_text("2")
    ran = resolver.program.run("snapshot", "--json", **resolver.environ, BINGX_ETL_RETRY_FOR="60s")
    assert (ran.code, ran.lines[0]["status"], ran.lines[0]["attempts"]) == (0, "complete", 3)
    tally("faults injected", 2)


def test_the_daemon_outlives_a_resolver_that_hangs_with_few_threads_and_ends_when_told(
    resolver: Resolver, long_seconds: float, tally: Tally
) -> None:
    program = resolver.program
    settings = {**resolver.environ, **ONE_SECOND, "BINGX_ETL_INTERVAL": "1s", "BINGX_ETL_RETRY_FOR": "5s"}
    with program.daemon(**settings) as daemon:
        eventually(program.recorded)
        # Connections that are kept alive need no name; after this they have to be made anew.
        program.exchange.faults.add("close", path=BALANCES, times=1)
        resolver.hangs.touch()
        eventually(lambda: len(program.failed()) > 2 + long_seconds / 10, PATIENCE_SECONDS + long_seconds)
        assert threads_of(daemon.process.pid) < 30
        assert set(program.failed().values()) <= {"unreachable", "overrun"}
        resolver.hangs.unlink()
        after = time.time()
        eventually(lambda: sum(slot > after for slot in program.recorded()) >= 2)
        resolver.hangs.touch()
        program.exchange.faults.add("close", path=BALANCES, times=1)
        time.sleep(1.5)
        began = time.monotonic()
        assert daemon.stop() == 128 + signal.SIGTERM
        assert time.monotonic() - began < 10
    slots = program.recorded()
    assert len(slots) == len(set(slots))
    tally("faults injected", 2)


def threads_of(pid: int) -> int:
    """How many threads a process has."""
    if Path("/proc").is_dir():
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    told = subprocess.run(["ps", "-M", "-p", str(pid)], capture_output=True, text=True, check=True)
    return len(told.stdout.splitlines()) - 1


def test_whoever_asks_for_a_name_that_is_being_looked_up_joins_and_none_waits_longer_than_he_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    found = threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, *arguments: Any, **named: Any) -> object:
        asked.append(host)
        found.wait(30)
        if host == "nobody.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return real("127.0.0.1", *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    began = time.monotonic()
    for _ in range(3):
        for host in ("one.example", "nobody.example"):
            with pytest.raises(TimeoutError):
                look_up(host, 443, 0.05)
    assert time.monotonic() - began < 2
    assert sorted(asked) == ["nobody.example", "one.example"], "one thread for each name"
    found.set()
    assert look_up("one.example", 443, 5)[0][4] == ("127.0.0.1", 443)
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="unknown"):
            look_up("nobody.example", 443, 5)
    monkeypatch.setattr("etl.bingx.names.COUNTED_ON_SECONDS", -1.0)
    found.clear()
    asked.clear()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            look_up("one.example", 443, 0.05)
    assert len(asked) == 3, "what has hung for too long is counted on no more"
    found.set()
