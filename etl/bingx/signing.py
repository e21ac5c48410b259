"""What BingX wants of a private request: a key in a header and a signature over the very bytes that are sent."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from etl.errors import SettingsError

FINGERPRINT_PREFIX = b"bingx-etl key fingerprint\0"


@dataclass(frozen=True, slots=True)
class Credential:
    """An API key and its secret; its repr shows neither. Raises SettingsError for what could not travel in a header."""

    key: str = field(repr=False)
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        for what, value in (("key", self.key), ("secret", self.secret)):
            if not value:
                raise SettingsError(f"the API {what} is empty")
            if not (value.isascii() and value.isprintable()):
                raise SettingsError(f"the API {what} has characters that no API {what} has: copy it again from BingX")
            if value != value.strip():
                raise SettingsError(f"the API {what} begins or ends with a space")

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell this pair from another and cannot be turned back into it.

        The secret is part of it, so that one that was mistyped and then corrected counts as new.
        """
        return hashlib.sha256(FINGERPRINT_PREFIX + f"{self.key}\0{self.secret}".encode()).hexdigest()[:16]


def query_string(parameters: Mapping[str, str | int]) -> str:
    """``a=1&b=2``, sorted by name, percent-encoded: the one form that is both signed and sent."""
    return "&".join(f"{quote(name, safe='')}={quote(str(parameters[name]), safe='')}" for name in sorted(parameters))


def signature(secret: str, text: str) -> str:
    """Lower-case hex HMAC-SHA256 of the text, as BingX documents it."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
