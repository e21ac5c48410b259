"""What goes over the wire: BingX's error texts and envelopes, and a refusal as an exception."""

from dataclasses import dataclass
from http import HTTPStatus
from json import dumps
from typing import TypeAlias

Headers: TypeAlias = tuple[tuple[str, str], ...]

JSON = "application/json;charset=utf-8"
TEXT = "text/plain;charset=utf-8"


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer, not yet written."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: Headers = ()


class Refused(Exception):
    """A request that BingX would refuse. ``repeats``: repeating it counts towards being shut out."""

    def __init__(
        self, code: int, text: str, *, status: int = 200, fields: str = "", headers: Headers = (), repeats: bool = True
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status
        self.fields = fields
        self.headers = headers
        self.repeats = repeats

    def reply(self, at_ms: int, headers: Headers) -> Reply:
        """A code in JSON under HTTP 200 as BingX does it; plain text under 429 and 418, as its gateway does."""
        if self.status != HTTPStatus.OK:
            return Reply(self.text.encode(), self.status, TEXT, self.headers or headers)
        return Reply(error_body(self.code, self.text, at_ms, self.fields), headers=headers)


def error_body(code: int, text: str, at_ms: int, fields: str = "") -> bytes:
    """A business error; ``fields`` is JSON to be added, such as ``,"data":{}``."""
    return f'{{"code":{code},"msg":{dumps(text)},"timestamp":{at_ms}{fields}}}'.encode()


def no_such_api() -> Refused:
    """An unknown path or another method than GET."""
    return Refused(100400, "this api is not exist")


def no_key() -> Refused:
    """The header X-BX-APIKEY is not there."""
    return Refused(100413, "Null apiKey")


def wrong_key() -> Refused:
    """A key that is nobody's."""
    return Refused(100413, "Incorrect apiKey")


def no_signature() -> Refused:
    """Nothing was signed."""
    return Refused(100412, "Null signature")


def wrong_signature() -> Refused:
    """Not the signature of these bytes with this secret, or not the last parameter, or used before."""
    return Refused(100001, "Signature verification failed due to signature mismatch", fields=',"data":null')


def address_not_allowed(address: str) -> Refused:
    """The key has a whitelist without the caller's address."""
    return Refused(100419, f"your current request IP {address} does not match IP whitelist", fields=',"success":false')


def permission_denied() -> Refused:
    """The key lacks Read."""
    return Refused(100004, "Permission denied as the API key was created without the permission", fields=',"data":{}')


def not_the_main_account() -> Refused:
    """A sub-account asked what only a main account may."""
    return Refused(100403, "The current account is not the main account", fields=',"data":[]')


def frequency_text(until_ms: int) -> str:
    """The published text of a caller that asks too often."""
    return (
        "code:100410:The endpoint trigger frequency limit rule is currently in the disabled period"
        f" and will be unblocked after {until_ms}"
    )


def ban_text(times: int, code: int, window_ms: int, until_ms: int) -> str:
    """The published text of a caller that repeats a failing call."""
    return (
        f"over {times} error code:{code} requests within {window_ms} ms for this api,"
        f" please verify and fix it ,can retry after time: {until_ms}"
    )
