"""What BingX says of the keys, and its clock of ours. Balances are not asked for, so that nothing goes unrecorded."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from etl.bingx.permissions import Rights, together
from etl.errors import EtlError, KeyRefused, SettingsError, Trouble, Unreachable
from etl.extract.workers import Lost
from etl.model import Environment, StoredAccount
from etl.ops.finding import Finding, Verdict

# Requests carry BingX's time as far as it is known, so an offset costs nothing until slots are named by it.
NOTABLE_MS, WRONG_MS = 1_000, 60_000
MEND_CLOCK = "let the machine set its clock by NTP"


class Source(Protocol):
    """BingX, as far as it is asked about keys. Raises Trouble."""

    environment: Environment

    def clock_offset_ms(self) -> int:
        """The exchange's clock minus ours."""

    def uid(self, account: str, clock_offset_ms: int) -> str:
        """Who is behind the account's key."""

    def permissions(self, account: str, clock_offset_ms: int) -> Rights:
        """What the key may do."""

    def restrictions(self, account: str, clock_offset_ms: int) -> Rights:
        """The same, said otherwise."""


@dataclass(frozen=True, slots=True)
class KeyAnswers:
    """What was said of one key. ``silence`` is why nothing was, for the first endpoint that said nothing."""

    uid: str
    rights: Rights
    silence: str | None


def ask_about_key(source: Source, account: str, clock_offset_ms: int, wait: Callable[[str], None]) -> KeyAnswers:
    """Three requests at most, each after ``wait`` for its endpoint; a key that is refused is not asked about again.

    Raises Trouble where the key cannot be told to be accepted.
    """
    wait("uid")
    uid = source.uid(account, clock_offset_ms)
    said: list[Rights] = []
    silence: str | None = None
    for endpoint, ask in (("permissions", source.permissions), ("restrictions", source.restrictions)):
        try:
            wait(endpoint)
            said.append(ask(account, clock_offset_ms))
        except Trouble as trouble:
            silence = silence or trouble.detail
    return KeyAnswers(uid, together(said), silence)


def words(value: object) -> str:
    """Why there is no answer."""
    if isinstance(value, Trouble):
        return value.detail
    if isinstance(value, EtlError):
        return str(value)
    return "no answer in time" if isinstance(value, Lost) else f"the check failed ({type(value).__name__})"


def check_exchange(offset_ms: object) -> Iterator[Finding]:
    """Whether BingX can be reached."""
    check = "exchange"
    if isinstance(offset_ms, int):
        yield Finding(check, Verdict.OK, "BingX answers")
    elif isinstance(offset_ms, Unreachable | Lost):
        remedy = "look at network, DNS, base_url and proxy; if they are right, BingX is down"
        yield Finding(check, Verdict.PROBLEM, f"BingX cannot be reached ({words(offset_ms)})", remedy)
    elif isinstance(offset_ms, SettingsError):
        yield Finding(check, Verdict.PROBLEM, str(offset_ms))
    else:
        yield Finding(check, Verdict.UNKNOWN, f"BingX does not tell its time ({words(offset_ms)})")


def check_clock(offset_ms: object) -> Iterator[Finding]:
    """How far this machine's clock is from the exchange's."""
    check = "clock"
    if not isinstance(offset_ms, int):
        yield Finding(check, Verdict.UNKNOWN, "its offset from BingX's could not be measured")
        return
    says = f"BingX's clock is {offset_ms:+d} ms from this machine's"
    if abs(offset_ms) > WRONG_MS:
        yield Finding(check, Verdict.PROBLEM, f"{says}, and slots are named by BingX's", MEND_CLOCK)
    elif abs(offset_ms) > NOTABLE_MS:
        yield Finding(check, Verdict.WARNING, f"{says}; requests are corrected by that", MEND_CLOCK)
    else:
        yield Finding(check, Verdict.OK, says)


def check_keys(answers: Mapping[str, object], unusable: Mapping[str, SettingsError]) -> Iterator[Finding]:
    """Whether BingX accepts each key."""
    check = "key"
    for account, error in unusable.items():
        yield Finding(check, Verdict.PROBLEM, str(error), accounts=(account,))
    for account, answer in answers.items():
        if isinstance(answer, KeyAnswers):
            yield Finding(check, Verdict.OK, "BingX accepts it", accounts=(account,))
        elif isinstance(answer, KeyRefused):
            yield Finding(check, Verdict.PROBLEM, answer.detail, accounts=(account,))
        else:
            yield Finding(check, Verdict.UNKNOWN, f"not known to be accepted ({words(answer)})", accounts=(account,))


