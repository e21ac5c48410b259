"""An exchange for the model test: a Source that answers what it is told to, each answer unlike any other."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from etl.errors import (
    ClockSkew,
    KeyRefused,
    MalformedAnswer,
    RateLimited,
    RequestRefused,
    Trouble,
    Unavailable,
    Unreachable,
)
from etl.model import Environment, Fetched, Reason

START = datetime(2025, 3, 1, 12, tzinfo=UTC)
RECV_WINDOW = timedelta(seconds=5)
MILLISECOND = timedelta(milliseconds=1)


class NoAnswer(Exception):
    """The call never comes back."""


class Kind(StrEnum):
    """What a request may be answered with, where clock and key let it through."""

    WHOLE = "whole"
    WALLET_WITHOUT_AMOUNT = "wallet without amount"
    WALLET_MISSING = "wallet missing"
    NO_WALLETS = "no wallets"
    TYPE_TWICE = "type twice"
    NO_NUMBER = "no number"
    NO_JSON = "no json"
    DENIED_BY_STATUS = "denied by its status"
    REFUSED = "refused"
    BAD_REQUEST = "bad request"
    LIMITED = "limited"
    LIMITED_BRIEFLY = "limited briefly"
    HOST_LIMITED = "host limited"
    UNAVAILABLE = "unavailable"
    UNREACHABLE = "unreachable"
    SILENCE = "silence"
    DEFECT = "defect"


MEANINGLESS = {Kind.TYPE_TWICE, Kind.NO_NUMBER}
ANSWERS = {
    Kind.WHOLE,
    Kind.WALLET_WITHOUT_AMOUNT,
    Kind.WALLET_MISSING,
    Kind.NO_WALLETS,
    Kind.DENIED_BY_STATUS,
    *MEANINGLESS,
}


@dataclass(slots=True)
class Time:
    """True time, and a machine's clock that may be off by ``skew``. Every look at the clock takes a millisecond."""

    truth: datetime = START
    skew: timedelta = timedelta()

    def now(self) -> datetime:
        """What the machine's clock shows."""
        self.truth += MILLISECOND
        return self.truth + self.skew

    def monotonic(self) -> float:
        """Seconds since some time."""
        return (self.truth - START).total_seconds() + 1000.0

    def pass_by(self, seconds: float) -> None:
        """Time passes."""
        self.truth += timedelta(seconds=max(0.0, seconds))


@dataclass(frozen=True, slots=True)
class Key:
    """What an account is asked with: whose it is, and whether the exchange lets it in."""

    fingerprint: str
    uid: str
    is_good: bool = True


@dataclass(eq=False, slots=True)
class Answer:
    """A whole ``code: 0`` answer: asked for with which key and when, by true time and by the machine's clock."""

    number: int
    account: str
    key: Key
    kind: Kind
    body: bytes
    wallets: dict[str, str | None]
    sent_at: datetime
    sent_by_clock: datetime

    def __str__(self) -> str:
        skew = (self.sent_by_clock - self.sent_at).total_seconds()
        at = f"{self.sent_at:%d %H:%M:%S.%f}"
        return f"answer {self.number} ({self.kind}) to {self.account}, {self.key}, sent {at}, clock {skew:+g} s"


