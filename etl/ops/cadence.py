"""Whether what starts us comes as often as the interval says: inferred from the slots that were recorded.

A crontab can be read wrongly, may be another user's, and may not be what starts us at all. Where only every third slot
has an outcome, the cadence is three intervals, whatever it is that comes so.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from etl.grid import format_duration
from etl.ops.database_checks import Facts
from etl.ops.finding import Finding, Verdict

FEWEST_STEPS = 3
# A cadence is what so many of the last steps have in common.
STEADY = 0.75
# Nobody came for so many intervals: that is no cadence any more.
ABSENT = 3
AT_LEAST = timedelta(seconds=30)


def check_cadence(facts: Facts, interval_seconds: int, now: datetime) -> Iterator[Finding]:
    """Of each account that is expected."""
    check = "cadence"
    if isinstance(facts.accounts, Exception) or not isinstance(facts.slots, Mapping) or not facts.accounts:
        yield Finding(check, Verdict.SKIPPED, "nothing is recorded yet, or the database cannot be asked")
        return
    for name, slots in facts.slots.items():
        step = facts.accounts[name].schedules[-1].interval_seconds
        found = _cadence(slots, step)
        at = (name,)
        if step != interval_seconds:
            says = f"it was recorded every {format_duration(step)}, and interval is {format_duration(interval_seconds)}"
            yield Finding(check, Verdict.WARNING, says, "with the next run its slots are those of interval", at)
        elif slots and now - slots[0] > max(ABSENT * timedelta(seconds=step), AT_LEAST):
            says = "nobody has come for three intervals or longer"
            yield Finding(check, Verdict.WARNING, says, "look at the cron line, the timer or the daemon", at)
        elif found is None:
            yield Finding(
                check, Verdict.UNKNOWN, "too few slots are recorded yet, or none at a steady pace", accounts=at
            )
        elif found > 1:
            says = f"it is recorded every {format_duration(found * step)}, and interval is {format_duration(step)}"
            remedy = f"start it every {format_duration(step)}, or set interval to what it is started by"
            yield Finding(check, Verdict.PROBLEM, says, remedy, at)
        else:
            yield Finding(check, Verdict.OK, f"somebody comes every {format_duration(step)}", accounts=at)


def _cadence(slots: Sequence[datetime], interval_seconds: int) -> int | None:
    """Every which slot has an outcome; None where there are too few, or no steady pace."""
    steps = [round((late - early).total_seconds()) // interval_seconds for late, early in pairwise(slots)]
    if len(steps) < FEWEST_STEPS:
        return None
    middle = round(median(steps))
    return middle if sum(step == middle for step in steps) >= STEADY * len(steps) else None
