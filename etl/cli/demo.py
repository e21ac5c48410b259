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

from etl.bootstrap import build_equity, build_history, build_recorder
from etl.cli.command import Command
from etl.cli.fast_motion import record_year
from etl.cli.history import GAPS
from etl.cli.html import write_page
from etl.config.keys import read_keys
from etl.config.settings import PROGRAM, Settings, read_settings
from etl.errors import CannotCreate, SettingsError
from etl.grid import slot_text
from etl.model import Status
from etl.recorder import Recorder, Slot, Stored
from etl.report.equity import Question, report
from etl.report.equity_table import draw
from etl.report.render import render
from etl.sandbox.exchange import Exchange
from etl.sandbox.serve import example_config
from etl.sandbox.server import SandboxServer

BEFORE, WITHOUT_DATABASE, RECOVERED, WITHOUT_BINGX, AFTER = 3, 3, 2, 2, 2

QUERY = "select account, slot_at, total_usdt_exact from equity"


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@click.command(cls=Command, short_help="See it work in a few seconds, without a key.")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its files go: a directory that is empty or not there yet. Else a new one among the temporary files.",
)
def demo(directory: Path | None) -> None:
    """See it work, without a key: a BingX on this machine, two accounts, a slot every second, and two outages.

    First the database goes away, then BingX does. Everything is in a directory of its own; your settings, your state
    and the network are not touched.
    """
    directory = _own(directory)
    exchange = Exchange(2)
    with SandboxServer(exchange) as server:
        config = example_config(exchange, directory, server.url)
        config.write_text('interval = "1s"\nretry_for = "0s"\n' + config.read_text())
        settings = read_settings(config, {})
        recorder = build_recorder(settings, read_keys(settings, {}))
        build_history(settings)  # creates the database, which may take longer than a slot
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
    _say(draw(report(build_equity(settings), Question(), datetime.now(UTC)).rows).text)
    _say("What is missing, and why (bingx-etl gaps):\n")
    _say(render([gap for gap in history.gaps() if gap["gap_from"] < slots.ended_at], GAPS, "table"))
    _say("More than a year of the same accounts in fast motion, as a page (bingx-etl report --html) ...\n")
    page = directory / "report.html"
    year = record_year(exchange, settings, directory / "year")
    write_page(build_equity(year), Question(), datetime.now(UTC), page)
    database, spool = settings.state_dir / "balances.db", settings.state_dir / "spool"
    width = max(len(str(path)) for path in (page, database, spool, config))
    _say(f"""Where it is:
  {page!s:{width}}   that year, to look at in a browser
  {database!s:{width}}   the history, SQLite
  {spool!s:{width}}   what waits to be stored: empty again
  {config!s:{width}}   the settings

Ask it yourself, and remove it with rm -r {directory} when you have seen enough:
  {_as_called()} report --config {config}
  sqlite3 {database} '{QUERY}'""")
    if not _is_in_force(config, settings):
        _say(f"\nYour environment has settings, which win over a file: unset them before {PROGRAM} report.")


def _as_called() -> str:
    """The program in the way this person has called it."""
    called = sys.argv[0]
    return f"{sys.executable} -m etl" if called.endswith("__main__.py") else called


def _own(directory: Path | None) -> Path:
    """A directory in which nothing of anybody's can be overwritten. Raises CannotCreate."""
    try:
        if directory is None:
            return Path(tempfile.mkdtemp(prefix=f"{PROGRAM}-demo-")).absolute()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_empty = not any(directory.iterdir())
    except OSError as error:
        where = directory or "a temporary directory"
        raise CannotCreate(f"cannot create {where}: {error.strerror}; --dir names another place") from None
    if not is_empty:
        raise CannotCreate(f"{directory} is not empty, and the demo writes over nothing: --dir names another place")
    return directory.absolute()


def _is_in_force(config: Path, settings: Settings) -> bool:
    """Whether a command with this config file would see the demo's history."""
    try:
        return read_settings(config).database_url == settings.database_url
    except SettingsError:
        return False


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
        self._last = int(time.time())
        self.ended_at = datetime.now(UTC)

    def record(self, slots: int) -> None:
        for _ in range(slots):
            # Where a slot took long, the next one has begun and is recorded at once, not passed over.
            time.sleep(max(0.0, self._last + 1.02 - time.time()))
            self._last = int(time.time())
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