@dataclass
class Exchange:
    """:class:`etl.extract.source.Source`. ``given`` counts answers; whole ones are told to ``on_answer``."""

    time: Time
    keys: dict[str, Key]
    on_answer: Callable[[Answer], None]
    environment: Environment = Environment.SANDBOX
    script: dict[str, deque[Kind]] = field(default_factory=dict)
    connecting: timedelta = timedelta()
    latency: timedelta = timedelta(milliseconds=80)
    tells_uids: bool = True
    tells_time: bool = True
    given: Counter[Kind] = field(default_factory=Counter)

    def balances(self, account: str, clock_offset_ms: int) -> Fetched:
        """What the script says, or a whole answer where it says nothing."""
        signed = self.time.now() + timedelta(milliseconds=clock_offset_ms)
        self.time.truth += self.connecting
        by_clock = self.time.now()
        sent, key = self.time.truth, self.keys[account]
        self.time.truth += self.latency
        script = self.script.get(account)
        kind = script.popleft() if script else Kind.WHOLE
        self.given[kind] += 1
        if (trouble := self._trouble(kind)) is not None:
            raise trouble
        if abs(signed - sent) > RECV_WINDOW:
            raise ClockSkew(Reason.CLOCK_SKEW, "timestamp mismatch")
        if not key.is_good:
            raise KeyRefused(Reason.KEY_REFUSED, "incorrect api key")
        took = round(self.latency / MILLISECOND)
        if kind is Kind.NO_JSON:
            what = f"<html>{self.given[kind]}</html>".encode()
            raise MalformedAnswer(Reason.MALFORMED, "no JSON", what, requested_at=by_clock, latency_ms=took)
        number = sum(self.given[each] for each in ANSWERS)
        middle = sent + self.latency / 2
        body, wallets = _body(number, kind, middle)
        self.on_answer(Answer(number, account, key, kind, body, wallets, sent, by_clock))
        if kind is Kind.DENIED_BY_STATUS:
            denied = Unavailable(Reason.UNAVAILABLE, "HTTP 500")
            denied.aside = (by_clock, took, body)
            raise denied
        return Fetched(by_clock, took, body, middle.replace(microsecond=middle.microsecond // 1000 * 1000))

    def _trouble(self, kind: Kind) -> Exception | None:
        in_a_moment = self.time.truth + self.time.skew + timedelta(seconds=3)
        troubles: dict[Kind, Exception] = {
            Kind.REFUSED: KeyRefused(Reason.IP_NOT_ALLOWED, "not from here"),
            Kind.BAD_REQUEST: RequestRefused(Reason.REQUEST_REFUSED, "no such path"),
            Kind.LIMITED: RateLimited(Reason.RATE_LIMITED, "limited", None),
            Kind.LIMITED_BRIEFLY: RateLimited(Reason.RATE_LIMITED, "limited", in_a_moment),
            Kind.HOST_LIMITED: RateLimited(Reason.RATE_LIMITED, "limited", in_a_moment, whole_host=True),
            Kind.UNAVAILABLE: Unavailable(Reason.UNAVAILABLE, "HTTP 503"),
            Kind.UNREACHABLE: Unreachable(Reason.UNREACHABLE, "connection refused"),
            Kind.SILENCE: NoAnswer(),
            Kind.DEFECT: ZeroDivisionError(),
        }
        return troubles.get(kind)

    def uid(self, account: str, clock_offset_ms: int) -> str:
        """Whose the key is."""
        self.time.truth += self.latency
        if not self.tells_uids:
            raise Unavailable(Reason.UNAVAILABLE, "HTTP 503")
        return self.keys[account].uid

    def clock_offset_ms(self) -> int:
        """True time minus the machine's."""
        self.time.truth += self.latency
        if not self.tells_time:
            raise Trouble(Reason.UNAVAILABLE, "HTTP 503")
        return round(-self.time.skew / MILLISECOND)

    def key_fingerprint(self, account: str) -> str:
        """The key's."""
        return self.keys[account].fingerprint


def _body(number: int, kind: Kind, at: datetime) -> tuple[bytes, dict[str, str | None]]:
    """Digits that no other answer has, more than a float or numeric(38, 18) would hold."""
    rows: list[tuple[str, str | None]] = [
        ("sopt", f"{number}.{number:09d}{7:012d}0"),
        ("USDTMPerp", f"{number}000000000000000000000.5{number}"),
        ("fund", f"-0.{number:030d}"),
    ]
    match kind:
        case Kind.WALLET_WITHOUT_AMOUNT:
            rows[1] = ("USDTMPerp", None)
        case Kind.WALLET_MISSING:
            del rows[1]
        case Kind.NO_WALLETS:
            rows = []
        case Kind.TYPE_TWICE:
            rows.append(rows[0])
        case Kind.NO_NUMBER:
            rows.append(("grid", "1,000.5"))
        case _:
            pass
    listed = ",".join(
        f'{{"accountType":"{name}","usdtBalance":{"null" if amount is None else f"{chr(34)}{amount}{chr(34)}"}}}'
        for name, amount in rows
    )
    ms = (at - datetime(1970, 1, 1, tzinfo=UTC)) // MILLISECOND
    body = f'{{"code":0,"msg":"no {number}","timestamp":{ms},"data":[{listed}]}}'
    return body.encode(), {"spot" if name == "sopt" else name: amount for name, amount in rows}
