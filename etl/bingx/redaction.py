"""Taking the key, the secret and the signature out of what a hostile or careless server echoes."""

import re
from collections.abc import Iterable

# Below this length a value would be found by chance in honest answers, and no key of BingX's is as short.
SHORTEST = 8
SHORT_ESCAPES = {"/": r"\\?/", '"': r"\\?\"", "\\": r"\\\\?"}  # what JSON may write with a backslash


def redact(data: bytes, secrets: Iterable[str]) -> bytes:
    """``data`` with each secret, in either case and however JSON may escape it, replaced by ``***``."""
    escaped = b"\\" in data
    lowered = data.lower()
    # The longest first: where one is the beginning of another, the rest of that would stay.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST and (escaped or secret.lower().encode() in lowered):
            data = re.sub(_pattern(secret), b"***", data, flags=re.IGNORECASE)
    return data


def _pattern(secret: str) -> bytes:
    return "".join(rf"(?:\\u00{ord(c):02x}|{SHORT_ESCAPES.get(c, re.escape(c))})" for c in secret).encode()
