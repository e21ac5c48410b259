"""The sandbox as a program of its own, and the config file that uses it."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from shlex import quote
from socket import socket, socketpair

from etl.errors import CannotCreate, SettingsError
from etl.sandbox.exchange import Exchange
from etl.sandbox.server import SandboxServer

LARGEST_PORT = 65_535
# In the shell that is to use the sandbox: a real database, key or ping must not be what play money goes to.
NOTHING_ELSE = r"unset BINGX_API_KEY $(env | sed -n 's/^\(BINGX_[A-Z_]*\)=.*/\1/p')"


def serve(
    port: int, accounts: int, seed: int, announce: Callable[[str], None], config_directory: Path | None = None
) -> int:
    """Serve until SIGINT or SIGTERM and return that signal's number; call it from the main thread.

    The first and only line on stdout is the URL, flushed when connections are accepted. ``announce`` gets the words for
    people, a line each, and must not write to stdout: the environment of the first account, ready to be pasted into a
    shell, or the config file of all of them, which is written where ``config_directory`` is given.
    Raises SettingsError where the port or the number of accounts will not do, CannotCreate for the config file.
    """
    if not 0 <= port <= LARGEST_PORT:
        raise SettingsError(f"port {port} does not exist; use 0 for any free one, or up to 65535")
    if accounts < 1:
        raise SettingsError("a sandbox has at least one account; use --accounts 1 or more")
    exchange = Exchange(accounts, seed)
    server = SandboxServer(exchange, port=port)
    with _signals() as signals:
        try:
            server.start()
        except OSError as error:
            raise SettingsError(f"cannot listen on port {port} ({error.strerror}); choose another, or 0") from error
        try:
            sys.stdout.write(server.url + "\n")
            sys.stdout.flush()
            for line in _words(exchange, server.url, config_directory):
                announce(line)
            return signals.recv(1)[0]
        finally:
            server.stop()


@contextmanager
def _signals() -> Iterator[socket]:
    """A socket from which the numbers of arriving SIGINTs and SIGTERMs can be read, a byte each."""
    # Not an Event set by a handler: where the signal comes while the waiter holds the Event's lock, both wait for ever.
    readable, writable = socketpair()
    writable.settimeout(0)
    with readable, writable:
        previous = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        previous_fd = signal.set_wakeup_fd(writable.fileno(), warn_on_full_buffer=False)
        try:
            yield readable
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)


def environment(exchange: Exchange, base_url: str, name: str = "main") -> dict[str, str]:
    """The environment variables that make ``bingx-etl`` read this account of the sandbox."""
    account = exchange.account(name)
    return {
        "BINGX_ETL_BASE_URL": base_url,
        "BINGX_ETL_ACCOUNT": name,
        "BINGX_API_KEY": account.api_key,
        "BINGX_API_SECRET": account.api_secret,
    }


def example_config(exchange: Exchange, directory: Path, base_url: str) -> Path:
    """Write ``bingx-etl.toml`` for all accounts, and their secrets, into a directory (made if need be), and return it.

    Files are 0600, directories 0700. The state directory named in it is ``state`` beside it. Raises CannotCreate.
    """
    secrets = directory / "secrets"
    lines = [
        "# Accounts of the sandbox: no real money, and no use outside it.",
        f"base_url = {_toml(base_url)}",
        f"state_dir = {_toml(str(directory.absolute() / 'state'))}",
    ]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        secrets.mkdir(mode=0o700, exist_ok=True)
        for account in exchange.accounts:
            key_file, secret_file = secrets / f"{account.name}.api_key", secrets / f"{account.name}.api_secret"
            _write_private(key_file, account.api_key + "\n")
            _write_private(secret_file, account.api_secret + "\n")
            lines += [
                "",
                f"[accounts.{account.name}]",
                f"api_key_file = {_toml(str(key_file.absolute()))}",
                f"api_secret_file = {_toml(str(secret_file.absolute()))}",
            ]
        path = directory / "bingx-etl.toml"
        _write_private(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise CannotCreate(f"cannot write the sandbox's config file in {directory}: {error.strerror}") from error
    return path


def _words(exchange: Exchange, base_url: str, config_directory: Path | None) -> list[str]:
    if config_directory is not None:
        path = example_config(exchange, config_directory, base_url).absolute()
        return [NOTHING_ELSE, f"export BINGX_ETL_CONFIG={quote(str(path))}"]
    words = [NOTHING_ELSE, *(f"export {name}={value}" for name, value in environment(exchange, base_url).items())]
    # A history of its own: play money must not begin the one that real money is to go on with.
    words += [
        'export BINGX_ETL_STATE_DIR="$(mktemp -d)"',
        'export BINGX_ETL_CONFIG="$BINGX_ETL_STATE_DIR/bingx-etl.toml"; (umask 077; : > "$BINGX_ETL_CONFIG")',
    ]
    others = len(exchange.accounts) - 1
    return [*words, f"# {others} more accounts: --config-dir DIR writes a config file for all"] if others else words


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)


def _toml(text: str) -> str:
    return dumps(text, ensure_ascii=False)
