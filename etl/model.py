"""The words of the project as frozen values. Knows no library and no other module of ours.

Every ``*_at`` is an aware datetime in UTC. Amounts are :class:`decimal.Decimal`, in USDT, with the digits BingX sent.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, TypeAlias

# A name becomes part of file names in the state directory, so it must never be able to leave it.
ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Environment(StrEnum):
    """Which BingX answered: the money is real only in ``live``."""

    LIVE = "live"
    VST = "vst"
    SANDBOX = "sandbox"


class Status(StrEnum):
    """``partial``: something that should be in the snapshot is not, so it has no total."""

    COMPLETE = "complete"
    PARTIAL = "partial"


class Provenance(StrEnum):
    """``measured`` by this program, or ``imported`` from a file of the user's."""

    MEASURED = "measured"
    IMPORTED = "imported"


class Reason(StrEnum):
    """Why a slot has no snapshot: the closed vocabulary of ``failure.reason``."""

    KEY_MISSING = "key_missing"  # its key could not be read from the settings
    KEY_REFUSED = "key_refused"  # the key or its secret is wrong, deleted or expired
    IP_NOT_ALLOWED = "ip_not_allowed"  # the key is bound to other addresses than this host's
    PERMISSION_MISSING = "permission_missing"  # the key lacks the permission Read
    ACCOUNT_BLOCKED = "account_blocked"  # suspended, risk control, KYC required
    BACKING_OFF = "backing_off"  # not asked: the refusals before must be mended by a person first
    RATE_LIMITED = "rate_limited"  # BingX said: not before a certain time
    UNAVAILABLE = "unavailable"  # BingX answered that it is unwell
    UNREACHABLE = "unreachable"  # no answer: DNS, connection, TLS, deadline
    CLOCK_SKEW = "clock_skew"  # refused for its timestamp even after the clock offset was measured
    MALFORMED = "malformed"  # the answer could not be understood; it is in quarantine
    REQUEST_REFUSED = "request_refused"  # BingX calls our request wrong: a defect, or a retired path
    OVERRUN = "overrun"  # the slot ended before the account could be asked
    STOPPED = "stopped"  # the program was told to stop, and was not there or had not finished
    CRASHED = "crashed"  # the daemon ended without being told to: killed, out of memory, power lost
    SUSPENDED = "suspended"  # the machine slept, or the daemon was halted
    CLOCK_JUMPED = "clock_jumped"  # the machine's clock was set past the slot
    IDENTITY_MISMATCH = "identity_mismatch"  # the key belongs to another UID than the name's history
    SCHEDULE_CONFLICT = "schedule_conflict"  # two programs with different intervals write one history
    DEFECT = "defect"  # an unexpected error of ours; the detail names it


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole ``code: 0`` answer as it came: our clock when its request was sent, the time to its last byte, its body.

    ``exchange_at`` is the answer's own clock as far as it could be seen without judging the rest; None for none.
    """

    requested_at: datetime
    latency_ms: int
    body: bytes
    exchange_at: datetime | None = None

    @property
    def middle_at(self) -> datetime:
        """The middle of the request by our own clock."""
        return self.requested_at + timedelta(milliseconds=self.latency_ms / 2)


@dataclass(frozen=True, slots=True)
class Reading:
    """What BingX answered for one account in one slot, uninterpreted.

    ``requested_at`` is our own clock when the successful request was sent, ``latency_ms`` runs from there to the last
    byte. ``clock_offset_ms`` is the exchange's clock minus ours, None while it was never measured. ``bodies`` are the
    raw answers in the order they came, more than one when a doubtful one was read again; the last one counts.
    ``key_fingerprint`` tells keys apart without being one. ``doubt`` says what was doubted in the bodies, and whether
    the last one confirms it.
    """

    account: str
    environment: Environment
    slot_at: datetime
    interval_seconds: int
    requested_at: datetime
    latency_ms: int
    clock_offset_ms: int | None
    attempts: int
    key_fingerprint: str
    uid: str | None
    bodies: tuple[bytes, ...]
    doubt: str | None = None

    @property
    def observed_at(self) -> datetime:
        """The middle of the request by our clock, corrected by the exchange's where its offset is known."""
        return self.requested_at + timedelta(milliseconds=self.latency_ms / 2 + (self.clock_offset_ms or 0))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a slot of an account has no snapshot. ``detail`` is for people and never contains a secret or an amount.

    ``slots`` is how many slots in a row, from ``slot_at`` on, have the same reason: nobody was there for any of them.
    """

    account: str
    environment: Environment
    slot_at: datetime
    interval_seconds: int
    reason: Reason
    detail: str
    attempts: int
    first_at: datetime
    last_at: datetime
    slots: int = 1

    def each(self) -> "Iterator[Failure]":
        """One failure per slot."""
        for number in range(self.slots):
            yield replace(self, slot_at=self.slot_at + timedelta(seconds=self.interval_seconds * number), slots=1)


Outcome: TypeAlias = Reading | Failure
"""Every account ends every slot in exactly one of these."""


class Balance(NamedTuple):
    """One wallet. ``amount`` is None where BingX named none; ``raw_type`` is its spelling, only where that differs."""

    account_type: str
    amount: Decimal | None
    raw_type: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, understood. ``exchange_at`` is None where the answer had no usable clock."""

    exchange_at: datetime | None
    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A reading as it is stored. ``total`` is the exact sum of the balances, None when partial.

    ``bodies`` are the raw answers, empty for imported history.
    """

    account: str
    slot_at: datetime
    taken_at: datetime
    requested_at: datetime | None
    latency_ms: int | None
    status: Status
    reason: str | None
    provenance: Provenance
    total: Decimal | None
    attempts: int
    balances: tuple[Balance, ...]
    bodies: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """Which slots were expected when: every multiple of the interval from ``valid_from`` on and before ``valid_to``."""

    interval_seconds: int
    valid_from: datetime
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """An account as the history knows it, with its schedules in order of time."""

    id: int
    name: str
    uid: str | None
    environment: Environment
    created_at: datetime
    retired_at: datetime | None
    schedules: tuple[Schedule, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """An outcome that a history has: of an account, by its id, in a slot, a measured snapshot or else a failure."""

    account_id: int
    slot_at: datetime
    is_snapshot: bool


@dataclass(frozen=True, slots=True)
class CompleteWallets:
    """What a complete, measured, unvoided snapshot said of each wallet: what the next one is compared with.

    ``accepted`` are the wallets that a person has declared gone for good since.
    """

    slot_at: datetime
    amounts: Mapping[str, Decimal]
    accepted: frozenset[str] = frozenset()
