"""Pings of the real program, one-shot and daemon, to real servers of every kind."""

import re
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from etl.cli.watching import DAEMON_WAITS_SECONDS, RUN_WAITS_SECONDS
from etl.daemon.daemon import STOP_READING_SECONDS, STOP_STORING_SECONDS
from etl.ops.pings import PING_SECONDS
from etl.sandbox.rules import BALANCES
from tests.bingx.servers import RawServer, closed_port, http
from tests.cli.program import Program, Running, eventually, installed, unix
from tests.ops.pinged import ID, Ping, Service, drip, hang, pour

# A test does not wait as long as the program does: that the real numbers are in order is a test of its own.
HASTE = """
import etl.cli.watching as watching, etl.ops.pings as pings
pings.PING_SECONDS, watching.RUN_WAITS_SECONDS, pings.PACE_SECONDS = 0.7, 1.4, 0.0
"""


def hasty(program: Program) -> dict[str, str]:
    """What makes the program wait for less long."""
    custom = program.home.parent / f"{program.home.name}-custom"
    custom.mkdir(exist_ok=True)
    (custom / "sitecustomize.py").write_text(HASTE)
    return {"PYTHONPATH": f"{custom}:{program.environ['PYTHONPATH']}"}


def test_the_waiting_at_the_end_is_bounded_and_enough() -> None:
    assert 2 * PING_SECONDS <= RUN_WAITS_SECONDS <= 10
    assert STOP_READING_SECONDS + STOP_STORING_SECONDS + DAEMON_WAITS_SECONDS < 10


# --- what is pinged -------------------------------------------------------------------------------------------------


def test_a_run_pings_its_start_and_when_all_is_committed_its_success(anywhere: Program) -> None:
    seen: list[tuple[str, int]] = []

    def look(ping: Ping) -> None:
        there = anywhere.rows("SELECT count(*) FROM snapshot")[0][0] if ping.path == "" else 0
        seen.append((ping.path, there))

    with Service(notice=look) as service:
        ran = anywhere.run("snapshot", "--json", BINGX_ETL_PING_URL=service.url)
    assert ran.code == 0
    assert seen == [("/start", 0), ("", 1)]
    start, end = service.pings
    assert start.run == end.run
    assert re.fullmatch(r"slot \S+, accounts 1: complete 1; stored 1; exit code 0", end.text)
    told = f"{service.pings}"
    for hidden in (ran.lines[0]["total_usdt"], ran.lines[0]["account"], anywhere.rows("SELECT uid FROM account")[0][0]):
        assert hidden not in told
    assert ID not in ran.err
    assert service.most_at_once == 1


def test_a_failure_is_pinged_by_its_exit_code(program: Program) -> None:
    program.exchange.faults.add("error", code=100413, path=BALANCES)
    with Service() as service:
        ran = program.run("snapshot", BINGX_ETL_PING_URL=service.url)
        assert (ran.code, service.paths) == (77, ["/start", "/77"])
        assert "key_refused 1" in service.pings[-1].text
        nowhere = "postgresql://nobody@127.0.0.1:1/none"
        ran = program.run("snapshot", "--force", BINGX_ETL_PING_URL=service.url, BINGX_ETL_DATABASE_URL=nowhere)
        assert (ran.code, service.paths[2:]) == (77, ["/start", "/77"]), "the one that most needs a person"
        program.exchange.faults.clear()
        later = {"BINGX_ETL_INTERVAL": "12h", "BINGX_ETL_DATABASE_URL": nowhere}
        ran = program.run("snapshot", "--force", BINGX_ETL_PING_URL=service.url, **later)
        assert (ran.code, service.paths[4:]) == (75, ["/start", "/75"])


@pytest.mark.parametrize("command", ["snapshot", "run"])
def test_what_keeps_it_from_beginning_at_all_is_pinged_where_the_address_can_be_read(
    program: Program, command: str
) -> None:
    config = program.home / "config.toml"
    missing = program.home / "missing.key"
    broken: list[tuple[dict[str, str | None], str]] = [
        ({"BINGX_ETL_INTERVAL": "7m"}, ""),
        ({"BINGX_ETL_INTERWAL": "5m"}, ""),
        ({"BINGX_API_KEY": None, "BINGX_API_KEY_FILE": str(missing)}, ""),
        ({}, "this is no TOML"),
        ({}, 'unknown = "x"'),
    ]
    with Service() as service:
        config.write_text("")
        for environ, text in broken if command == "snapshot" else broken[:1]:
            config.write_text(text)
            told = len(service.pings)
            ran = program.run("--config", str(config), command, BINGX_ETL_PING_URL=service.url, **environ)
            assert ran.code == 78
            assert service.paths[told:] == ["/78"], (environ, text)
            assert "SettingsError" in service.pings[-1].text
            assert str(program.home) not in service.pings[-1].text
    assert program.run("snapshot", BINGX_ETL_PING_URL="ftp://x", BINGX_ETL_INTERVAL="7m").code == 78


def test_a_run_for_some_accounts_pings_nothing(program: Program) -> None:
    with Service() as service:
        assert program.run("snapshot", "--account", "main", BINGX_ETL_PING_URL=service.url).code == 0
        assert program.run("snapshot", "--account", "typo", BINGX_ETL_PING_URL=service.url).code == 78
    assert service.pings == []


