"""What was set aside: files of the spool, each with a note that says why and when."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

NOTE = ".reason"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One file that was set aside, why and when."""

    name: str
    reason: str
    detail: str
    at: datetime | None


def quarantined(directory: Path) -> list[Quarantined]:
    """What a directory has, oldest slot first."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    return [_quarantined(directory, name) for name in names if not name.endswith(NOTE)]


def _quarantined(directory: Path, name: str) -> Quarantined:
    try:
        note = msgspec.json.decode((directory / f"{name}{NOTE}").read_bytes())
        return Quarantined(name, note["reason"], note["detail"], datetime.fromisoformat(note["at"]))
    except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError):
        return Quarantined(name, "unknown", "its note is missing or unreadable", None)
