"""``spool``: what waits on disk, and what was not understood."""

import sys
import time
from collections import Counter

import click

from etl.bootstrap import build_loader, build_spool
from etl.cli.command import Command, Group, settings
from etl.cli.exits import BY_REASON, Exit, most_needing
from etl.cli.output import format_option, write
from etl.cli.progress import progress_of
from etl.config.settings import Settings
from etl.errors import DiskError
from etl.grid import slot_text
from etl.load.batch import Loaded
from etl.model import Failure
from etl.spool.retention import Retention, size_and_beginning
from etl.spool.spool import Spool


@click.group(cls=Group, short_help="What waits on disk to be stored, and what was set aside.")
def spool() -> None:
    """What waits on disk to be stored, and what was set aside.

    Every outcome is written here before anything else happens to it, and goes only after the database has it. Normally
    the spool is empty between two runs.
    """


@spool.command("list", cls=Command)
@format_option
def list_(form: str) -> None:
    """What waits, oldest slot first."""
    chosen = settings()
    box = open_spool(chosen)
    rows = [
        {
            "slot_at": entry.outcome.slot_at,
            "account": entry.outcome.account,
            "kind": "failure" if isinstance(entry.outcome, Failure) else "reading",
            "reason": entry.outcome.reason.value if isinstance(entry.outcome, Failure) else None,
            "file": entry.name,
        }
        for entry in box.read(box.names())
    ]
    write(rows, ("slot_at", "account", "kind", "reason", "file"), form, "nothing waits")
    size, since = size_and_beginning(Retention(chosen.state_dir, chosen.keep_stored_seconds).directory)
    if since is not None:
        sys.stderr.write(f"what was stored since {slot_text(since)} is kept as well ({size / (1 << 20):.1f} MB)\n")
    if unsettled := box.unsettled():
        sys.stderr.write(f"{unsettled} doubted readings are being read again, or wait for the end of their slot\n")


@spool.command(cls=Command)
def load() -> int:
    """Store everything that waits, now. Every run does this by itself.

    A database that is older than what was stored, as a backup that was put back is, gets back first what it lacks of
    the outcomes that are kept on disk (keep_stored).

    Exits with 0 when everything is stored; else with what needs a person most: 65 or 78 for what was quarantined, 75
    for what still waits.
    """
    chosen = settings()
    loader, box = build_loader(chosen), open_spool(chosen)
    aside_before, began = {item.name for item in box.quarantined()}, time.time()
    counts: Counter[str] = Counter()
    refused: list[Failure] = []
    waits: set[str] = set()
    with progress_of("storing", box.depth()) as advance:

        def report(result: Loaded) -> None:
            # Of those that are stored only their number is kept: after an outage there are very many.
            if result.entry.kept:
                return
            if result.waits:
                waits.add(f"{result.entry.outcome.account} waits: {result.waits}")
            elif result.quarantined and result.failure:
                refused.append(result.failure)
            counts["duplicates"] += result.duplicate
            counts["stored"] += not (result.waits or result.quarantined or result.duplicate)
            advance(1)

        loader.refill()
        loader.load(report=report)
    # Files that are damaged are set aside before they can be loaded, and files of a later program are passed over.
    aside = [item for item in box.quarantined() if item.name not in aside_before]
    waiting = [name for name in box.names() if box.waits_since(name) < began]
    sys.stderr.write(
        f"stored {counts['stored']}, duplicates of a slot that had its snapshot {counts['duplicates']}, "
        f"quarantined {len(aside)}, "
        f"still waiting {len(waiting)}\n"
    )
    for why in sorted(waits):
        sys.stderr.write(why + "\n")
    for why in sorted({f"quarantined: {item.reason}, {item.detail}" for item in aside}):
        sys.stderr.write(why + "\n")
    codes = [BY_REASON[failure.reason] for failure in refused]
    codes += [Exit.NOT_UNDERSTOOD] * (len(aside) > len(refused)) + [Exit.TRY_AGAIN] * bool(waiting)
    return most_needing(codes)


@spool.command(cls=Command)
@format_option
@click.option("--retry", is_flag=True, help="Put them all back into the spool; the next load judges them again.")
def quarantine(form: str, *, retry: bool) -> None:
    """What could not be understood or must not be mixed in, with its reason. Nothing here is ever deleted by itself.

    The first two lines of a file say what it is; the answer follows as it came.
    """
    box = open_spool(settings())
    found = box.quarantined()
    rows = [
        {"at": item.at, "reason": item.reason, "detail": item.detail, "file": str(box.quarantine_directory / item.name)}
        for item in found
    ]
    if retry:
        for item in found:
            box.release(item.name)
        sys.stderr.write(f"{len(found)} put back: bingx-etl spool load\n")
        return
    write(rows, ("at", "reason", "detail", "file"), form, "the quarantine is empty")


def open_spool(chosen: Settings) -> Spool:
    """The spool, to look at. Raises DiskError where it cannot be looked into: that is not the same as empty."""
    box = build_spool(chosen)
    for directory in (box.directory, box.quarantine_directory):
        try:
            next(directory.iterdir(), None)
        except FileNotFoundError:
            pass  # nothing was recorded yet
        except OSError as error:
            raise DiskError(
                f"cannot read {directory}: {error.strerror}; mend its mode or owner, or state_dir"
            ) from None
    return box
