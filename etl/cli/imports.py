"""``import``: history from a file, always marked as imported."""

import io
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import click

from etl.bootstrap import build_imports
from etl.cli.command import Command, settings
from etl.cli.progress import progress_of
from etl.errors import NotUnderstood, SettingsError
from etl.grid import slot_text
from etl.model import ACCOUNT_NAME, Environment, Snapshot
from etl.transfer.incoming import Incoming, assemble
from etl.transfer.portable import is_export, numbered_lines, read_csv, read_json
from etl.transfer.spreadsheet import DAY_FIRST, MONTH_FIRST, Habits, read_totals

BATCH = 2000
"""Snapshots in one transaction: some tenths of a second, in which nobody else can write into SQLite."""

BATCH_BALANCES = 40_000
MARKS = {"point": ".", "comma": ","}


class Zone(click.ParamType[ZoneInfo]):
    """A time zone by its IANA name."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ZoneInfo:  # noqa: ANN401 - click's own
        """``Europe/Berlin``."""
        try:
            return ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            self.fail(f"{value!r} is no time zone: write Europe/Berlin, America/New_York, UTC", param, ctx)


@click.command("import", cls=Command, short_help="History from a file, always marked as imported.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--account", metavar="NAME", help="Whose totals a file of two columns has.")
@click.option("--tz", "zone", type=Zone(), help="The time zone of times without one, such as Europe/Berlin.")
@click.option("--dates", type=click.Choice((DAY_FIRST, MONTH_FIRST)), help="What 03/04/2026 means.")
@click.option("--decimal", type=click.Choice(tuple(MARKS)), help="What 1.234 means: the mark before the fraction.")
def import_(file: str, account: str | None, zone: ZoneInfo | None, dates: str | None, decimal: str | None) -> None:
    """Take history in from FILE, or from stdin where it is "-": what export wrote, or a table of time and total.

    A table has two columns, with or without a header, divided by comma, semicolon or tab, in UTF-8; it needs --account.
    A day alone stands for its end, midnight.

    The whole file is read before anything is stored: one line that cannot be understood, or could mean two things, and
    nothing of it is imported (65, with the number of the line). What is stored is marked as imported. A slot that has a
    snapshot keeps it, so importing a file again changes nothing; a measured reading replaces an imported one.
    """
    chosen = settings()
    habits = Habits(zone, dates, MARKS[decimal] if decimal else None)
    if account is not None and not ACCOUNT_NAME.fullmatch(account):
        raise SettingsError(f"account name {account!r}: at most 64 letters, digits, dots, dashes and underscores")
    with _opened(file) as source:
        read = partial(_read, source, account, habits, datetime.now(UTC))
        said, count = _checked(read, file)
        imports, otherwise = build_imports(chosen)
        found = imports.environments(said, otherwise)
        environments = {name: environment for name, (environment, _) in found.items()}
        stored, seen = 0, 0
        unlike: list[Snapshot] = []
        try:
            with progress_of("importing", count) as advance:
                for batch in _batches(read()):
                    unlike += imports.unlike(batch)
                    stored += imports.add(batch, environments)
                    seen += len(batch)
                    advance(len(batch))
        finally:
            if seen < count:
                sys.stderr.write(
                    f"not all of it: {stored} snapshots are stored; importing the file again does the rest\n"
                )
    new = [f"{name} ({environment})" for name, (environment, is_new) in found.items() if is_new]
    sys.stderr.write(
        f"imported {stored} snapshots"
        + (f", and {count - stored} slots had theirs already" if stored < count else "")
        + (f"; new in the history: {', '.join(new)}" if new else "")
        + "\n"
    )
    if unlike:
        first = unlike[0]
        sys.stderr.write(
            f"{len(unlike)} of those slots were imported with another total, the first is {slot_text(first.slot_at)} of"
            f" {first.account}: that stays. To mend one, void it and import its line with a time a minute earlier\n"
        )


def _checked(read: Callable[[], Iterator[Incoming]], file: str) -> tuple[dict[str, Environment | None], int]:
    """The accounts of the file, with the environments that it names, and how many snapshots it has."""
    accounts: dict[str, Environment | None] = {}
    counts: Counter[str] = Counter()
    try:
        with progress_of("checking", None) as advance:
            for entry in read():
                accounts[entry.snapshot.account] = entry.environment
                counts[entry.snapshot.account] += 1
                advance(1)
    except NotUnderstood as error:
        name = "stdin" if file == "-" else file
        raise NotUnderstood(f"{name}, {error}; nothing of it is imported") from None
    return accounts, counts.total()


def _read(source: BinaryIO, account: str | None, habits: Habits, now: datetime) -> Iterator[Incoming]:
    """The snapshots of a file from its beginning, whichever of the forms it has."""
    source.seek(0)
    lines = numbered_lines(source)
    first = next(((number, text) for number, text in lines if text.strip()), None)
    if first is None:
        raise NotUnderstood("line 1: it is empty")
    whole = chain([first], lines)
    is_json = first[1].lstrip().startswith("{")
    if is_json or is_export(first[1]):
        if account is not None:
            raise click.UsageError("--account is for a table of time and total: an export names its accounts")
        return assemble(read_json(whole) if is_json else read_csv(whole), now)
    if account is None:
        raise click.UsageError(
            "whose totals are these? Say it by --account NAME; or line 1 should be the header that export writes"
        )
    return read_totals(whole, account, habits, now)


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """The file, to be read twice: what comes through a pipe is kept meanwhile."""
    with ExitStack() as opened:
        source: BinaryIO
        if file == "-":
            source = sys.stdin.buffer if sys.stdin is not None else io.BytesIO()  # None where it was closed
        else:
            source = opened.enter_context(Path(file).open("rb"))
        if not source.seekable():
            kept = opened.enter_context(tempfile.TemporaryFile())
            while block := source.read(1 << 20):
                kept.write(block)
            source = kept
        yield source


def _batches(entries: Iterator[Incoming]) -> Iterator[Sequence[Incoming]]:
    batch: list[Incoming] = []
    balances = 0
    for entry in entries:
        batch.append(entry)
        balances += len(entry.snapshot.balances)
        if len(batch) == BATCH or balances >= BATCH_BALANCES:
            yield batch
            batch, balances = [], 0
    if batch:
        yield batch
