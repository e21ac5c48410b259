"""What has to outlive a run: the UID behind each key, refusals, blocks and the clock offset, in small files.

They are hints. A missing or damaged file is an empty one: at worst BingX is asked once more than necessary.
"""

import contextlib
import logging
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from etl.doubt import WalletMemory
from etl.files import make_private_directory, replace_file

log = logging.getLogger(__name__)
T = TypeVar("T")
# A measured clock offset tells of readings from at most so long before or after.
NEAR = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A key, by its fingerprint, was refused so many ``times`` in a row; it is not asked before ``ask_again_at``."""

    key_fingerprint: str
    reason: str
    detail: str
    times: int
    since: datetime
    ask_again_at: datetime


@dataclass(frozen=True, slots=True)
class Block:
    """BingX limits us, as was noted at ``since``, until ``until``; both of our clock."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class AccountMemory:
    """One account: the UID behind each key seen, by the key's fingerprint; its refusal; until when BingX limits it.

    ``begun_with`` is the key of its first reading, ``uid_refusal`` that of the question for the UID. ``wallets`` has
    names of wallets and no amounts, so that it changes rarely: a file a slot would cost a fleet more than its readings.
    """

    uids: dict[str, str] = field(default_factory=dict)
    refusal: Refusal | None = None
    block: Block | None = None
    uid_refusal: Refusal | None = None
    begun_with: str | None = None
    wallets: WalletMemory = field(default_factory=WalletMemory)


@dataclass(frozen=True, slots=True)
class HostMemory:
    """What holds for all accounts of this host: the exchange's clock minus ours, and until when it is limited."""

    clock_offset_ms: int | None = None
    offset_measured_at: datetime | None = None
    block: Block | None = None

    def offset_near(self, instant: datetime) -> int | None:
        """The exchange's clock minus ours in ms, where it was measured at about that time of ours."""
        if self.offset_measured_at is None or abs(instant - self.offset_measured_at) > NEAR:
            return None
        return self.clock_offset_ms


class Remembered:
    """The files, one per account and one for the host, in the state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.accounts_directory = state_dir / "remembered" / "accounts"
        self._host_file = state_dir / "remembered" / "host.json"
        # What the disk would not take is remembered as long as this process lives.
        self._unwritten: dict[Path, AccountMemory | HostMemory] = {}
        self._lock = threading.Lock()

    def account(self, name: str) -> AccountMemory:
        """What is remembered of an account."""
        return self._read(self._account_file(name), AccountMemory())

    def host(self) -> HostMemory:
        """What is remembered of the host."""
        return self._read(self._host_file, HostMemory())

    def keep_account(self, name: str, memory: AccountMemory) -> None:
        """Remember it. A disk that refuses costs a hint, not a reading: it is logged.

        Whoever reads a slot has looked before it was stored: what the account was begun with stays.
        """
        with self._lock:
            if memory.begun_with is None:
                memory = replace(memory, begun_with=self.account(name).begun_with)
            self._write(self._account_file(name), memory)

    def keep_host(self, memory: HostMemory) -> None:
        """The same for the host."""
        self._write(self._host_file, memory)

    def knows(self, name: str) -> bool:
        """Whether anything was ever remembered of this account."""
        return self._account_file(name).is_file()

    def forget(self, name: str) -> None:
        """Nothing is remembered of the account any more."""
        with contextlib.suppress(OSError):
            self._account_file(name).unlink(missing_ok=True)

    def _account_file(self, name: str) -> Path:
        return self.accounts_directory / f"{name}.json"

    def _read(self, path: Path, default: T) -> T:
        kept = self._unwritten.get(path)
        if isinstance(kept, type(default)):
            return kept
        try:
            return msgspec.json.decode(path.read_bytes(), type=type(default))
        except FileNotFoundError:
            return default
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s is passed over: %s", path, type(error).__name__)
            return default

    def _write(self, path: Path, memory: AccountMemory | HostMemory) -> None:
        try:
            make_private_directory(path.parent.parent)
            make_private_directory(path.parent)
            replace_file(path, msgspec.json.encode(memory))
            self._unwritten.pop(path, None)
        except Exception as error:  # noqa: BLE001 - whatever refuses a hint, the reading goes on
            self._unwritten[path] = memory
            log.warning("%s could not be written: %s", path, type(error).__name__)
