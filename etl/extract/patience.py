"""When to ask again: pauses within a slot, and what is remembered of refusals and blocks for the slots after."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from etl.doubt import DEFAULT_ABOVE
from etl.errors import RateLimited, Trouble
from etl.extract.limiter import SlidingWindow
from etl.grid import instant_text
from etl.remembered import Block, Refusal

MAX_ATTEMPTS = 12
MAX_PAUSE_SECONDS = 30.0
# Where BingX limits us without saying until when.
UNNAMED_BLOCK = timedelta(minutes=5)
# Of a block that is said to last longer than this, the clock it was written by is doubted, not our right to ask.
LONGEST_BLOCK = timedelta(days=1)
# A clock that is kept right may be set back by so much.
CLOCK_STEP = timedelta(seconds=10)
# A refused key is asked for again at least this often, so that a mended one is not missed for long.
LONGEST_BACK_OFF = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one slot is asked for, each endpoint with a limit of its own.

    ``ask_refused``: a person wants even refused keys asked, now. ``doubt_above``: in USDT, see :mod:`etl.doubt`.
    """

    interval_seconds: int
    retry_for_seconds: float
    request_timeout_seconds: float
    limiter: SlidingWindow
    uid_limiter: SlidingWindow
    ask_refused: bool = False
    doubt_above: Decimal = DEFAULT_ABOVE

    @property
    def longest_call_seconds(self) -> float:
        """One call may ask the fallback and the server's time too; each has its own deadline."""
        return 4 * self.request_timeout_seconds + 5


def pause_seconds(attempts: int, chance: float) -> float:
    """The pause after so many failed attempts: doubling, with jitter so that accounts do not return together."""
    return min(MAX_PAUSE_SECONDS, 2.0 ** (attempts - 1)) * (0.5 + chance / 2)


def unblocked_at(trouble: RateLimited, now: datetime, chance: float, *, again: bool) -> datetime:
    """When a rate-limited account may be asked again, up to a second later than BingX said.

    A time that is over already is believed once; ``again``: it was, and the account is limited still.
    """
    least = now + timedelta(seconds=pause_seconds(1, chance))
    if trouble.until is None or trouble.until > now + LONGEST_BLOCK or (again and trouble.until <= least):
        return now + UNNAMED_BLOCK + timedelta(seconds=chance)
    return max(trouble.until + timedelta(seconds=chance), least)


def still_blocked(now: datetime, *blocks: Block | None) -> datetime | None:
    """Until when the longest of the remembered blocks lasts. One noted in the future was noted by a clock since set."""
    return max((b.until for b in blocks if b and b.since - CLOCK_STEP <= now < b.until), default=None)


def refuse(
    before: Refusal | None, trouble: Trouble, *, fingerprint: str, slot_at: datetime, interval: timedelta, now: datetime
) -> Refusal:
    """What to remember when a key is refused: the slots left out double with every refusal of the same key."""
    if before is not None and before.key_fingerprint != fingerprint:
        before = None
    times = before.times + 1 if before else 1
    return Refusal(
        key_fingerprint=fingerprint,
        reason=trouble.reason,
        detail=trouble.detail,
        times=times,
        since=before.since if before else now,
        ask_again_at=slot_at + min(interval * 2 ** min(times, 20), LONGEST_BACK_OFF),
    )


def held_off(refusal: Refusal | None, fingerprint: str, slot_at: datetime) -> str | None:
    """Why an account is not asked in this slot, or None. A new key, or a jump of the clock, ends the waiting."""
    if refusal is None or refusal.key_fingerprint != fingerprint:
        return None
    if not slot_at < refusal.ask_again_at <= slot_at + LONGEST_BACK_OFF:
        return None
    return (
        f"{refusal.reason} since {instant_text(refusal.since)} ({refusal.detail}); "
        f"asked again from {instant_text(refusal.ask_again_at)}; if it is mended, bingx-etl snapshot --force asks now"
    )