def check_permissions(answers: Mapping[str, object]) -> Iterator[Finding]:
    """Whether a key can do more than read."""
    check = "permissions"
    for account, answer in answers.items():
        if not isinstance(answer, KeyAnswers):
            yield Finding(check, Verdict.UNKNOWN, "BingX was not asked, or did not answer", accounts=(account,))
            continue
        rights, others = answer.rights, ", ".join(sorted(answer.rights.beyond))
        if rights.reads is False:
            says = "the key lacks the permission Read" + (f", and has others: {others}" if others else "")
            yield Finding(check, Verdict.PROBLEM, says, "make a key with the permission Read alone", (account,))
        elif others:
            says = f"the key can do more than read: {others}"
            yield Finding(check, Verdict.WARNING, says, "make a key with the permission Read alone", (account,))
        elif rights.reads and rights.is_whole:
            yield Finding(check, Verdict.OK, "the key can read, and nothing else", accounts=(account,))
        else:
            why = f" ({answer.silence})" if answer.silence else ""
            says = f"BingX does not say everything that the key may do{why}"
            yield Finding(check, Verdict.UNKNOWN, says, "look at BingX's page of the key", (account,))


def check_addresses(answers: Mapping[str, object]) -> Iterator[Finding]:
    """Whether a key is bound to addresses."""
    check = "addresses"
    for account, answer in answers.items():
        is_bound = answer.rights.is_bound if isinstance(answer, KeyAnswers) else None
        if is_bound:
            yield Finding(check, Verdict.OK, "the key works from its own addresses only", accounts=(account,))
        elif is_bound is None:
            yield Finding(check, Verdict.UNKNOWN, "BingX does not say whether the key is bound", accounts=(account,))
        else:
            says = "the key works from every address"
            if isinstance(answer, KeyAnswers) and answer.rights.beyond:
                says += ", and BingX deletes such a key, which can do more than read, when it is idle for 14 days"
            yield Finding(check, Verdict.WARNING, says, "bind it at BingX to this host's address", (account,))


def check_identity(
    answers: Mapping[str, object], history: Mapping[str, StoredAccount] | None, environment: Environment | None
) -> Iterator[Finding]:
    """Whether each key is of the user whose history its name has. Shows no UID. ``history`` None: it is not known."""
    check = "identity"
    uids = {account: answer.uid for account, answer in answers.items() if isinstance(answer, KeyAnswers)}
    named = defaultdict[str, list[str]](list)
    for account, uid in uids.items():
        named[uid].append(account)
    for account, answer in answers.items():
        at = (account,)
        if not isinstance(answer, KeyAnswers):
            yield Finding(check, Verdict.UNKNOWN, "the UID behind the key is not known", accounts=at)
            continue
        others = [each for each in named[answer.uid] if each != account]
        known = None if history is None else history.get(account)
        elsewhere = [] if history is None else [n for n, a in history.items() if a.uid == answer.uid and n != account]
        if others:
            says = f"its key is of the same user as that of {others[0]}"
            yield Finding(check, Verdict.PROBLEM, says, "give each account a key of its own, or remove one", at)
        elif history is None:
            yield Finding(check, Verdict.SKIPPED, "the history cannot be asked whose it is", accounts=at)
        elif known is not None and environment is not None and known.environment is not environment:
            says = f"its history is of another BingX ({known.environment.value}, and base_url is {environment.value})"
            yield Finding(check, Verdict.PROBLEM, says, "mend base_url, or use another database", at)
        elif known is not None and known.uid not in {None, answer.uid}:
            says = "its key is of another user than its history: readings would be set aside"
            yield Finding(check, Verdict.PROBLEM, says, "mend the key, or give it another name", at)
        elif elsewhere:
            says = f"its key is of the user whose history is called {elsewhere[0]}"
            remedy = f"use that name, or bingx-etl account rename {elsewhere[0]} {account}"
            yield Finding(check, Verdict.PROBLEM, says, remedy, at)
        elif known is None or known.uid is None:
            yield Finding(check, Verdict.OK, "its history begins with this key", accounts=at)
        else:
            yield Finding(check, Verdict.OK, "its key is of the user whose history it is", accounts=at)
