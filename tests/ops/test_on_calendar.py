"""When a timer fires: at the beginning of every slot, and at no other time."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from etl.grid import DAY
from etl.ops.on_calendar import on_calendar

MARCH = datetime(2026, 3, 29, tzinfo=UTC)  # where Europe's clocks are changed
INTERVALS = [seconds for seconds in range(1, DAY + 1) if DAY % seconds == 0]


def numbers(text: str, limit: int) -> list[int]:
    """What one part of an expression stands for."""
    if text == "*":
        return list(range(limit))
    start, slash, step = text.partition("/")
    return list(range(int(start), limit, int(step))) if slash else [int(number) for number in text.split(",")]


def due(expression: str) -> list[int]:
    """The seconds of a day at which an expression is due."""
    match = re.fullmatch(r"\*-\*-\* ([^ :]+):([^ :]+):([^ :]+) UTC", expression)
    assert match, expression
    parts = (numbers(text, limit) for text, limit in zip(match.groups(), (24, 60, 60), strict=True))
    return [hour * 3600 + minute * 60 + second for hour, minute, second in product(*parts)]


@pytest.mark.parametrize("interval", INTERVALS)
def test_each_slot_of_a_day_is_due_once(interval: int) -> None:
    found = [at for expression in on_calendar(interval) for at in due(expression)]
    assert sorted(found) == list(range(0, DAY, interval))


def test_the_usual_intervals_are_one_line_that_a_person_would_write() -> None:
    assert [on_calendar(seconds) for seconds in (1, 30, 60, 300, 900, 3600, 14_400, DAY)] == [
        ["*-*-* *:*:* UTC"],
        ["*-*-* *:*:00/30 UTC"],
        ["*-*-* *:*:00 UTC"],
        ["*-*-* *:00/5:00 UTC"],
        ["*-*-* *:00/15:00 UTC"],
        ["*-*-* *:00:00 UTC"],
        ["*-*-* 00/4:00:00 UTC"],
        ["*-*-* 00:00:00 UTC"],
    ]


@pytest.mark.parametrize("interval", [1, 18, 300, 2700, 5400, DAY])
def test_systemd_understands_it_in_the_same_way(interval: int) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    done = subprocess.run(
        [
            "systemd-analyze",
            "calendar",
            "--iterations=20",
            "--base-time=2026-03-29 00:00:01 UTC",
            *on_calendar(interval),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "TZ": "UTC", "LC_ALL": "C"},
    )
    found = sorted(re.findall(r"(?:Next elapse|Iter\. #[0-9]+): \w+ (\S+ \S+) UTC", done.stdout))[:20]
    first = MARCH + timedelta(seconds=max(interval, 2))  # the base time itself is over
    assert [datetime.fromisoformat(f"{at}+00:00") for at in found] == [
        first + timedelta(seconds=interval) * number for number in range(20)
    ]
