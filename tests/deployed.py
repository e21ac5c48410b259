"""What lies in deploy/, as its tests read it, and systemd's own opinion of a unit."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def words(unit: str, name: str) -> list[str]:
    """What a unit says to a setting, line by line."""
    return [line.partition("=")[2] for line in unit.splitlines() if line.partition("=")[0] == name]


def analyze(*arguments: str | Path) -> tuple[int, str]:
    """What systemd-analyze says, and its exit code."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout
