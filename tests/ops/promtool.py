"""Debian's promtool and Prometheus, or the reason why there are none."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def need(program: str, package: str = "prometheus") -> str:
    """The path of a program of a package of Debian's; skips the test where it is missing."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed (Debian: apt-get install {package})")
    return path


def promtool(*arguments: str | Path, given: bytes = b"", codes: Sequence[int] = (0,)) -> str:
    """What it says. Ends the test unless it ends with one of these codes."""
    done = subprocess.run([need("promtool"), *arguments], input=given, capture_output=True, check=False, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode in codes, said
    return said
