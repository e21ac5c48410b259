"""The sandbox as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from stat import S_IMODE

import pytest

from etl.errors import CannotCreate, SettingsError
from etl.sandbox.accounts import sandbox_account
from etl.sandbox.exchange import Exchange
from etl.sandbox.serve import environment, example_config, serve
from tests.sandbox.asking import UID, Clock, signed


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "etl.sandbox", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def ask_uid(url: str, key: str, secret: str, timestamp_ms: int) -> bytes:
    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("GET", f"{UID}?{signed(secret, f'timestamp={timestamp_ms}')}", headers={"X-BX-APIKEY": key})
    body = connection.getresponse().read()
    connection.close()
    return body


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_its_url_is_the_first_and_only_line_and_a_signal_ends_it(number: signal.Signals) -> None:
    with running() as process:
        url = first_line(process)
        assert url.startswith("http://127.0.0.1:")
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10).close()
        process.send_signal(number)
        rest, words = process.communicate(timeout=10)
    assert (process.returncode, rest) == (128 + number, "")
    assert "Traceback" not in words


def test_the_words_are_an_environment_that_opens_it() -> None:
    with running("--seed", "4") as process:
        url = first_line(process).strip()
        process.terminate()
        _, words = process.communicate(timeout=10)
    assert words.startswith("unset BINGX_")
    said = dict(line.removeprefix("export ").split("=", 1) for line in words.splitlines()[1:])
    account = sandbox_account(4, 0)
    assert said == {
        "BINGX_ETL_BASE_URL": url,
        "BINGX_ETL_ACCOUNT": "main",
        "BINGX_API_KEY": account.api_key,
        "BINGX_API_SECRET": account.api_secret,
        "BINGX_ETL_STATE_DIR": '"$(mktemp -d)"',  # never the history that real money goes on with
        "BINGX_ETL_CONFIG": '"$BINGX_ETL_STATE_DIR/bingx-etl.toml"; (umask 077; : > "$BINGX_ETL_CONFIG")',
    }


def test_the_same_seed_in_another_process_has_the_same_accounts() -> None:
    with running("--seed", "11", "--accounts", "3") as process:
        url = first_line(process).strip()
        account = sandbox_account(11, 2)
        body = ask_uid(url, account.api_key, account.api_secret, int(time.time() * 1000))
    assert f'"uid":{account.uid}'.encode() in body


def test_a_port_that_is_taken_or_does_not_exist_is_an_error_with_the_remedy() -> None:
    with running() as first:
        port = first_line(first).strip().rpartition(":")[2]
        with running("--port", port) as second:
            out, words = second.communicate(timeout=10)
    assert (second.returncode, out) == (78, "")
    assert f"cannot listen on port {port}" in words
    assert "choose another" in words
    for given in (-1, 65_536):
        with pytest.raises(SettingsError, match="use 0"):
            serve(given, 1, 0, print)
    with pytest.raises(SettingsError, match="at least one account"):
        serve(0, 0, 0, print)


def test_handlers_of_signals_are_as_before_after_an_error() -> None:
    with running() as first:
        port = int(first_line(first).strip().rpartition(":")[2])
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SettingsError):
            serve(port, 1, 0, print)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_config_file_of_all_accounts_is_written_on_request(tmp_path: Path) -> None:
    with running("--accounts", "3", "--config-directory", str(tmp_path / "new" / "place")) as process:
        url = first_line(process).strip()
        process.terminate()
        _, words = process.communicate(timeout=10)
    path = tmp_path / "new" / "place" / "bingx-etl.toml"
    assert words.splitlines()[1:] == [f"export BINGX_ETL_CONFIG={path}"]
    assert tomllib.loads(path.read_text("utf-8"))["base_url"] == url


def test_without_a_config_file_the_other_accounts_are_at_least_mentioned() -> None:
    with running("--accounts", "3") as process:
        first_line(process)
        process.terminate()
        _, words = process.communicate(timeout=10)
    assert words.splitlines()[-1] == "# 2 more accounts: --config-dir DIR writes a config file for all"


def test_the_config_file_names_every_account_with_its_secrets_in_private_files(clock: Clock, tmp_path: Path) -> None:
    exchange = Exchange(3, 1, clock)
    directory = tmp_path / 'odd "name\\ é'
    config = tomllib.loads(example_config(exchange, directory, "http://127.0.0.1:5").read_text("utf-8"))
    assert (config["base_url"], config["state_dir"]) == ("http://127.0.0.1:5", str(directory / "state"))
    assert list(config["accounts"]) == ["main", "account-2", "account-3"]
    for account in exchange.accounts:
        named = config["accounts"][account.name]
        assert named.keys() == {"api_key_file", "api_secret_file"}
        assert Path(named["api_key_file"]).read_text("utf-8").strip() == account.api_key
        assert Path(named["api_secret_file"]).read_text("utf-8").strip() == account.api_secret
    made = [directory, *directory.rglob("*")]
    assert {S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert {S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}


def test_the_config_file_is_written_again_over_an_older_one_and_made_private(clock: Clock, tmp_path: Path) -> None:
    path = example_config(Exchange(1, 1, clock), tmp_path, "http://127.0.0.1:5")
    path.chmod(0o644)
    example_config(Exchange(2, 2, clock), tmp_path, "http://127.0.0.1:6")
    assert tomllib.loads(path.read_text("utf-8"))["base_url"] == "http://127.0.0.1:6"
    assert S_IMODE(path.stat().st_mode) == 0o600


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotCreate, match="file/below"):
        example_config(Exchange(1, 1, clock), tmp_path / "file" / "below", "http://127.0.0.1:5")


def test_the_environment_is_that_of_the_account_asked_for(clock: Clock) -> None:
    exchange = Exchange(2, 1, clock)
    assert environment(exchange, "http://127.0.0.1:5", "account-2") == {
        "BINGX_ETL_BASE_URL": "http://127.0.0.1:5",
        "BINGX_ETL_ACCOUNT": "account-2",
        "BINGX_API_KEY": exchange.account("account-2").api_key,
        "BINGX_API_SECRET": exchange.account("account-2").api_secret,
    }
