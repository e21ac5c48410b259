"""Whether this user's crontab starts a run in every slot. Other people's, and timers, show only in what is recorded."""

import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta

from etl.grid import DAY, format_duration
from etl.ops.finding import Finding, Verdict

CHECK = "crontab"
ANSWERS_WITHIN_SECONDS = 5
NICKNAMES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *"}
RUN = re.compile(r"(?:bingx-etl|-m\s+etl)\b.*\bsnapshot\b")
ACCOUNTS = re.compile(r"--account[= ]\s*(\S+)")
PART = re.compile(r"(?:\*|([0-9]{1,2})(?:-([0-9]{1,2}))?)(?:/([0-9]{1,2}))?")


def read_crontab() -> str | None:
    """This user's crontab; None where there is none, or no cron. Raises OSError and subprocess.TimeoutExpired."""
    program = shutil.which("crontab")
    if program is None:
        return None
    # Its environment is bare: there may be a key in ours.
    done = subprocess.run(  # noqa: S603 - nothing of a user's is in the command
        [program, "-l"],
        env={"PATH": os.defpath, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=ANSWERS_WITHIN_SECONDS,
        check=False,
    )
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def check_crontab(crontab: str | None, interval_seconds: int, utc_offset: timedelta) -> Iterator[Finding]:
    """Which slots of a day get a run. Cron goes by the local time, which is ``utc_offset`` ahead of that of slots."""
    lines = [line.strip() for line in (crontab or "").splitlines() if not line.lstrip().startswith("#")]
    runs = defaultdict[str, set[int]](set)
    for line in filter(RUN.search, lines):
        minutes = minutes_of(line)
        if minutes is None:
            says = "a line that starts snapshot is more than this check understands"
            yield Finding(CHECK, Verdict.UNKNOWN, says, "the check `cadence` goes by what is recorded")
            return
        runs[" ".join(sorted(ACCOUNTS.findall(line)))] |= minutes
    if not runs:
        yield Finding(CHECK, Verdict.SKIPPED, "no line of this user's crontab starts snapshot")
    for accounts, minutes in runs.items():
        slots = {(minute * 60 - round(utc_offset.total_seconds())) % DAY // interval_seconds for minute in minutes}
        every = DAY // interval_seconds
        if len(slots) < every:
            says = f"it starts a run in {len(slots)} of the {every} slots of a day"
            remedy = f"let it start one every {format_duration(interval_seconds)}, or set interval to what it does"
            yield Finding(CHECK, Verdict.PROBLEM, says, remedy, tuple(accounts.split()))
        else:
            yield Finding(CHECK, Verdict.OK, "it starts a run in every slot", accounts=tuple(accounts.split()))


def minutes_of(line: str) -> set[int] | None:
    """The minutes of a day in which a line of a crontab starts its command; None for other days, and other forms."""
    name, _, command = line.partition(" ")
    fields = (f"{NICKNAMES[name]} {command}" if name in NICKNAMES else line).split(None, 5)
    if len(fields) < 6 or fields[2:5] != ["*"] * 3:  # noqa: PLR2004 - five fields and a command
        return None
    minutes, hours = _numbers(fields[0], 59), _numbers(fields[1], 23)
    if minutes is None or hours is None:
        return None
    return {hour * 60 + minute for hour in hours for minute in minutes}


def _numbers(field: str, last: int) -> set[int] | None:
    """crontab(5): numbers, ranges, ``*``, each with a step, in a list."""
    found: set[int] = set()
    for part in field.split(","):
        match = PART.fullmatch(part)
        if match is None or match[3] == "0":
            return None
        first, end, step = match.groups()
        if first is None:
            found.update(range(0, last + 1, int(step or 1)))
        elif end is None and step is not None:
            return None  # not every cron knows this form, and those that do mean different things by it
        else:
            found.update(range(int(first), int(end or first) + 1, int(step or 1)))
    return found if found and max(found) <= last else None
