"""BingX as the Source that etl.extract.extract asks for."""

from collections.abc import Mapping

from etl.bingx.address import environment_of
from etl.bingx.client import Client
from etl.bingx.permissions import Rights
from etl.bingx.signing import Credential
from etl.errors import NoSuchAccount
from etl.model import Environment, Fetched

__all__ = ["BingXSource", "environment_of"]


class BingXSource:
    """Accounts by name, each read with a key of its own. NoSuchAccount for a name without one."""

    environment: Environment

    def __init__(self, client: Client, credentials: Mapping[str, Credential], environment: Environment) -> None:
        self._client = client
        self._credentials = credentials
        self.environment = environment

    def balances(self, account: str, clock_offset_ms: int) -> Fetched:
        """The raw overview of an account, asked for with a timestamp of our clock plus the offset."""
        return self._client.balances(self._credential(account), clock_offset_ms)

    def uid(self, account: str, clock_offset_ms: int) -> str:
        """The BingX UID behind the account's key."""
        return self._client.uid(self._credential(account), clock_offset_ms)

    def permissions(self, account: str, clock_offset_ms: int) -> Rights:
        """What the account's key may do, from the endpoint that lists it."""
        return self._client.permissions(self._credential(account), clock_offset_ms)

    def restrictions(self, account: str, clock_offset_ms: int) -> Rights:
        """The same, from the endpoint that has flags for it."""
        return self._client.restrictions(self._credential(account), clock_offset_ms)

    def clock_offset_ms(self) -> int:
        """The exchange's clock minus ours, measured now."""
        return self._client.server_time_offset_ms()

    def key_fingerprint(self, account: str) -> str:
        """Tells the account's key from another without being one."""
        return self._credential(account).fingerprint

    def _credential(self, account: str) -> Credential:
        try:
            return self._credentials[account]
        except KeyError:
            raise NoSuchAccount(f"no API key is set for the account {account}") from None
