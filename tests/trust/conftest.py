"""How long the tests of trust go on, and what they did.

``make test`` runs their short form. ``make torture`` sets BINGX_TEST_LONG_SECONDS, for which each of the open-ended
ones (sweeps, states, rounds) goes on, and BINGX_TEST_TALLY, a file that collects what was done.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def long_seconds() -> float:
    """How long an open-ended test may go on in the long form; 0 in the short form."""
    return float(os.environ.get("BINGX_TEST_LONG_SECONDS", "0"))


@pytest.fixture(scope="session")
def tally() -> Callable[..., None]:
    """Counts what was done: ``tally("faults injected")``, ``tally("states explored", 40)``."""
    file = os.environ.get("BINGX_TEST_TALLY")

    def count(what: str, number: int = 1) -> None:
        if file:
            with Path(file).open("a", encoding="utf-8") as lines:  # one short line, appended whole
                lines.write(f"{number} {what}\n")

    return count
