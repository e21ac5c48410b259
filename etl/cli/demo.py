"""``demo``: the whole thing in a few seconds, without a key."""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from etl.bootstrap import build_history, build_recorder
from etl.cli.command import Command
from etl.cli.history import DAILY, GAPS
from etl.grid import slot_text
from etl.keys import read_keys
from etl.model import Status
from etl.recorder import Recorder, Slot, Stored
from etl.report.render import render
from etl.sandbox.exchange import Exchange
from etl.sandbox.serve import example_config
from etl.sandbox.server import SandboxServer
from etl.settings import PROGRAM, Settings, read_settings

BEFORE, WITHOUT_DATABASE, RECOVERED, WITHOUT_BINGX, AFTER = 3, 3, 2, 2, 2

QUERY = "select account, slot_at, total_usdt_exact from equity"


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@click.command(cls=Command)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its files go, instead of a new directory of its own.",
)
def demo(directory: Path | None) -> None:
    """See it work, without a key: a BingX on this machine, two accounts, a slot every second, and two outages.

    First the database goes away, then BingX does. Everything is in a directory of its own; your settings, your state
    and the network are not touched.
    """
    directory = (directory or Path(tempfile.mkdtemp(prefix="bingx-etl-demo-"))).absolute()
    exchange = Exchange(2)
    with SandboxServer(exchange) as server:
        environ = {"BINGX_ETL_INTERVAL": "1s", "BINGX_ETL_RETRY_FOR": "0s"}
        config = example_config(exchange, directory, server.url)
        settings = read_settings(config, environ)
        recorder = build_recorder(settings, read_keys(settings, environ))
        accounts = [account.name for account in exchange.accounts]
        slots = _Slots(recorder, accounts)
        _say(f"A BingX on this machine, {server.url}, with the accounts {' and '.join(accounts)}; a slot a second.\n")
        _say("1. All is well: each slot is read from BingX, written to disk, then stored.")
        slots.record(BEFORE)
        _say("\n2. The database goes away. Readings wait on disk, in the spool.")
        with _without_database(settings):
            slots.record(WITHOUT_DATABASE)
        _say("\n3. It is back. The next run stores what waited, each reading under its own slot.")
        slots.record(RECOVERED)
        _say("\n4. BingX goes away. A balance cannot be fetched twice, so this becomes a gap, with its reason.")
        exchange.faults.add("status", status=503)
        slots.record(WITHOUT_BINGX)
        exchange.faults.clear()
        _say("\n5. All is well again.")
        slots.record(AFTER)
    history = build_history(settings)
    _say("\nWhat was recorded (bingx-etl report):\n")
    _say(render(history.daily(), DAILY, "table"))
    _say("What is missing, and why (bingx-etl gaps):\n")
    _say(render([gap for gap in history.gaps() if gap["gap_from"] < slots.ended_at], GAPS, "table"))
    _say(f"""Where it is:
  {settings.state_dir / "balances.db"}   the history, SQLite
  {settings.state_dir / "spool"}         what waits to be stored: empty again
  {config}   the settings

Ask it yourself:
  {PROGRAM} report --config {config}
  sqlite3 {settings.state_dir / "balances.db"} '{QUERY}'""")


@contextmanager
def _without_database(settings: Settings) -> Iterator[None]:
    """A directory stands where the database should be: it cannot be opened, whoever we are."""
    database = settings.state_dir / "balances.db"
    aside = database.with_suffix(".away")
    database.rename(aside)
    database.mkdir()
    try:
        yield
    finally:
        database.rmdir()
        aside.rename(database)


class _Slots:
    """Records slot after slot and tells of each in a line."""

    def __init__(self, recorder: Recorder, accounts: list[str]) -> None:
        self._recorder = recorder
        self._accounts = accounts
        self._stop = threading.Event()
        self.ended_at = datetime.now(UTC)

    def record(self, slots: int) -> None:
        for _ in range(slots):
            time.sleep(1.02 - time.time() % 1)
            _say("   " + _line(*self._recorder.record(self._accounts, {}, self._stop)))
            self.ended_at = datetime.now(UTC)


def _line(slot: Slot, stored: Stored) -> str:
    recorded = sorted(slot.recorded, key=lambda r: r.outcome.account)
    words = []
    for each in recorded:
        snapshot = each.snapshot
        if snapshot is None:
            words.append(f"{each.outcome.account}: failed ({each.failure.reason.value if each.failure else ''})")
        else:
            total = "no total" if snapshot.status is Status.PARTIAL else f"{snapshot.total:.2f} USDT"
            words.append(f"{each.outcome.account}: {total}, {'stored' if each.stored else 'in the spool'}")
    earlier = f"   (+ {stored.earlier} that waited)" if stored.earlier else ""
    return f"{slot_text(recorded[0].outcome.slot_at)}   {'   '.join(words)}{earlier}"
