"""Every error of ours, in one tree. An error's class says what to do next; its message names the remedy.

EtlError
├── NeedsSetting            78  mend a setting, then run again
│   ├── SettingsError           a setting is missing, unknown, contradictory or out of range
│   └── NoSuchAccount           an account is named that neither the settings nor the history know
├── Trouble                     BingX could not be read; the slot gets a failure if it stays so
│   ├── KeyRefused          77  a person must mend the key: not retried in the slot, asked less often after
│   ├── RateLimited         75  wait until the time it names
│   ├── ClockSkew           69  measure the clock offset and ask once more
│   ├── Unreachable         69  nothing came back: retry, then try the fallback
│   ├── Unavailable         69  BingX is unwell: retry with growing pauses
│   ├── MalformedAnswer     65  not an answer of BingX's: retry, then quarantine what came
│   └── RequestRefused      70  BingX calls our request wrong: stop, report a defect
├── TryAgain                75  nothing is lost: run again later, the spool waits
│   ├── DatabaseUnavailable     down, locked, silent, read-only or full
│   └── SchemaNotAtHead         the schema is older or newer than this program
├── NotUnderstood           65  a body or a spool file is not what it should be: quarantine
├── RecordRefused           70  the database will not take this one record: quarantine
├── CopyDiffers             70  a copied history is not what was copied: it was undone, look at what is named
└── Disk                        a file could not be written or read
    ├── CannotCreate        73  a file or directory could not be created
    └── DiskError           74  an input or output error, a full disk
"""

from datetime import datetime


class EtlError(Exception):
    """The root: everything that is foreseen. ``exit_code`` is from sysexits.h, as the contract lists them."""

    exit_code = 70


class NeedsSetting(EtlError):
    """Mend a setting, then run again."""

    exit_code = 78


class SettingsError(NeedsSetting):
    """A setting is missing, unknown, contradictory or out of range."""


class NoSuchAccount(NeedsSetting):
    """An account is named that neither the settings nor the history know."""


class Trouble(EtlError):
    """BingX could not be read. ``reason`` is a value of :class:`etl.model.Reason`; the text is safe to log.

    ``aside`` is a ``code: 0`` answer that came all the same, under a status that denies it: when it was asked for, how
    many ms it took, and its body, which goes to quarantine.
    """

    exit_code = 69

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.aside: tuple[datetime, int, bytes] | None = None


class KeyRefused(Trouble):
    """A person must mend the key or the account. Repeating the call gets the key banned, so it is not retried."""

    exit_code = 77


class RateLimited(Trouble):
    """Not before ``until`` (our own clock), or before a pause of five minutes where BingX named no time.

    ``whole_host`` where the address, not the key, is limited, so that every account has to wait.
    """

    exit_code = 75

    def __init__(self, reason: str, detail: str, until: datetime | None, *, whole_host: bool = False) -> None:
        super().__init__(reason, detail)
        self.until = until
        self.whole_host = whole_host


class ClockSkew(Trouble):
    """Our timestamp was refused: measure the offset to the server's time and ask once more, at once."""


class Unreachable(Trouble):
    """Nothing came back, or not in time, or not whole."""


class Unavailable(Trouble):
    """BingX, or what stands before it, answered that it is unwell."""


class MalformedAnswer(Trouble):
    """An answer that is none of BingX's. ``body`` is kept so that nothing is thrown away unread."""

    exit_code = 65

    def __init__(self, reason: str, detail: str, body: bytes, *, requested_at: datetime, latency_ms: int) -> None:
        super().__init__(reason, detail)
        self.body = body
        self.requested_at = requested_at
        self.latency_ms = latency_ms


class RequestRefused(Trouble):
    """BingX calls our request wrong: a defect of ours, or a path that was retired. Not retried."""

    exit_code = 70


class TryAgain(EtlError):
    """Nothing is lost: what was read waits in the spool. Run again later."""

    exit_code = 75


class DatabaseUnavailable(TryAgain):
    """The database is down, locked, silent, read-only or full."""


class SchemaNotAtHead(TryAgain):
    """The schema is older or newer than this program; the message says which command mends it.

    ``found`` is its revision, None where it has none.
    """

    def __init__(self, text: str, found: str | None = None) -> None:
        super().__init__(text)
        self.found = found


class NotUnderstood(EtlError):
    """A body, a spool file or a file to import is not what it should be; the text says why and quotes no amount."""

    exit_code = 65


class RecordRefused(EtlError):
    """The database will not take this one record, whatever the others."""


class CopyDiffers(EtlError):
    """A copied history is not what was copied. Nothing of the copy is left; the message names what differs."""


class Disk(EtlError):
    """A file could not be written or read."""

    exit_code = 74


class CannotCreate(Disk):
    """A file or directory could not be created."""

    exit_code = 73


class DiskError(Disk):
    """An input or output error, or a full disk."""
