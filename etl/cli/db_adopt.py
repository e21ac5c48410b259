"""``db adopt``: the history in the database is to go on, though another was recorded into before."""

import sys

import click

from etl.bootstrap import build_adopter
from etl.cli.command import Command, settings
from etl.cli.progress import progress_of
from etl.grid import slot_text


@click.command("adopt", cls=Command, short_help="This database is to go on, with what is kept of the one before.")
def adopt() -> None:
    """Say that the history in the database is the one from now on, and put in what is kept of any other.

    Where a database is missing, or another, a new history begins, and `doctor`, `on_change` and an alert say so until
    the one before is back. If that is gone for good, or the new one is meant, this ends it.

    What is put in are outcomes that were stored in other histories and are still on the disk (keep_stored: of the last
    two days): as measured, each in its slot; a slot that has its snapshot keeps it. So it is also the way to take over,
    once the history before is back, what was recorded into another meanwhile. What belongs to another UID, or to
    another environment, is left out, and said. Doing it again changes nothing.

    \b
      bingx-etl db adopt
      bingx-etl gaps
    """
    chosen = settings()
    adopter = build_adopter(chosen)
    with progress_of("putting in what is kept", None) as advance:
        adopted = adopter.adopt(advance)
    if adopted.first is not None and adopted.until is not None:
        span = f"from {slot_text(adopted.first)} to {slot_text(adopted.until)}"
        sys.stderr.write(f"{adopted.outcomes} kept outcomes of other histories are in this one: {span}\n")
    elif not adopted.left_out:
        sys.stderr.write("nothing is kept of another history\n")
    for why, number in adopted.left_out.items():
        sys.stderr.write(f"{number} are left out; {why}\n")
    if adopted.begun_at is None:
        sys.stderr.write("the database is empty: the history that begins next is the one from now on\n")
    else:
        sys.stderr.write(f"this is the history from now on; it was begun at {slot_text(adopted.begun_at)}\n")
