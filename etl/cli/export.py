"""``export``: the balances to stdout, as a file that a spreadsheet opens and ``import`` reads."""

import sys
from datetime import datetime

import click

from etl.bootstrap import build_export
from etl.cli.bound import Bound, hint, require_order
from etl.cli.command import Command, account_option, settings
from etl.cli.progress import progress_of
from etl.cli.streams import Descriptor
from etl.transfer.portable import WRITERS


@click.command(cls=Command, short_help="The balances as CSV or JSON lines, to stdout.")
@click.option("--format", "form", type=click.Choice(tuple(WRITERS)), default="csv", show_default=True, help="How.")
@account_option
@click.option("--since", type=Bound(is_end=False), help="From this day or instant on (UTC).")
@click.option("--until", type=Bound(is_end=True), help="Up to this day or instant (UTC), itself included.")
@click.option("--voided", is_flag=True, help="Also the snapshots that are marked as wrong; the column says why.")
def export(form: str, account: str | None, since: datetime | None, until: datetime | None, *, voided: bool) -> None:
    """The balances, one per line, as CSV or JSON lines in UTF-8, to stdout.

    \b
      bingx-etl export --since 2026-01-01 > balances.csv

    By account, then by slot. A snapshot without a wallet has one line, without an account type. total_usdt is that of
    the whole snapshot, on each of its lines. Snapshots that are marked as wrong are left out.

    A recorder is not kept waiting, however long this takes. What import reads back is the same, as imported history.
    """
    require_order(since, until)
    exported = build_export(settings(), account, since, until, voided=voided)
    header, lines_of = WRITERS[form]
    out = sys.stdout.buffer
    # With a bar among the lines on one terminal, nobody could read either.
    is_shown = sys.stderr.isatty() and not sys.stdout.isatty()
    snapshots = 0
    with progress_of("exporting", exported.count() if is_shown else 0, shown=is_shown) as advance:
        out.write(header)
        for more, lines in exported.pages():
            out.write(lines_of(lines))
            if _nobody_listens():
                return
            snapshots += more
            advance(more)
    if not snapshots:
        sys.stderr.write(hint(since, until) + "\n")


def _nobody_listens() -> bool:
    """Whether stdout takes nothing any more: `head` has seen enough, or the disk is full."""
    raw = getattr(sys.stdout.buffer, "raw", None)
    return isinstance(raw, Descriptor) and raw.refusal is not None
