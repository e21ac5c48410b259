"""Names of spool files that do not have their final name yet, and whose turn it is to give it to them.

``.NAME.unfinished`` is adopted by whoever finds it whole: its writer has nothing else to do to it.
``.NAME.MS.unsettled`` is a doubted reading that is being read again; nobody but its writer touches it for so many
milliseconds after it was written, which is until its slot is over. That goes by the file's age and not by the time of
the slot, so that no clock that is wrong, or was set, can hold it back for longer.
"""

import re
import time

SUFFIX = ".outcome"
UNSETTLED = ".unsettled"
HIDDEN = re.compile(rf"\.(.+{SUFFIX})(?:\.unfinished|\.([0-9]+){UNSETTLED})")


def hidden(name: str, unsettled_ms: int) -> str:
    """The name of a file until it gets this one; unsettled for so long, or just unfinished for 0."""
    return f".{name}.{unsettled_ms}{UNSETTLED}" if unsettled_ms else f".{name}.unfinished"


def is_hidden(name: str) -> bool:
    """Whether a file has no final name yet."""
    return name.startswith(".") and HIDDEN.fullmatch(name) is not None


def final(name: str) -> str:
    """The name that a file is to get; its own where that is final."""
    match = HIDDEN.fullmatch(name)
    return match[1] if match else name


def age_seconds(modified_at: float) -> float:
    """How long ago a file was written; after a jump of the clock, how far."""
    return abs(time.time() - modified_at)


def is_held(name: str, age: float) -> bool:
    """Whether a file of this age is still its writer's alone."""
    match = HIDDEN.fullmatch(name)
    return match is not None and match[2] is not None and age * 1000 < int(match[2])


def successor(name: str) -> str:
    """The name of an outcome that takes the place of this one: it sorts before it, and so wins where both are left."""
    return f"{name.removesuffix(SUFFIX)}-{SUFFIX}"
