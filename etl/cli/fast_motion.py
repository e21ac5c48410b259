"""More than a year of the sandbox's accounts in fast motion, for the demo's page: its answers, stored as ever."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from etl.bootstrap import build_loader, prepare_database
from etl.config.settings import Settings
from etl.files import make_private_directory
from etl.grid import slot_of, to_ms
from etl.model import Environment, Failure, Outcome, Reading, Reason
from etl.sandbox.answers import balances
from etl.sandbox.exchange import Exchange
from etl.spool.spool import Entry

STEP_SECONDS = 10_800
SLOTS = 420 * 8
# Of the slots: when BingX is away, and when nobody is there to ask.
WITHOUT_BINGX = range(1500, 1526)
NOBODY_THERE = range(2300, 2372)
ONE_FAILS_IN = 150


def record_year(exchange: Exchange, settings: Settings, directory: Path) -> Settings:
    """Store it in a directory of its own, with outages; the settings with which it can be read."""
    make_private_directory(directory)
    settings = replace(settings, state_dir=directory, database_url=f"sqlite:///{directory / 'balances.db'}")
    prepare_database(settings)
    entries = [
        Entry(f"{number:06}", outcome, spooled=False)
        for number, outcome in enumerate(_outcomes(exchange, slot_of(datetime.now(UTC), STEP_SECONDS)))
    ]
    build_loader(settings).load(entries)
    return settings


def _outcomes(exchange: Exchange, last: datetime) -> Iterator[Outcome]:
    luck = Random(1)  # noqa: S311 - which slots fail in a demo is no secret
    for number in range(SLOTS):
        slot_at = last - timedelta(seconds=STEP_SECONDS) * (SLOTS - 1 - number)
        for account in exchange.accounts:
            fails = luck.randrange(ONE_FAILS_IN) == 0
            if number in NOBODY_THERE:
                continue
            at = slot_at + timedelta(seconds=1)
            if fails or number in WITHOUT_BINGX:
                yield Failure(
                    account=account.name,
                    environment=Environment.SANDBOX,
                    slot_at=slot_at,
                    interval_seconds=STEP_SECONDS,
                    reason=Reason.UNAVAILABLE,
                    detail="HTTP 503",
                    attempts=1,
                    first_at=at,
                    last_at=at,
                )
                continue
            at_ms = to_ms(at)
            yield Reading(
                account=account.name,
                environment=Environment.SANDBOX,
                slot_at=slot_at,
                interval_seconds=STEP_SECONDS,
                requested_at=at,
                latency_ms=0,
                clock_offset_ms=None,
                attempts=1,
                key_fingerprint=account.name,
                uid=str(account.uid),
                bodies=(balances(exchange.wallets(account.name, at_ms), None, at_ms, ()),),
            )
