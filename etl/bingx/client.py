"""BingX over HTTP: one call, one answer or one Trouble."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from etl.bingx.address import check_base_url, check_proxy_url, environment_of
from etl.bingx.alarms import Alarms
from etl.bingx.allowance import Allowance
from etl.bingx.answers import parse_server_time, parse_uid
from etl.bingx.body import evidence, read_body
from etl.bingx.codes import trouble_of_code, trouble_of_status
from etl.bingx.envelope import peek
from etl.bingx.network import Deadline, words_for
from etl.bingx.permissions import Rights, parse_rights
from etl.bingx.redaction import redact
from etl.bingx.session import Session
from etl.bingx.signing import Credential, query_string, signature
from etl.bingx.tls import trust
from etl.errors import MalformedAnswer, NotUnderstood, SettingsError, Unreachable
from etl.grid import to_ms
from etl.model import Fetched, Reason

__all__ = ["Client", "Credential"]

Parsed = TypeVar("Parsed")

OVERVIEW = "/openApi/account/v1/allAccountBalance"
UID = "/openApi/account/v1/uid"
PERMISSIONS = "/openApi/v1/account/apiPermissions"
RESTRICTIONS = "/openApi/v1/account/apiRestrictions"
SERVER_TIME = "/openApi/swap/v2/server/time"

# Firewalls forget idle connections without telling; ours would then wait for its deadline.
IDLE_SECONDS = 30
FAILURES = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)
HEADERS = {"User-Agent": "bingx-etl", "Accept": "application/json", "Accept-Encoding": "identity"}


class Client:
    """One BingX. Any number of threads may call at once; each exchange has a session to itself while it lasts.

    A call raises Trouble and nothing else, in at most ``request_timeout_seconds`` (twice that with a fallback). No
    answer's, no exception's text holds key, secret, signature.
    """

    def __init__(
        self,
        base_url: str,
        *,
        fallback_base_url: str | None = None,
        proxy: str | None = None,
        ca_bundle: Path | None = None,
        request_timeout_seconds: float = 10,
        recv_window_ms: int = 5000,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``ca_bundle`` is trusted beside certifi's authorities. Raises SettingsError."""
        self._base_urls = [check_base_url(url) for url in (base_url, fallback_base_url) if url is not None]
        if len({environment_of(url) for url in self._base_urls}) > 1:
            raise SettingsError("the fallback base URL is another environment's: the two would mix in one history")
        self._proxies = {} if proxy is None else dict.fromkeys(("http", "https"), check_proxy_url(proxy))
        addresses = [*self._base_urls, *self._proxies.values()]
        needs_tls = ca_bundle is not None or any(url.startswith("https:") for url in addresses)
        self._tls = trust(ca_bundle) if needs_tls else None
        self._timeout = request_timeout_seconds
        self._recv_window_ms = recv_window_ms
        self._now = now
        self._monotonic = monotonic
        self._idle: list[Session] = []
        self._alarms = Alarms()
        self.allowance = Allowance()

    def balances(self, credential: Credential, clock_offset_ms: int) -> Fetched:
        """The overview of all wallets, raw. ``clock_offset_ms`` is the exchange's clock minus ours.

        Only that it says ``code: 0`` is known of the answer: the rest is for :mod:`etl.bingx.answers`.
        """
        return self._call(OVERVIEW, credential, clock_offset_ms)

    def uid(self, credential: Credential, clock_offset_ms: int) -> str:
        """The UID of the user whom the key belongs to."""
        return _parsed(parse_uid, self._call(UID, credential, clock_offset_ms))

    def permissions(self, credential: Credential, clock_offset_ms: int) -> Rights:
        """What the key may do, as one of BingX's two endpoints for that has it. Its answer has no envelope."""
        return _parsed(parse_rights, self._call(PERMISSIONS, credential, clock_offset_ms, flat=True))

    def restrictions(self, credential: Credential, clock_offset_ms: int) -> Rights:
        """The same, as the other one has it."""
        return _parsed(parse_rights, self._call(RESTRICTIONS, credential, clock_offset_ms, flat=True))

    def server_time_offset_ms(self) -> int:
        """The exchange's clock minus ours, measured now; the server is taken to answer halfway through."""
        fetched = self._call(SERVER_TIME, None, 0)
        return _parsed(parse_server_time, fetched) - to_ms(fetched.middle_at)

    def close(self) -> None:
        """Close the connections kept alive; the client can be used all the same."""
        while (session := self._take_idle()) is not None:
            session.close()

    def _call(self, path: str, credential: Credential | None, clock_offset_ms: int, *, flat: bool = False) -> Fetched:
        failures = []
        for base_url in self._base_urls:
            try:
                return self._ask(base_url, path, credential, clock_offset_ms, flat=flat)
            except Unreachable as error:
                failures.append(error.detail)
        raise Unreachable(Reason.UNREACHABLE, "; fallback: ".join(failures))

    def _ask(
        self, base_url: str, path: str, credential: Credential | None, clock_offset_ms: int, *, flat: bool
    ) -> Fetched:
        url, headers, secrets = f"{base_url}{path}", dict(HEADERS), list[str]()
        if credential is not None:
            timestamp = to_ms(self._now()) + clock_offset_ms
            query = query_string({"recvWindow": self._recv_window_ms, "timestamp": timestamp})
            signed = signature(credential.secret, query)
            url += f"?{query}&signature={signed}"
            headers["X-BX-APIKEY"] = credential.key
            secrets = [credential.key, credential.secret, signed]
        answer = self._exchange(url, headers)
        if path == OVERVIEW:
            self.allowance.note(answer.headers)
        body = redact(answer.body, secrets)
        envelope = peek(body)
        exchange_at = None if envelope is None else envelope.exchange_at
        if answer.flaw is not None:
            body = evidence(body, answer.flaw)
        fetched = Fetched(answer.requested_at, answer.latency_ms, body, exchange_at)
        if envelope is not None and envelope.code != 0:
            raise trouble_of_code(
                envelope.code,
                envelope.message,
                answer.status,
                answer.headers,
                self._now(),
                clock_offset_ms=clock_offset_ms,
            )
        if answer.status != HTTPStatus.OK:
            text = body.decode(errors="replace")
            trouble = trouble_of_status(
                answer.status, text, answer.headers, self._now(), clock_offset_ms=clock_offset_ms
            )
            if envelope is not None:
                # A success under a status that denies it: not believed, and not thrown away.
                trouble.aside = (fetched.requested_at, fetched.latency_ms, body)
            raise trouble
        if answer.flaw is not None:
            _malformed(answer.flaw, fetched)
        if envelope is None and not flat:
            _malformed("the answer is no JSON object with a code", fetched)
        return fetched

    def _exchange(self, url: str, headers: Mapping[str, str]) -> "_Answer":
        session = self._take_idle() or Session(self._tls)
        if self._monotonic() - session.used_at > IDLE_SECONDS:
            session.close()
        requested_at, started = self._now(), self._monotonic()
        deadline = session.line.deadline = Deadline(self._timeout, self._monotonic, self._alarms)
        answer, words = None, ""
        try:
            response = session.get_streamed(url, headers, self._timeout, self._proxies)
            with closing(response):
                body, flaw = _body_of(response)
            sent = started if deadline.connected_at is None else deadline.connected_at
            latency_ms = round((self._monotonic() - sent) * 1000)
            requested_at += timedelta(seconds=sent - started)
            answer = _Answer(requested_at, latency_ms, response.status_code, response.headers, body, flaw)
        except FAILURES as error:
            words = words_for(error)
        finally:
            deadline.close()
        session.used_at = self._monotonic()
        self._idle.append(session)
        if answer is not None and answer.looks_whole_when_cut and not answer.body:
            answer, words = None, "the answer broke off"
        if answer is None or (deadline.passed and answer.looks_whole_when_cut):
            if deadline.over():
                words = f"deadline of {self._timeout:g} s passed{deadline.meanwhile}"
            # Raised out here, so that no exception that quotes the signature hangs on to this one.
            raise Unreachable(Reason.UNREACHABLE, f"{urlsplit(url).hostname}: {words}")
        return answer

    def _take_idle(self) -> Session | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None


@dataclass(frozen=True, slots=True)
class _Answer:
    requested_at: datetime
    latency_ms: int
    status: int
    headers: Mapping[str, str]
    body: bytes
    flaw: str | None

    @property
    def looks_whole_when_cut(self) -> bool:
        """Whether nothing but the end of the connection, which may be our own doing, has ended the body."""
        framed = "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        return self.status == HTTPStatus.OK and not framed


def _body_of(response: requests.Response) -> tuple[bytes, str | None]:
    read = partial(response.raw.read, decode_content=False)
    try:
        return read_body(read, response.headers.get("Content-Encoding", ""))
    except FAILURES:
        # A refusal is one even where its text broke off: a ban must not pass for a network failure.
        if response.status_code == HTTPStatus.OK:
            raise
        return b"", None


def _parsed(parse: Callable[[bytes], Parsed], fetched: Fetched) -> Parsed:
    try:
        return parse(fetched.body)
    except NotUnderstood as error:
        _malformed(str(error), fetched)


def _malformed(detail: str, fetched: Fetched) -> NoReturn:
    raise MalformedAnswer(
        Reason.MALFORMED, detail, fetched.body, requested_at=fetched.requested_at, latency_ms=fetched.latency_ms
    ) from None
