"""``void`` and ``unvoid``: a person's mark that a snapshot is wrong."""

import sys
from typing import TYPE_CHECKING

import click

from etl.bootstrap import build_voids
from etl.cli.command import Command, settings
from etl.grid import slot_text

if TYPE_CHECKING:
    from etl.db.voids import Marked

LARGEST_ID = 2**63 - 1

snapshot_id_argument = click.argument("snapshot_id", type=click.IntRange(1, LARGEST_ID))


def _checked(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """What a database can keep, and what tells somebody something."""
    del context, parameter
    if value is None:
        return None
    if not value.strip() or not value.isprintable():
        raise click.BadParameter("say in a few words what is wrong, on one line")
    return value.strip()


@click.command(cls=Command, short_help="Mark a wrong snapshot; views and reports leave it out.")
@snapshot_id_argument
@click.option("--reason", metavar="TEXT", required=True, callback=_checked, help="What is wrong with it.")
def void(snapshot_id: int, reason: str) -> None:
    """Mark a snapshot as wrong: views and reports leave it out, and its slot counts as a gap.

    Nothing is deleted: the snapshot stays in the tables with its answer, and unvoid takes the mark back. SNAPSHOT_ID is
    the column snapshot_id of the views equity and balance_history.
    """
    marked = build_voids(settings()).void(snapshot_id, reason)
    sys.stderr.write(f"void now: {_named(marked)}; bingx-etl unvoid {snapshot_id} takes that back\n")


@click.command(cls=Command, short_help="Take the mark of a wrong snapshot back.")
@snapshot_id_argument
@click.option("--reason", metavar="TEXT", callback=_checked, help="Why it was right after all.")
def unvoid(snapshot_id: int, reason: str | None) -> None:
    """Take the mark of a wrong snapshot back: it counts again.

    The mark and this one both stay in the table annotation, with their times and reasons.
    """
    marked = build_voids(settings()).unvoid(snapshot_id, reason or "")
    sys.stderr.write(f"counts again: {_named(marked)}\n")


def _named(marked: "Marked") -> str:
    total = "partial, without a total" if marked.total is None else f"{marked.total:f} USDT"
    return (
        f"snapshot {marked.snapshot_id}, {marked.account}, {slot_text(marked.slot_at)}, {total} ({marked.provenance})"
    )
