"""Log lines on stderr, as text or JSON, with secrets taken out of everything, tracebacks included."""

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from etl.grid import instant_text

HIDDEN = "***"
# What a signed address looks like, in whatever text it turns up, and a password within a URL.
PATTERNS = (
    (re.compile(r"(signature=)[0-9A-Za-z%]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)"), rf"\1{HIDDEN}\2"),
)


# Below this length, which no key of BingX's has, a secret is found by chance within other words.
SHORTEST = 8


class Redactor:
    """Takes the secrets it was told of out of a text, and whatever looks like a signature or a password in a URL.

    A very short secret is one only where it stands alone: to mask every such letter would leave no text.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # As it is, and as Python and then JSON quote it; the longest first, for one may be the beginning of another.
        told = {secret for secret in secrets if secret}
        forms = told | {repr(secret)[1:-1] for secret in told}
        forms |= {json.dumps(form)[1:-1] for form in forms}
        self._secrets = [_pattern(form) for form in sorted(forms, key=len, reverse=True)]

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = secret.sub(HIDDEN, text)
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        return text


class Formatter(logging.Formatter):
    """One line per event: text for people, or one JSON object. ``fields`` given with an event are its stable keys."""

    def __init__(self, log_format: str, redact: Redactor) -> None:
        super().__init__()
        self._json = log_format == "json"
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line, redacted after everything else has been done to it."""
        at = instant_text(datetime.fromtimestamp(record.created, UTC))
        fields: dict[str, Any] = getattr(record, "fields", {})
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        if self._json:
            event = {"at": at, "level": record.levelname.lower(), "event": record.getMessage(), **fields}
            return self.redact(json.dumps({**event, "traceback": traceback} if traceback else event))
        words = [at, record.levelname.lower(), record.getMessage()]
        words += [f"{key}={_logfmt(value)}" for key, value in fields.items()]
        return self.redact(" ".join(words) + (f"\n{traceback}" if traceback else ""))


def _logfmt(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return json.dumps(text) if re.search(r'[\s"=]', text) else text


def _pattern(secret: str) -> re.Pattern[str]:
    if len(secret) >= SHORTEST:
        return re.compile(re.escape(secret))
    return re.compile(rf"(?<![0-9A-Za-z]){re.escape(secret)}(?![0-9A-Za-z])")


def redacted(text: str) -> str:
    """A text that goes past the log, without the secrets that the log was told of."""
    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    redact = next((each.redact for each in formatters if isinstance(each, Formatter)), Redactor())
    return redact(text)


def configure(log_format: str = "text", secrets: Iterable[str] = (), level: int = logging.INFO) -> None:
    """Send every log event of this program and its libraries to stderr; those of libraries from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(log_format, Redactor(secrets)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("etl").setLevel(level)
    # What it warns of is in our own errors as well; its texts have the address in them, and whole tracebacks.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
