"""Whole processes and rounds within processes, interleaved, as seconds of wall and CPU time and bytes of memory."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took. ``peak_bytes`` is 0 where it was not measured."""

    wall: float
    cpu: float
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``met`` is None where there is nothing to reach."""

    what: str
    against: str
    reached: str
    to_reach: str
    met: bool | None
    figures: Mapping[str, float] = field(default_factory=dict)


def environment(**more: str) -> dict[str, str]:
    """A clean one: nothing of the caller's settings, and compiled modules are used and kept."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "BINGX_TEST_POSTGRES_URL")
    return {name: os.environ[name] for name in kept if name in os.environ} | more


def run(command: Sequence[str | Path], env: Mapping[str, str]) -> Cost:
    """One whole process, from its start to its end. RuntimeError, with what it said, where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        env=dict(env),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{said.decode(errors='replace')[-3000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MAXRSS_UNIT)


class Rounds:
    """A process that does so many rounds whenever it reads a number, and prints what they took."""

    def __init__(self, command: Sequence[str | Path], env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [str(part) for part in command],
            env=dict(env),
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __call__(self, rounds: int) -> Cost:
        """The time per round."""
        wall, cpu, *_ = self._ask(rounds)
        return Cost(wall / rounds, cpu / rounds)

    def _ask(self, rounds: int) -> list[float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{rounds}\n")
        self._process.stdin.flush()
        told = self._process.stdout.readline()
        if not told:
            raise RuntimeError("a contestant ended")
        return [float(word) for word in told.split()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process has in use."""

    memory_bytes: int
    descriptors: int
    threads: int


class Samples(Rounds):
    """The same of a process that also prints its memory, descriptors and threads."""

    def sample(self, rounds: int) -> Sample:
        """What it has in use after so many more rounds."""
        _, _, *counts = self._ask(rounds)
        return Sample(*map(int, counts))


def interleaved(contestants: Mapping[str, Callable[[], Cost]], runs: int) -> dict[str, list[Cost]]:
    """Each once to warm up, then so many runs of each: A B C A B C …"""
    for contestant in contestants.values():
        contestant()
    found: dict[str, list[Cost]] = {name: [] for name in contestants}
    for number in range(runs):
        for name, contestant in contestants.items():
            progress(f"{name} {number + 1}/{runs}")
            found[name].append(contestant())
    progress("")
    return found


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure, the highest peak."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        max(cost.peak_bytes for cost in costs),
    )


def duel(what: str, ours: Sequence[Cost], against: str, theirs: Sequence[Cost], *, most: float, unit: str = "s") -> Row:
    """The row that compares wall time, and shows CPU time beside it."""
    a, b = median(ours), median(theirs)
    wall, cpu = a.wall / b.wall, a.cpu / b.cpu
    scale = 1000 if unit == "ms" else 1
    digits = 0 if unit == "ms" and a.wall > 0.1 else 2
    return Row(
        what,
        against,
        f"{wall:.2f} times ({a.wall * scale:.{digits}f} {unit} : {b.wall * scale:.{digits}f} {unit});"
        f" CPU {cpu:.2f} ({a.cpu * scale:.{digits}f} : {b.cpu * scale:.{digits}f})",
        f"≤ {most:g} times",
        wall <= most,
        {
            "wall_ratio": wall,
            "cpu_ratio": cpu,
            "wall_seconds": a.wall,
            "cpu_seconds": a.cpu,
            "baseline_wall_seconds": b.wall,
            "baseline_cpu_seconds": b.cpu,
            "runs": len(ours),
        },
    )


def progress(text: str) -> None:
    """One line on a terminal, nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text[:100]}")
        sys.stderr.flush()
