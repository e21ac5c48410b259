"""A mutant's tests, run against a copy of the checkout in which it was applied. The checkout itself is only read."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.mutants.table import ROOT, Mutant

# What the tests need of a checkout.
PARTS = ("etl", "tests", "migrations", "deploy", "alembic.ini", "pyproject.toml", "README.md")
# One that makes a test hang is killed by the test's own timeout; this is for what would outlive even that.
LONGEST_TEST_SECONDS, LONGEST_TRIAL_SECONDS = 30, 300
PYTEST = (
    "-m", "pytest", "-x", "-q", "--tb=short", "-rfEs", "-p", "no:cacheprovider", "-p", "no:xdist",
    "-o", f"timeout={LONGEST_TEST_SECONDS}",
)  # fmt: skip
ALL_PASSED, SOME_FAILED = 0, 1


class Outcome(StrEnum):
    """What became of a mutant; only ``killed`` is good."""

    KILLED = "killed"
    SURVIVED = "survived"  # a test is missing
    NOT_TRIED = "not tried"  # its tests are skipped here
    BROKEN = "broken"  # no test failed, but something else did: nothing is proved


@dataclass(frozen=True, slots=True)
class Trial:
    """One run. ``killed_by`` is the first test that failed; ``said`` is what pytest wrote."""

    outcome: Outcome
    killed_by: str
    seconds: float
    said: str


def copy_checkout(to: Path, root: Path = ROOT) -> None:
    """A copy of what the tests need, compiled so that a file which is changed afterwards is compiled anew."""
    to.mkdir()
    for part in PARTS:
        if (root / part).is_dir():
            shutil.copytree(root / part, to / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(root / part, to / part)
    # By the time of a change, to the second, a mutant of the same size would pass for the original.
    subprocess.run(
        [sys.executable, "-m", "compileall", "-qq", "--invalidation-mode", "checked-hash", "etl", "tests"],
        cwd=to,
        check=False,
    )


def try_mutant(mutant: Mutant, pristine: Path, directory: Path) -> Trial:
    """Apply the mutant to a copy of the copy, and run its tests there. Raises Stale."""
    shutil.copytree(pristine, directory)
    file = directory / mutant.file
    file.write_text(mutant.applied(file.read_text("utf-8")), "utf-8")
    try:
        return run_tests(mutant.tests, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run_tests(tests: Iterable[str], directory: Path) -> Trial:
    """Run these tests in a copy, up to the first that fails."""
    began = time.monotonic()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("BINGX_ETL_", "PYTEST_"))}
    environ |= {"PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ran = subprocess.run(
            [sys.executable, *PYTEST, f"--basetemp={directory / 'tmp'}", *tests],
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=LONGEST_TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Trial(Outcome.BROKEN, "", time.monotonic() - began, "its tests did not come to an end")
    killed_by = re.search(r"^FAILED (\S+::\w+)", ran.stdout, re.MULTILINE)
    if ran.returncode == SOME_FAILED and killed_by:
        outcome = Outcome.KILLED
    elif ran.returncode != ALL_PASSED:
        outcome = Outcome.BROKEN
    elif re.search(r"^SKIPPED ", ran.stdout, re.MULTILINE):
        outcome = Outcome.NOT_TRIED
    else:
        outcome = Outcome.SURVIVED
    return Trial(outcome, killed_by[1] if killed_by else "", time.monotonic() - began, ran.stdout)
