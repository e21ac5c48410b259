"""Log lines on stderr, as logfmt or JSON, with secrets taken out of everything, tracebacks included.

One line per event. What has keys of its own says so by ``fields``; its text is then the event's stable name. Everything
else is a ``note`` of ours, or from a ``library``, with its ``text``.
"""

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
    ("signature=", re.compile(r"(signature=)[0-9A-Za-z%]+"), rf"\1{HIDDEN}"),
    ("://", re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)"), rf"\1{HIDDEN}\2"),
)


# Below this length, which no key of BingX's has, a secret is found by chance within other words.
SHORTEST = 8
NOTE = "note"
LIBRARY = "library"


class Redactor:
    """Takes the secrets it was told of out of a text, and whatever looks like a signature or a password in a URL.

    A very short secret is one only where it stands alone: to mask every such letter would leave no text. The time it
    takes does not depend on the number of secrets: a fleet has thousands, and a line for each account.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # As it is, and as Python and then JSON quote it; the longest first, for one may be the beginning of another.
        told = {secret for secret in secrets if secret}
        forms = told | {repr(secret)[1:-1] for secret in told}
        forms |= {json.dumps(form)[1:-1] for form in forms}
        self._short = [_standing_alone(form) for form in forms if len(form) < SHORTEST]
        self._long: dict[str, list[str]] = {}
        for form in sorted(forms, key=len, reverse=True):
            if len(form) >= SHORTEST:
                self._long.setdefault(form[:SHORTEST], []).append(form)

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._long:
            found = {text[at : at + SHORTEST] for at in range(len(text) - SHORTEST + 1)} & self._long.keys()
            for secret in sorted((form for each in found for form in self._long[each]), key=len, reverse=True):
                text = text.replace(secret, HIDDEN)
        for short in self._short:
            text = short.sub(HIDDEN, text)
        for sign, pattern, replacement in PATTERNS:
            if sign in text:
                text = pattern.sub(replacement, text)
        return text


class Formatter(logging.Formatter):
    """One line per event: logfmt for people and programs, or one JSON object."""

    def __init__(self, log_format: str, redact: Redactor) -> None:
        super().__init__()
        self._json = log_format == "json"
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line. Each value is redacted before it is quoted, so that what is hidden cannot break the line."""
        event = {
            "at": instant_text(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            **{key: self._hidden(value) for key, value in _content(record).items()},
        }
        if record.exc_info:
            event["traceback"] = self.redact(self.formatException(record.exc_info))
        return json.dumps(event) if self._json else " ".join(f"{key}={_logfmt(value)}" for key, value in event.items())

    def _hidden(self, value: object) -> object:
        return value if value is None or isinstance(value, bool | int | float) else self.redact(str(value))


def _content(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] | None = getattr(record, "fields", None)
    if fields is not None:
        return {"event": record.getMessage(), **fields}
    if record.name.partition(".")[0] == "etl":
        return {"event": NOTE, "text": record.getMessage()}
    return {"event": LIBRARY, "logger": record.name, "text": record.getMessage()}


def _logfmt(value: object) -> str:
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if re.fullmatch(r"[!#-<>-~]+", text) else json.dumps(text)


def _standing_alone(secret: str) -> re.Pattern[str]:
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