def test_the_daemon_pings_every_slot_and_takes_another_address_on_sighup(program: Program) -> None:
    config = program.home / "config.toml"

    def write(url: str) -> None:
        config.write_text(f'ping_url = "{url}"\n')
        config.chmod(0o600)

    with Service() as service, Service() as other:
        write(service.url)
        with program.daemon("--config", str(config), **hasty(program), BINGX_ETL_INTERVAL="1s") as daemon:
            eventually(lambda: len(service.pings) >= 4)
            write(other.url)
            daemon.send(signal.SIGHUP)
            eventually(lambda: len(other.pings) >= 4)
            assert daemon.stop() == 143
        assert set(service.paths) == set(other.paths) == {"/start", ""}
        assert ID not in daemon.said
        assert service.most_at_once == other.most_at_once == 1


# --- where the service is unwell ------------------------------------------------------------------------------------


def redirect(_: RawServer, connection: socket.socket) -> None:
    connection.sendall(http(b"", "302 Found", f"Location: http://127.0.0.1:1/{ID}\r\n"))


def fail(_: RawServer, connection: socket.socket) -> None:
    connection.sendall(http(f"{ID} is broken".encode() * 100, "500 Broken"))


def refuse(_: RawServer, connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")


UNWELL: list[Callable[[RawServer, socket.socket], None]] = [hang, drip, pour, redirect, fail, refuse]


def test_a_service_that_is_unwell_changes_neither_the_code_nor_the_reading_and_costs_little_time(
    tmp_path: Path,
) -> None:
    def lives_with(behave: Callable[[RawServer, socket.socket], None] | None) -> str:
        name = behave.__name__ if behave else "absent"
        with installed(tmp_path / name) as program:
            with Service(behave or hang) as service:
                url = service.url if behave else f"http://127.0.0.1:{closed_port()}/{ID}"
                began = time.monotonic()
                ran = program.run("snapshot", **hasty(program), BINGX_ETL_PING_URL=url)
                seconds = time.monotonic() - began
            assert (ran.code, program.rows("SELECT count(*) FROM snapshot")) == (0, [(1,)]), name
            assert seconds < 30, name  # of which a busy machine needs most to start them all
            assert ID.encode() not in program.everything_written()
            assert ID not in ran.err
            return ran.err

    with ThreadPoolExecutor(len(UNWELL) + 1) as pool:
        said = list(pool.map(lives_with, [*UNWELL, None]))
    warned = [re.findall(r"a ping did not arrive: ([^\"]+)", text) for text in said]
    assert [bool(each) for each in warned] == [True, True, False, True, True, True, True]
    assert "redirects are not followed" in warned[3][0]
    assert "connection refused" in warned[-1][0]


def recorded_on_time(program: Program, daemon: Running) -> None:
    """Slot after slot, in its second, until four are there."""
    eventually(lambda: len(program.recorded()) >= 4)
    assert daemon.stop() == 143
    slots = program.recorded()
    assert [later - sooner for sooner, later in pairwise(slots)] == [1.0] * (len(slots) - 1)
    for slot_at, requested_at in program.rows("SELECT slot_at, requested_at FROM snapshot"):
        assert 0 <= unix(requested_at) - unix(slot_at) < 1


def test_a_service_that_hangs_keeps_the_daemon_from_no_slot_and_is_asked_one_thing_at_a_time(tmp_path: Path) -> None:
    with installed(tmp_path / "home") as program, Service(hang) as service:
        with program.daemon(BINGX_ETL_PING_URL=service.url, BINGX_ETL_INTERVAL="1s") as daemon:
            recorded_on_time(program, daemon)
        assert service.server.connections <= 2
        assert service.most_at_once == 1
        assert ID not in daemon.said


# --- a secret -------------------------------------------------------------------------------------------------------


def test_the_address_is_a_secret(program: Program) -> None:
    file = program.home / "ping"
    with Service() as service:
        file.write_text(f"{service.url}\n")
        file.chmod(0o600)
        assert program.run("snapshot", BINGX_ETL_PING_URL_FILE=str(file)).code == 0
        assert service.paths == ["/start", ""]
        both = program.run("snapshot", BINGX_ETL_PING_URL_FILE=str(file), BINGX_ETL_PING_URL=service.url)
        file.chmod(0o644)
        open_file = program.run("snapshot", BINGX_ETL_PING_URL_FILE=str(file))
        config = program.home / "config.toml"
        config.write_text(f'ping_url = "{service.url}"\n')
        config.chmod(0o644)
        open_config = program.run("--config", str(config), "snapshot")
        assert len(service.pings) == 2
    plain = program.run("snapshot", BINGX_ETL_PING_URL=f"http://ping.example/{ID}")
    user = program.run("snapshot", BINGX_ETL_PING_URL=f"https://{ID}:{ID}@ping.example/x")
    for ran, words in (
        (both, "are both set"),
        (open_file, "others can read"),
        (open_config, "others can read"),
        (plain, "http:// would send the id in the clear"),
        (user, "a URL of scheme, host and path"),
    ):
        assert (ran.code, words in ran.err) == (78, True), ran.err
        assert ID not in ran.err


def test_even_a_library_that_names_the_address_is_kept_from_it(program: Program) -> None:
    loud = "import logging, os; logging.getLogger('x').warning('POST %s', os.environ['BINGX_ETL_PING_URL'])\n"
    environ = hasty(program)
    custom = Path(environ["PYTHONPATH"].split(":", maxsplit=1)[0])
    (custom / "sitecustomize.py").write_text(
        f"from etl.recorder import Recorder\nread = Recorder.read\n"
        f"def loudly(*a, **k):\n    {loud}    return read(*a, **k)\nRecorder.read = loudly\n"
    )
    with Service() as service:
        ran = program.run("snapshot", **environ, BINGX_ETL_PING_URL=service.url)
    assert "POST ***" in ran.err
    assert ID not in ran.err
