"""``snapshot``: one slot, for cron and systemd timers."""

import logging
import sys
from contextlib import nullcontext
from typing import Any

import click
import msgspec

from etl.bootstrap import build_recorder, build_remembered
from etl.cli.command import LoggedCommand, settings
from etl.cli.exits import code_of
from etl.cli.interruption import Interruption, leaving_in_order
from etl.cli.progress import progress_of
from etl.cli.telling import Teller
from etl.cli.watching import false_start_told, metrics_of, others_of
from etl.config.keys import Keys, key_places, read_every_key, why_none
from etl.config.settings import Settings
from etl.errors import NoSuchAccount
from etl.grid import instant_text, slot_text
from etl.logs import configure
from etl.model import Reason
from etl.recorder import Recorded, Slot
from etl.watchers import Watchers

log = logging.getLogger(__name__)


@click.command(cls=LoggedCommand, short_help="Record the present slot of every account, once.")
@click.option(
    "--account", "names", metavar="NAME", multiple=True, help="Only this account; may be given several times."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per account and line on stdout.")
@click.option("--force", is_flag=True, help="Ask with refused keys too, which are otherwise asked less and less often.")
def snapshot(names: tuple[str, ...], *, as_json: bool, force: bool) -> int:
    """Record the present slot of every account, once, and exit.

    Asks BingX for each account, writes the answers to disk first, then stores them and whatever waits there from
    before. To be called once in each slot: with the interval of 5m, by the crontab line
    `*/5 * * * * bingx-etl snapshot`.

    Running it twice in a slot, or two at once, is harmless: the first reading of a slot is kept. If the database is
    down it exits with 75, the reading is safe, and the next run stores both.
    """
    with nullcontext() if names else false_start_told():
        chosen = settings()
        all_keys = read_every_key(chosen)
        keys = _choose(all_keys, names)
        if not keys.usable and not _were_recorded(chosen, keys):
            raise why_none(chosen, keys)
        texts = [text for key in keys.usable.values() for text in (key.key, key.secret)]
        configure(chosen.log_format, [*chosen.secrets, *texts])
        recorder = build_recorder(chosen, keys, ask_refused=force)
    unusable = {name: str(error) for name, error in keys.unusable.items()}
    others = others_of(lambda: chosen, is_whole=not names)
    watcher = Watchers([Teller(is_private=lambda: chosen.log_private), *others, *metrics_of(chosen, all_keys)])
    with Interruption() as stop, progress_of("reading", len(keys.usable) + len(unusable)) as advance:
        watcher.begins()
        try:
            slot, stored = recorder.record(list(keys.usable), unusable, stop, advance)
        except Exception as error:
            with leaving_in_order(watcher.leave):
                watcher.fails(error)
                watcher.finish()
            raise
    with leaving_in_order(watcher.leave):
        watcher.ends([slot], stored)
        _print(slot, as_json=as_json)
        watcher.finish()
    return stop.exit_code if stop.is_set() else code_of([slot], stored)


def _print(slot: Slot, *, as_json: bool) -> None:
    for recorded in sorted(slot.recorded, key=lambda r: (r.outcome.account, r.outcome.slot_at)):
        if as_json:
            sys.stdout.write(msgspec.json.encode(_as_json(recorded)).decode() + "\n")
        elif sys.stdout.isatty():
            sys.stdout.write(_line(recorded) + "\n")
    sys.stdout.flush()


def _choose(keys: Keys, names: tuple[str, ...]) -> Keys:
    if not names:
        return keys
    known = sorted({*keys.usable, *keys.unusable})
    for name in names:
        if name not in known:
            raise NoSuchAccount(f"no account {name!r} in the settings; there are: {', '.join(known)}")
    return Keys(
        {name: key for name, key in keys.usable.items() if name in names},
        {name: error for name, error in keys.unusable.items() if name in names},
    )


def _were_recorded(chosen: Settings, keys: Keys) -> bool:
    """Whether one of these accounts was recorded by a key from a place that the settings still name.

    Then its file is gone or cannot be read, and the slot has that for its reason. Otherwise the settings are not
    finished, or were handed over to another process (by systemd) and not to this one.
    """
    places, remembered = key_places(chosen), build_remembered(chosen)
    return any(remembered.knows(name) and any(places[name].values()) for name in keys.unusable)


def _as_json(recorded: Recorded) -> dict[str, Any]:
    outcome, snapshot, failure = recorded.outcome, recorded.snapshot, recorded.failure
    line: dict[str, Any] = {"account": outcome.account, "slot_at": slot_text(outcome.slot_at)}
    if snapshot is not None:
        line |= {
            "status": snapshot.status.value,
            "taken_at": instant_text(snapshot.taken_at),
            "total_usdt": None if snapshot.total is None else format(snapshot.total, "f"),
            "balances": {
                b.account_type: None if b.amount is None else format(b.amount, "f") for b in snapshot.balances
            },
        }
        if snapshot.reason:
            line["reason"] = snapshot.reason
    elif failure is not None:
        line |= {"status": "failed", "reason": failure.reason.value, "detail": failure.detail}
    line |= {"stored": recorded.stored, "attempts": outcome.attempts}
    if recorded.duplicate:
        line["duplicate"] = True
    return line


def _line(recorded: Recorded) -> str:
    """The same for a person."""
    outcome, snapshot, failure = recorded.outcome, recorded.snapshot, recorded.failure
    where = "stored" if recorded.stored else "waits in the spool"
    if recorded.duplicate:
        where = "the slot had its reading already: the first one is kept"
    if snapshot is not None:
        total = "no total" if snapshot.total is None else f"{snapshot.total:f} USDT"
        what = f"{total}  ({snapshot.status.value}; {where})"
    else:
        reason = failure.reason if failure else Reason.DEFECT
        what = f"failed: {reason.value}" + (f", {failure.detail}" if failure else "")
    return f"{outcome.account}  {slot_text(outcome.slot_at)}  {what}"
