"""A short text to an address of the user's, by the same careful network layer as BingX is asked.

It is here because that layer is: a deadline over everything, no redirects, no proxies or authorities but our own.
"""

import time
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError

from etl.bingx.address import check_proxy_url
from etl.bingx.alarms import Alarms
from etl.bingx.network import Deadline, words_for
from etl.bingx.session import Session
from etl.bingx.tls import trust
from etl.errors import SettingsError

FAILURES = (requests.RequestException, HTTPError, HTTPException, OSError, ValueError)
# An answer is a word; what a server sends beyond that is neither read nor waited for.
LONGEST_ANSWER = 200
HEADERS = {
    "User-Agent": "bingx-etl",
    "Accept": "text/plain",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "Content-Type": "text/plain; charset=utf-8",
}
TRIES = 3
PAUSE_SECONDS = 0.5
# healthchecks.io answers these with 200, so that a wrong address would look like a right one.
REFUSALS = {b"not found": "the service knows no check of that address", b"rate limited": "the service limits the rate"}


class Post:
    """Sends texts, one at a time. ``proxy`` and ``ca_bundle`` are the only ones there are."""

    def __init__(
        self,
        *,
        proxy: str | None = None,
        ca_bundle: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._proxies = {} if proxy is None else dict.fromkeys(("http", "https"), check_proxy_url(proxy))
        self._ca_bundle = ca_bundle
        self._monotonic = monotonic
        self._sleep = sleep
        self._alarms = Alarms()
        self._session: Session | None = None

    def __call__(self, url: str, text: str, seconds: float) -> str:
        """POST the text; at most so many seconds in all, for at most three tries.

        Returns what went wrong, in words that hold nothing of the address nor of the answer; none where it arrived.
        """
        end = self._monotonic() + seconds
        words = ""
        for left in reversed(range(TRIES)):
            words, is_settled = self._try(url, text.encode(errors="replace"), end - self._monotonic())
            if is_settled or not left or self._monotonic() + PAUSE_SECONDS >= end:
                break
            self._sleep(PAUSE_SECONDS)
        return words

    def _try(self, url: str, body: bytes, seconds: float) -> tuple[str, bool]:
        """What went wrong, and whether another try would change nothing."""
        try:
            session = self._session = self._session or Session(trust(self._ca_bundle))
        except SettingsError:
            return "the ca_bundle cannot be read", True
        deadline = session.line.deadline = Deadline(max(seconds, 0.001), self._monotonic, self._alarms)
        try:
            with closing(session.post_streamed(url, body, HEADERS, seconds, self._proxies)) as response:
                verdict = _verdict(response.status_code, _beginning(response))
        except FAILURES as error:
            words = words_for(error)
            return ("no answer in time" if deadline.over() else words), False
        else:
            return ("no answer in time", False) if deadline.passed else verdict
        finally:
            deadline.close()
            session.close()


def _beginning(response: requests.Response) -> bytes:
    try:
        return response.raw.read(LONGEST_ANSWER, decode_content=False)
    except FAILURES:
        return b""  # the status has said it all


def _verdict(status: int, answer: bytes) -> tuple[str, bool]:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return f"the service answered {status}", False
    if status >= HTTPStatus.BAD_REQUEST:
        return f"the service answered {status}", True
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        return f"the service answered {status}, and redirects are not followed", True
    return next((words for sign, words in REFUSALS.items() if sign in answer.lower()), ""), True
