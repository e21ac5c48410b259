"""Many accounts at one exchange, each of which may be answered otherwise: one run of the program shows them all."""

import io
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from etl.cli import invoke
from etl.db import payload
from etl.model import Reading
from etl.sandbox.exchange import Exchange
from etl.sandbox.limits import NO_LIMITS
from etl.sandbox.rules import BALANCES
from etl.sandbox.server import SandboxServer
from etl.spool.spool import Spool
from tests.cli.program import Program, Ran

SINGLE = ("BINGX_API_KEY", "BINGX_API_SECRET", "BINGX_ETL_ACCOUNT")

# A process is said to have had what its parent had when it was made, so its parent is a small one.
MEASURE = """
import os, sys
_, status, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
sys.stderr.write(f"\\n{used.ru_maxrss}\\n")
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Measured:
    """A run, how long it took, and the most memory it had, in bytes."""

    ran: Ran
    seconds: float
    most_memory: int


@dataclass(frozen=True)
class Crowd:
    """The program with a config file of all accounts of its exchange."""

    program: Program

    @property
    def names(self) -> list[str]:
        """The accounts, in order."""
        return [account.name for account in self.program.exchange.accounts]

    def misbehave(self, account: str, kind: str, **what: object) -> None:
        """Answer this account's question for its balances otherwise."""
        self.program.exchange.faults.add(kind, account=account, path=BALANCES, **what)

    def run(self, *arguments: str, **environ: str | None) -> Ran:
        """Run it to its end."""
        return self.program.run(*arguments, **environ)

    def measured(self, *arguments: str, **environ: str) -> Measured:
        """Run it to its end and measure that."""
        began = time.monotonic()
        command = [sys.executable, "-I", "-S", "-c", MEASURE, sys.executable, "-m", "etl", *arguments]
        done = subprocess.run(
            command,
            env={**self.program.environ, **environ},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=self.program.home,
            timeout=60,
            check=False,
        )
        seconds = time.monotonic() - began
        err, _, most = done.stderr.rstrip().rpartition("\n")
        kilobyte = 1 if sys.platform == "darwin" else 1024
        return Measured(Ran(done.returncode, done.stdout, err), seconds, int(most) * kilobyte)

    def exact(self) -> dict[str, dict[str, str | None]]:
        """By account, what the view's exact column has of each wallet of the snapshots, digit by digit."""
        found: dict[str, dict[str, str | None]] = {}
        for account, wallet, amount in self.program.rows(
            "SELECT account, account_type, usdt_balance_exact FROM balance_history"
        ):
            found.setdefault(account, {})[wallet] = digits(amount)
        return found

    def bodies(self) -> dict[str, list[bytes]]:
        """By account, the bodies that the snapshots were made of."""
        sql = (
            "SELECT a.name, p.encoding, p.body FROM payload p JOIN snapshot s ON s.id = p.snapshot_id"
            " JOIN account a ON a.id = s.account_id ORDER BY p.snapshot_id, p.seq"
        )
        found: dict[str, list[bytes]] = {}
        for account, encoding, body in self.program.rows(sql):
            found.setdefault(account, []).append(payload.decode(encoding, bytes(body)))
        return found

    def failures(self) -> dict[str, str]:
        """By account, the reason why it has no snapshot."""
        return dict(
            self.program.rows(
                "SELECT a.name, f.reason FROM failure f JOIN account a ON a.id = f.account_id WHERE NOT EXISTS"
                " (SELECT 1 FROM snapshot s WHERE s.account_id = f.account_id AND s.slot_at = f.slot_at)"
            )
        )

    def quarantined(self) -> dict[str, list[bytes]]:
        """By account, the bodies in quarantine, each with its reason beside it."""
        found: dict[str, list[bytes]] = {}
        spool = Spool(self.program.state)
        spool.directory = spool.quarantine_directory
        for entry in spool.read(spool.names()):
            assert (spool.directory / f"{entry.name}.reason").stat().st_size > 0
            assert isinstance(entry.outcome, Reading)
            found.setdefault(entry.outcome.account, []).extend(entry.outcome.bodies)
        return found


def digits(amount: str | Decimal | None) -> str | None:
    """An exact amount as either database gives it, in plain digits."""
    return format(amount, "f") if isinstance(amount, Decimal) else amount


def inside(program: Program, *arguments: str, **environ: str | None) -> Ran:
    """Run the whole program, but in this process and so in a tenth of the time. Only from the main thread."""
    before, root, own = dict(os.environ), logging.getLogger(), logging.getLogger("etl")
    handlers, level, own_level = root.handlers[:], root.level, own.level
    wanted = {**program.environ, **environ}
    out, err = io.StringIO(), io.StringIO()
    os.environ.clear()
    os.environ.update({name: value for name, value in wanted.items() if value is not None})
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = invoke(list(arguments))
    finally:
        os.environ.clear()
        os.environ.update(before)
        root.handlers[:] = handlers
        root.setLevel(level)
        own.setLevel(own_level)
        logging.captureWarnings(capture=False)
    return Ran(code, out.getvalue(), err.getvalue())


@contextmanager
def crowd(home: Path, accounts: int, database_url: str | None = None) -> Iterator[Crowd]:
    """So many accounts, with an installation and an exchange of their own."""
    home.mkdir(parents=True)
    exchange = Exchange(accounts, 7, limits=NO_LIMITS, refuse_replays=False)
    with SandboxServer(exchange) as server:
        program = Program(home, server, database_url or f"sqlite:///{home / 'state' / 'balances.db'}")
        for name in SINGLE:
            del program.environ[name]
        config = home / "crowd.toml"
        config.touch(mode=0o600)
        config.write_text(
            "".join(
                f'[accounts.{account.name}]\napi_key = "{account.api_key}"\napi_secret = "{account.api_secret}"\n'
                for account in exchange.accounts
            )
        )
        program.environ["BINGX_ETL_CONFIG"] = str(config)
        yield Crowd(program)


def all_text(database_url: str) -> bytes:
    """Every value of every table of the database, bodies unpacked."""
    return b"\n".join(_bytes(value) for value in _values(database_url))


def _values(database_url: str) -> Iterator[Any]:
    if database_url.startswith("sqlite:///"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as there:
            query: Callable[[str], Sequence[Any]] = lambda sql: there.execute(sql).fetchall()  # noqa: E731
            yield from _of_tables(query, "SELECT name FROM sqlite_schema WHERE type = 'table'")
    else:
        with psycopg.connect(database_url) as there:
            query = lambda sql: there.execute(sql.encode()).fetchall()  # noqa: E731
            yield from _of_tables(query, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")


def _of_tables(query: Callable[[str], Sequence[Any]], tables: str) -> Iterator[Any]:
    for (table,) in query(tables):
        for row in query(f'SELECT * FROM "{table}"'):
            yield from row
            if table == "payload":
                yield payload.decode(row[2], bytes(row[3]))


def _bytes(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode(errors="surrogatepass")
