"""The daemon's work on a slot, driven by a clock of our own: real source, extract, spool, database.

Reads a number from stdin, does so many slots and prints: seconds, CPU seconds, bytes of memory, descriptors, threads.
"""

import gc
import os
import resource
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

from etl.bingx.client import Client, Credential
from etl.bingx.source import BingXSource, environment_of
from etl.bootstrap import build_loader, build_remembered
from etl.cli import COLLECT_AFTER_OBJECTS
from etl.clock import Clock
from etl.config.keys import read_keys
from etl.config.settings import Settings, read_settings
from etl.extract.limiter import SlidingWindow
from etl.extract.patience import Plan
from etl.files import replace_file
from etl.grid import EPOCH, slot_text
from etl.logs import configure
from etl.recorder import Recorder

START = EPOCH + timedelta(days=20_000)


class SlotClock:
    """Time passes as it does, but each slot begins when it is told to."""

    def __init__(self, interval_seconds: int) -> None:
        self._interval = timedelta(seconds=interval_seconds)
        self._slot_at = START
        self._began = time.monotonic()

    def next(self) -> None:
        """The next slot begins."""
        self._slot_at += self._interval
        self._began = time.monotonic()

    def now(self) -> datetime:
        """The time."""
        return self._slot_at + timedelta(seconds=time.monotonic() - self._began)


class Rig:
    """What :mod:`etl.bootstrap` and :mod:`etl.daemon.daemon` put together, with the clock passed in."""

    def __init__(self, settings: Settings) -> None:
        keys = read_keys(settings)
        self._clock = SlotClock(settings.interval_seconds)
        self._accounts = list(keys.usable)
        clock = Clock(now=self._clock.now)
        client = Client(settings.base_url, now=clock.now)
        credentials = {name: Credential(key.key, key.secret) for name, key in keys.usable.items()}
        plan = Plan(
            interval_seconds=settings.interval_seconds,
            retry_for_seconds=settings.retry_for_seconds,
            request_timeout_seconds=settings.request_timeout_seconds,
            limiter=SlidingWindow(*settings.ip_limit, settings.state_dir / "balances.limit"),
            uid_limiter=SlidingWindow(*settings.ip_limit, settings.state_dir / "uid.limit"),
        )
        source = BingXSource(client, credentials, environment_of(settings.base_url))
        self._recorder = Recorder(source, build_remembered(settings), build_loader(settings), plan, clock=clock)
        self._sign_of_life = settings.state_dir / "sign-of-life"

    def record(self) -> None:
        """One slot, whole."""
        self._clock.next()
        slot, stored = self._recorder.record(self._accounts, {}, threading.Event())
        # The daemon's sign of life, which it writes in every slot (etl.daemon.absence).
        replace_file(self._sign_of_life, slot_text(self._clock.now()).encode())
        if stored.trouble or not all(recorded.stored and recorded.snapshot for recorded in slot.recorded):
            raise RuntimeError(f"a slot was not recorded: {stored} {slot.recorded}")


def memory_bytes() -> int:
    """Resident memory now; where the system does not tell, its peak."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Until stdin ends."""
    gc.set_threshold(COLLECT_AFTER_OBJECTS)  # as the program does
    settings = read_settings(None)
    configure(settings.log_format)
    rig = Rig(settings)
    descriptors = Path("/dev/fd")
    for line in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            rig.record()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        time.sleep(0.2)  # threads that have done their work end in their own time
        counts = len(os.listdir(descriptors)), threading.active_count()
        print(wall, cpu, memory_bytes(), *counts, flush=True)


if __name__ == "__main__":
    main()
