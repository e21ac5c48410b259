"""The imitation itself, without a network: who is known, what is allowed, what is answered, what was asked."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from threading import Lock
from typing import NamedTuple

from etl.sandbox import answers, replies, rules
from etl.sandbox.accounts import READ, SandboxAccount, sandbox_account
from etl.sandbox.faults import DELIVERY, REPLACE, Fault, FaultBook
from etl.sandbox.limits import Guard, Limits
from etl.sandbox.replies import Headers, Refused, Reply
from etl.sandbox.wallets import Wallets, wallets_at

REMEMBERED_REQUESTS = 100_000


class Request(NamedTuple):
    """One request as it is remembered, without any secret: Unix seconds, path, the key's account, what came of it.

    ``outcome`` is ``ok``, the error code that a broken rule got (``100001``), ``http 429``, or ``fault error``.
    """

    at: float
    path: str
    account: str | None
    outcome: str


class _Asked(NamedTuple):
    method: str
    path: str
    query: str
    account: SandboxAccount | None
    api_key: str | None
    address: str
    now: float
    at_ms: int

    @property
    def caller(self) -> str:
        return self.api_key or self.address


class Answered(NamedTuple):
    """What to send, and what is to go wrong while it is sent."""

    reply: Reply
    delivery: tuple[Fault, ...]


class Exchange:
    """A BingX with so many accounts, which follow from the seed. Safe to use from several threads.

    ``now`` is its clock, in Unix seconds. A fault never hides a broken rule: rules are judged first, and only a request
    that keeps them all can meet a fault (but for a fault of the server's clock).
    """

    def __init__(
        self,
        accounts: int = 1,
        seed: int = 0,
        now: Callable[[], float] = time.time,
        *,
        limits: Limits | None = None,
        refuse_replays: bool = True,
    ) -> None:
        if accounts < 1:
            raise ValueError("a sandbox has at least one account")
        self.seed = seed
        self.now = now
        self.faults = FaultBook(now)
        self._limits = limits or Limits()
        self._refuse_replays = refuse_replays
        self._lock = Lock()
        self._accounts = {account.name: account for account in (sandbox_account(seed, i) for i in range(accounts))}
        self._by_key = {account.api_key: account for account in self._accounts.values()}
        self._generations: Counter[str] = Counter()
        self._forget()

    @property
    def accounts(self) -> tuple[SandboxAccount, ...]:
        """Everybody, the main account first."""
        return tuple(self._accounts.values())

    def account(self, name: str) -> SandboxAccount:
        """The account of that name; KeyError if there is none."""
        return self._accounts[name]

    def wallets(self, name: str, at_ms: int) -> Wallets:
        """The truth: what an account's overview says at a Unix time in milliseconds when nothing goes wrong."""
        return wallets_at(self.seed, self._accounts[name].index, at_ms)

    def rotate_key(self, name: str) -> SandboxAccount:
        """Give an account a new key and secret; the old key is nobody's from now on."""
        with self._lock:
            self._generations[name] += 1
            old = self._accounts[name]
            new = sandbox_account(self.seed, old.index, self._generations[name])
            return self._store(old, replace(new, permissions=old.permissions, ip_addresses=old.ip_addresses))

    def restrict_key(
        self, name: str, *, permissions: Sequence[int] = (READ,), ip_addresses: Sequence[str] = ()
    ) -> SandboxAccount:
        """Change what an account's key may do, and from which addresses (none: from all)."""
        with self._lock:
            old = self._accounts[name]
            return self._store(old, replace(old, permissions=tuple(permissions), ip_addresses=tuple(ip_addresses)))

    def reset(self) -> None:
        """Forget faults, requests, limits, bans and signatures; the accounts and their keys stay."""
        self.faults.clear()
        with self._lock:
            self._forget()

    @property
    def requests(self) -> tuple[Request, ...]:
        """The last requests, oldest first."""
        with self._lock:
            return tuple(self._requests)

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """How many requests had which path and outcome, all of them."""
        with self._lock:
            return self._counts.copy()

    @property
    def replays(self) -> int:
        """How many requests carried a signature that had been used before, refused or not."""
        return self._replays

    def busiest(self, path: str, seconds: float) -> int:
        """The most requests of a path that ever arrived within so many seconds, whatever came of them."""
        times = [request.at for request in self.requests if request.path == path]
        most = first = 0
        for last, at in enumerate(times):
            while times[first] + seconds <= at:
                first += 1
            most = max(most, last - first + 1)
        return most

    def answer(self, method: str, target: str, api_key: str | None, address: str) -> Answered:
        """Judge one request: its method, the raw target of its request line, its key, and who sends it."""
        now = self.now()
        path, _, query = target.partition("?")
        account = None if api_key is None else self._by_key.get(api_key)
        name = None if account is None else account.name
        offset_ms = sum(fault.options["offset_ms"] for fault in self.faults.take(name, path, now, clock=True))
        asked = _Asked(method, path, query, account, api_key, address, now, int(now * 1000) + offset_ms)
        headers: Headers = ()
        try:
            with self._lock:
                headers = self._guard.admit_address(address, path, now)
                self._guard.refuse_shut_out(asked.caller, path, now)
            parameters = self._judge(asked)
        except Refused as refusal:
            outcome = str(refusal.code) if refusal.status == HTTPStatus.OK else f"http {refusal.status}"
            self._remember(asked, outcome, refusal.code if refusal.repeats else 0)
            return Answered(refusal.reply(asked.at_ms, headers), ())
        faults = self.faults.take(name, path, now)
        self._remember(asked, _outcome(faults), answers.counted_code(faults))
        reply = Reply(self._body(asked, parameters, faults), headers=headers)
        for fault in faults:
            if fault.role == REPLACE:
                reply = answers.instead(fault, asked.at_ms, headers)
                break
        return Answered(reply, tuple(fault for fault in faults if fault.role == DELIVERY))

    def _judge(self, asked: _Asked) -> dict[str, str]:
        """The parameters of a request that keeps every rule; Refused for any other."""
        endpoint = rules.ENDPOINTS.get(asked.path)
        if endpoint is None or asked.method != "GET":
            raise replies.no_such_api()
        if not endpoint.private:
            return rules.parse_parameters(endpoint, asked.query)
        account = asked.account
        if account is None:
            raise replies.no_key() if asked.api_key is None else replies.wrong_key()
        signed, signature = rules.verify_signature(account.api_secret.encode(), asked.query)
        parameters = rules.parse_parameters(endpoint, signed)
        rules.check_clock(endpoint, parameters, asked.at_ms)
        if account.ip_addresses and asked.address not in account.ip_addresses:
            raise replies.address_not_allowed(asked.address)
        if READ not in account.permissions:
            raise replies.permission_denied()
        if asked.path == rules.SUB_BALANCES and account.index != 0:
            raise replies.not_the_main_account()
        with self._lock:
            self._refuse_replay(asked.path, signature, asked.now)
            if asked.path == rules.BALANCES:
                self._guard.admit_uid(account.uid, asked.now)
        return parameters

    def _body(self, asked: _Asked, parameters: dict[str, str], faults: Sequence[Fault]) -> bytes:
        account, at_ms = asked.account, asked.at_ms
        if asked.path == rules.SERVER_TIME or account is None:
            return answers.server_time(at_ms)
        if asked.path == rules.SUB_BALANCES:
            page, size = int(parameters["pageIndex"]), int(parameters["pageSize"])
            return answers.sub_balances(self.seed, self.accounts[1:], page, size, at_ms)
        if asked.path == rules.BALANCES:
            wallets = wallets_at(self.seed, account.index, at_ms)
            return answers.balances(wallets, parameters.get("accountType"), at_ms, faults)
        if asked.path == rules.UID:
            return answers.uid(account, at_ms, faults)
        return answers.permissions(account) if asked.path == rules.PERMISSIONS else answers.restrictions(account)

    def _refuse_replay(self, path: str, signature: str, now: float) -> None:
        # A signature that is older than its window and what a clock may be ahead is refused by its timestamp anyway.
        while self._expiries and self._expiries[0][0] < now:
            self._signatures.discard(self._expiries.popleft()[1])
        if (path, signature) in self._signatures:
            self._replays += 1
            if self._refuse_replays:
                raise replies.wrong_signature()
        self._signatures.add((path, signature))
        self._expiries.append((now + (rules.RECV_WINDOW_MS + rules.AHEAD_MS) / 1000, (path, signature)))

    def _remember(self, asked: _Asked, outcome: str, error: int) -> None:
        name = None if asked.account is None else asked.account.name
        with self._lock:
            self._requests.append(Request(asked.now, asked.path, name, outcome))
            self._counts[asked.path, outcome] += 1
            if error:
                self._guard.note_error(asked.caller, asked.path, error, asked.now)

    def _store(self, old: SandboxAccount, new: SandboxAccount) -> SandboxAccount:
        del self._by_key[old.api_key]
        self._accounts[new.name] = self._by_key[new.api_key] = new
        return new

    def _forget(self) -> None:
        self._guard = Guard(self._limits)
        self._requests: deque[Request] = deque(maxlen=REMEMBERED_REQUESTS)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._replays = 0
        self._signatures: set[tuple[str, str]] = set()
        self._expiries: deque[tuple[float, tuple[str, str]]] = deque()


def _outcome(faults: Sequence[Fault]) -> str:
    return "fault " + "+".join(fault.kind for fault in faults) if faults else "ok"
