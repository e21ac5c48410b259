"""What readings come from, as :mod:`etl.extract` needs it: BingX, or a test."""

from typing import Protocol

from etl.model import Environment, Fetched


class Source(Protocol):
    """Where readings come from. Every method may be called from several threads at once; each raises Trouble."""

    environment: Environment

    def balances(self, account: str, clock_offset_ms: int) -> Fetched:
        """The raw overview of an account, asked for with a timestamp of our clock plus the offset."""

    def uid(self, account: str, clock_offset_ms: int) -> str:
        """The BingX UID behind the account's key."""

    def clock_offset_ms(self) -> int:
        """The exchange's clock minus ours, measured now."""

    def key_fingerprint(self, account: str) -> str:
        """Tells the account's key from another without being one."""


class Stop(Protocol):
    """Set when the program is told to end."""

    def is_set(self) -> bool:
        """Whether to stop."""
