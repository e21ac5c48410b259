"""A first, lenient look at an answer: is it BingX's, and does it say 0? Judging the rest is for etl.bingx.answers."""

import json
import re
from dataclasses import dataclass
from datetime import datetime

from etl.grid import from_ms


class NumberText(str):
    """A JSON number in its original text: never converted, so that no digit is lost and its length costs nothing."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """The part that all answers of BingX's share.

    ``code`` is 0 for success; ``message`` is empty where there is none; ``exchange_at`` is the exchange's clock, None
    where it is missing or no time.
    """

    code: int
    message: str
    exchange_at: datetime | None


def peek(body: bytes) -> Envelope | None:
    """The envelope of an answer, None where it is no JSON object with a code."""
    try:
        answer = json.loads(
            body.decode("utf-8-sig", errors="replace"),
            parse_int=NumberText,
            parse_float=NumberText,
            parse_constant=NumberText,
            strict=False,
        )
    except (ValueError, RecursionError):
        return None
    code = code_of(answer.get("code")) if isinstance(answer, dict) else None
    if code is None:
        return None
    message = answer.get("msg")
    return Envelope(code, message if type(message) is str else "", instant_of(answer.get("timestamp")))


def code_of(value: object) -> int | None:
    """BingX's code, an integer or the decimal text of one; None for anything else, false and 0.0 included."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value) else None


def instant_of(value: object) -> datetime | None:
    """A Unix time in milliseconds, an integer or the digits of one, as an instant; None for anything else."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,15}", value):
        return None
    try:
        return from_ms(int(value))
    except (ValueError, OverflowError):
        return None
