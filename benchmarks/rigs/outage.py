"""A spool as an outage leaves it: readings of a hundred accounts. outage.py STATE_DIRECTORY OUTCOMES"""

import sys
from datetime import timedelta
from pathlib import Path

from etl.grid import EPOCH, to_ms
from etl.model import Environment, Reading
from etl.sandbox.answers import balances
from etl.sandbox.wallets import wallets_at
from etl.spool.spool import Spool
from etl.spool.spool_file import encode
from etl.spool.unfinished import SUFFIX

ACCOUNTS = 100
INTERVAL = timedelta(minutes=5)
START = EPOCH + timedelta(days=20_000)


def main() -> None:
    """Written without waiting for the disk; :class:`etl.spool.spool.Spool` itself would take minutes."""
    spool = Spool(Path(sys.argv[1]))
    spool.prepare()
    for number in range(int(sys.argv[2])):
        slot, account = divmod(number, ACCOUNTS)
        slot_at = START + INTERVAL * slot
        requested_at = slot_at + timedelta(seconds=1, milliseconds=account)
        at_ms = to_ms(requested_at) + 30
        reading = Reading(
            account=f"account-{account + 1}",
            environment=Environment.SANDBOX,
            slot_at=slot_at,
            interval_seconds=int(INTERVAL.total_seconds()),
            requested_at=requested_at,
            latency_ms=60,
            clock_offset_ms=0,
            attempts=1,
            key_fingerprint=f"{account:016x}",
            uid=str(10_000_000 + account),
            bodies=(balances(wallets_at(7, account, at_ms), None, at_ms, ()),),
        )
        name = f"{slot_at:%Y%m%dT%H%M%SZ}.{to_ms(requested_at):015d}.{reading.account}.{number:08x}{SUFFIX}"
        (spool.directory / name).write_bytes(encode(reading))


if __name__ == "__main__":
    main()
