"""A curve in one line of text, for a glance in the terminal."""

from collections.abc import Sequence
from decimal import Decimal

LEVELS = "▁▂▃▄▅▆▇█"


def curve(values: Sequence[Decimal | None], width: int) -> str:
    """The values from left to right, the lowest at the bottom and the highest at the top; a gap where there is none.

    Where there are more of them than columns, each column shows the last value of its share. Empty without any value.
    """
    known = [value for value in values if value is not None]
    if not known or width < 1:
        return ""
    low, high = min(known), max(known)
    columns = min(width, len(values))
    shares = (values[len(values) * n // columns : len(values) * (n + 1) // columns] for n in range(columns))
    last = (next((value for value in reversed(share) if value is not None), None) for share in shares)
    return "".join(" " if value is None else LEVELS[_level(value, low, high)] for value in last)


def can_show_blocks(encoding: str | None) -> bool:
    """Whether a terminal of this encoding has the characters of a curve."""
    try:
        LEVELS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _level(value: Decimal, low: Decimal, high: Decimal) -> int:
    """Rounded, which is enough for a picture; a line that is flat runs through the middle."""
    return len(LEVELS) // 2 if low == high else min(int((value - low) / (high - low) * len(LEVELS)), len(LEVELS) - 1)
