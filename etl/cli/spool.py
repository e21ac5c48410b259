"""``spool``: what waits on disk, and what was not understood."""

import sys

import click

from etl.bootstrap import build_loader, build_spool
from etl.cli.command import Command, Group, settings
from etl.cli.exits import BY_REASON, most_needing
from etl.cli.output import format_option, write
from etl.cli.progress import progress_of
from etl.load import Loaded
from etl.model import Failure


@click.group(cls=Group)
def spool() -> None:
    """What waits on disk to be stored, and what was set aside.

    Every outcome is written here before anything else happens to it, and goes only after the database has it. Normally
    the spool is empty between two runs.
    """


@spool.command("list", cls=Command)
@format_option
def list_(form: str) -> None:
    """What waits, oldest slot first."""
    box = build_spool(settings())
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
    write(rows, ("slot_at", "account", "kind", "reason", "file"), form)


@spool.command(cls=Command)
def load() -> int:
    """Store everything that waits, now. Every run does this by itself."""
    loader = build_loader(settings())
    loaded: list[Loaded] = []
    with progress_of("storing", loader.spool.depth()) as advance:

        def report(result: Loaded) -> None:
            loaded.append(result)
            advance(1)

        loader.load(report=report)
    stored = sum(not (result.waits or result.quarantined or result.duplicate) for result in loaded)
    duplicates = sum(result.duplicate for result in loaded)
    aside = [result for result in loaded if result.quarantined]
    sys.stderr.write(
        f"stored {stored}, duplicates of a slot that had its snapshot {duplicates}, quarantined {len(aside)}, "
        f"still waiting {loader.spool.depth()}\n"
    )
    return most_needing(BY_REASON[result.failure.reason] for result in aside if result.failure)


@spool.command(cls=Command)
@format_option
@click.option("--retry", is_flag=True, help="Put them all back into the spool; the next load judges them again.")
def quarantine(form: str, *, retry: bool) -> None:
    """What could not be understood or must not be mixed in, with its reason. Nothing here is ever deleted by itself.

    The first two lines of a file say what it is; the answer follows as it came.
    """
    box = build_spool(settings())
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
    write(rows, ("at", "reason", "detail", "file"), form)
