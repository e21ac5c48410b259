"""What each BingX code and HTTP status means for us: the Trouble to raise. Pure, and both numberings of BingX's.

The codes and texts are BingX's documentation before and after its renumbering of 2025-10-16, and reports of clients.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from etl.errors import ClockSkew, KeyRefused, RateLimited, RequestRefused, Trouble, Unavailable, Unreachable
from etl.grid import from_ms
from etl.model import Reason

FARTHEST_WAIT = timedelta(hours=24)
FIREWALL_PAUSE = timedelta(minutes=5)
LONGEST_QUOTE = 200

A_PERSON_MUST_ACT: Mapping[int, tuple[Reason, str]] = {
    100001: (Reason.KEY_REFUSED, "the signature does not match: the API secret is not the one of this key"),
    100413: (Reason.KEY_REFUSED, "BingX does not know the API key: compare it with BingX's page, or create a new one"),
    100403: (Reason.KEY_REFUSED, "this needs a key of the main account"),
    100419: (Reason.IP_NOT_ALLOWED, "the key does not allow this host's IP address: add it to the key's whitelist"),
    100004: (Reason.PERMISSION_MISSING, "the key lacks the permission Read: add it at BingX"),
    100414: (Reason.ACCOUNT_BLOCKED, "the account is suspended: ask BingX's support"),
    100441: (Reason.ACCOUNT_BLOCKED, "the account is suspended or lacks its identity check: log in at BingX"),
    80020: (Reason.ACCOUNT_BLOCKED, "risk control forbids this account's requests: ask BingX's support"),
    40029: (Reason.ACCOUNT_BLOCKED, "risk control forbids this account's requests: ask BingX's support"),
    109403: (Reason.ACCOUNT_BLOCKED, "risk control forbids this account's requests: ask BingX's support"),
}
CLOCK_SKEW = frozenset({100421})
CLOCK_OR_PARAMETERS = frozenset({80014, 109400})
RATE_LIMITED = frozenset({100410, 100409, 109429})
UNWELL = frozenset({100500, 100503, 101500, 80012, 109500, 109701})
OUR_DEFECT = frozenset({100412, 100400, 104414})
HOST_LIMITED: Mapping[int, str] = {
    403: "BingX's firewall refuses this host for a while",
    418: "this host is banned for a while, for too many requests",
    429: "too many requests from this host",
}
AFTER = r"\bafter\b[^0-9]{0,20}"  # any page may contain a number of 13 digits
PASSING = frozenset({408, 425})  # the server was too slow or too early: nothing is wrong with the request


def trouble_of_code(
    code: int, message: str, status: int, headers: Mapping[str, str], now: datetime, *, clock_offset_ms: int = 0
) -> Trouble:
    """What an answer with a code other than 0 means; a code that is known wins over the HTTP status.

    ``message`` must hold no secret; it is quoted, cut and without control characters. ``clock_offset_ms`` is the
    exchange's clock minus ours, for the times that BingX names. An unknown code under no telling status is
    taken for BingX being unwell.
    """
    said = f"BingX says {code}{quoted(message)}"
    if code in A_PERSON_MUST_ACT:
        reason, remedy = A_PERSON_MUST_ACT[code]
        return KeyRefused(reason, f"{remedy}. {said}")
    if code in CLOCK_SKEW or (code in CLOCK_OR_PARAMETERS and "timestamp" in message.lower()):
        return ClockSkew(Reason.CLOCK_SKEW, f"our timestamp was refused. {said}")
    if code in OUR_DEFECT or code in CLOCK_OR_PARAMETERS:
        return RequestRefused(Reason.REQUEST_REFUSED, f"our request was called wrong: please report it. {said}")
    # A ban announced under a code that is not known yet is a ban all the same, and asking on would prolong it.
    if code in RATE_LIMITED or (code not in UNWELL and re.search(r"(?:unblocked|retry) after\D", message)):
        until = _named_in(message, "", now, clock_offset_ms) or _retry_after(headers, now, clock_offset_ms)
        return RateLimited(Reason.RATE_LIMITED, f"too many requests. {said}", until, whole_host=status in (418, 429))
    if code not in UNWELL and (status in HOST_LIMITED or status == HTTPStatus.UNAUTHORIZED):
        return trouble_of_status(status, message, headers, now, clock_offset_ms=clock_offset_ms)
    unwell = "BingX is unwell" if code in UNWELL else "an unknown code"
    return Unavailable(Reason.UNAVAILABLE, f"{unwell}. {said}")


def trouble_of_status(
    status: int, text: str, headers: Mapping[str, str], now: datetime, *, clock_offset_ms: int = 0
) -> Trouble:
    """What an HTTP status other than 200 means where the body is none of BingX's JSON.

    ``text`` is the body, which may be anything; only the time when a rate limit ends is looked for in it.
    """
    if status in HOST_LIMITED:
        until = _named_in(text, AFTER, now, clock_offset_ms) or _retry_after(headers, now, clock_offset_ms)
        if until is None and status == HTTPStatus.FORBIDDEN:
            until = now + FIREWALL_PAUSE
        detail = f"{HOST_LIMITED[status]} (HTTP {status})"
        return RateLimited(Reason.RATE_LIMITED, detail, until, whole_host=True)
    if status == HTTPStatus.UNAUTHORIZED:
        return KeyRefused(Reason.KEY_REFUSED, "the API key was refused (HTTP 401): check it at BingX")
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Unreachable(Reason.UNREACHABLE, "the proxy wants a user and password (HTTP 407)")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Unavailable(Reason.UNAVAILABLE, f"redirect refused (HTTP {status})")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in PASSING:
        return RequestRefused(Reason.REQUEST_REFUSED, f"our request was refused (HTTP {status}): please report it")
    return Unavailable(Reason.UNAVAILABLE, f"BingX is unwell (HTTP {status})")


def quoted(message: str) -> str:
    """``: "text"`` for a detail: what is not printable is gone, the rest cut; nothing where nothing was said."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    if len(clean) > LONGEST_QUOTE:
        clean = clean[:LONGEST_QUOTE] + "…"
    return f': "{clean}"' if clean else ""


def _named_in(message: str, before: str, now: datetime, clock_offset_ms: int) -> datetime | None:
    times = re.findall(before + r"(?<![0-9])([0-9]{13})(?![0-9])", message)
    try:
        return _plausible(from_ms(int(times[-1]) - clock_offset_ms), now) if times else None
    except OverflowError:
        return None


def _retry_after(headers: Mapping[str, str], now: datetime, clock_offset_ms: int) -> datetime | None:
    """RFC 9110: seconds, or a date by the server's clock. Never seen from BingX, so nothing is relied upon."""
    text = next((value.strip() for name, value in headers.items() if name.lower() == "retry-after"), "")
    if re.fullmatch(r"[0-9]{1,9}", text):
        return _plausible(now + timedelta(seconds=int(text)), now)
    try:
        date = parsedate_to_datetime(text)
        # A date in the zone -0000 comes back naive; it is UTC nonetheless.
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        return _plausible(date - timedelta(milliseconds=clock_offset_ms), now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _plausible(until: datetime, now: datetime) -> datetime | None:
    if until > now + FARTHEST_WAIT:
        return None
    return max(until, now)
