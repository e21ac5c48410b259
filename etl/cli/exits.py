"""Exit codes, as in sysexits.h, and which of several wins."""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from etl.errors import EtlError
from etl.model import Reason

if TYPE_CHECKING:  # every command needs exit codes, and few record
    from etl.recorder import Slot, Stored


class Exit(IntEnum):
    """What the contract promises."""

    DONE = 0
    FOUND = 1
    USAGE = 2
    NOT_UNDERSTOOD = 65
    UNAVAILABLE = 69
    BUG = 70
    CANNOT_CREATE = 73
    DISK = 74
    TRY_AGAIN = 75
    KEY_REFUSED = 77
    SETTINGS = 78
    INTERRUPTED = 130
    TERMINATED = 143


# The one that most needs a person wins.
BY_NEED = (78, 77, 65, 70, 74, 73, 69, 75)

BY_REASON = {
    Reason.KEY_MISSING: Exit.SETTINGS,
    Reason.KEY_REFUSED: Exit.KEY_REFUSED,
    Reason.IP_NOT_ALLOWED: Exit.KEY_REFUSED,
    Reason.PERMISSION_MISSING: Exit.KEY_REFUSED,
    Reason.ACCOUNT_BLOCKED: Exit.KEY_REFUSED,
    Reason.BACKING_OFF: Exit.KEY_REFUSED,
    Reason.RATE_LIMITED: Exit.TRY_AGAIN,
    Reason.UNAVAILABLE: Exit.UNAVAILABLE,
    Reason.UNREACHABLE: Exit.UNAVAILABLE,
    Reason.CLOCK_SKEW: Exit.UNAVAILABLE,
    Reason.OVERRUN: Exit.UNAVAILABLE,
    Reason.STOPPED: Exit.UNAVAILABLE,
    Reason.CRASHED: Exit.UNAVAILABLE,
    Reason.SUSPENDED: Exit.UNAVAILABLE,
    Reason.CLOCK_JUMPED: Exit.UNAVAILABLE,
    Reason.MALFORMED: Exit.NOT_UNDERSTOOD,
    Reason.REQUEST_REFUSED: Exit.BUG,
    Reason.DEFECT: Exit.BUG,
    Reason.IDENTITY_MISMATCH: Exit.SETTINGS,
    Reason.SCHEDULE_CONFLICT: Exit.SETTINGS,
}


def most_needing(codes: Iterable[int]) -> int:
    """The code that most needs a person; 0 where nothing does."""
    given = set(codes)
    return next((code for code in BY_NEED if code in given), Exit.DONE)


def verdict(error: Exception) -> tuple[int, str]:
    """The exit code of an error that ends a command, and what to say of it."""
    if isinstance(error, EtlError):
        return error.exit_code, str(error)
    if isinstance(error, OSError):
        return Exit.DISK, f"{error.filename or 'input or output'}: {error.strerror or error}"
    return Exit.BUG, "this is a bug: please report what is said of it. What was read is safe in the spool"


def code_of(slots: "Sequence[Slot]", stored: "Stored") -> int:
    """That of slots that were read, and of one attempt to store them and all that waited."""
    recorded = [each for slot in slots for each in slot.recorded]
    codes: list[int] = [BY_REASON[each.failure.reason] for each in recorded if each.failure]
    codes += [BY_REASON[loaded.failure.reason] for loaded in stored.quarantined if loaded.failure]
    codes += [Exit.NOT_UNDERSTOOD] * stored.damaged
    codes += [Exit.TRY_AGAIN for each in recorded if not each.stored]
    codes += [slot.disk.exit_code for slot in slots if slot.disk is not None]
    if stored.trouble is not None:
        codes.append(stored.trouble.exit_code)
    return most_needing(codes)
