"""What a request has to look like, endpoint by endpoint. Written from the notes, sharing nothing with the client."""

from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest, digest

from etl.sandbox.replies import Refused, no_signature, wrong_signature
from etl.sandbox.wallets import ACCOUNT_TYPES

BALANCES = "/openApi/account/v1/allAccountBalance"
SERVER_TIME = "/openApi/swap/v2/server/time"
UID = "/openApi/account/v1/uid"
PERMISSIONS = "/openApi/v1/account/apiPermissions"
RESTRICTIONS = "/openApi/v1/account/apiRestrictions"
SUB_BALANCES = "/openApi/subAccount/v1/allAccountBalance"

RECV_WINDOW_MS = 5_000
# How far a timestamp may be ahead is not published; a client whose clock is right is never ahead by a second.
AHEAD_MS = 1_000
LARGEST_PAGE = 10
LONGEST_NUMBER = 15  # digits: int() of a million of them takes its time


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``parameters`` beside timestamp, recvWindow and signature; True where it is required."""

    private: bool = True
    parameters: Mapping[str, bool] | None = None
    clock_error: tuple[int, str] = (109400, "timestamp is invalid")
    parameter_error: int = 100400


ENDPOINTS = {
    BALANCES: Endpoint(parameters={"accountType": False}, clock_error=(100421, "Null timestamp or timestamp mismatch")),
    SERVER_TIME: Endpoint(private=False, parameter_error=109400),
    UID: Endpoint(),
    PERMISSIONS: Endpoint(),
    RESTRICTIONS: Endpoint(),
    SUB_BALANCES: Endpoint(parameters={"pageIndex": True, "pageSize": True}),
}


def verify_signature(secret: bytes, query: str) -> tuple[str, str]:
    """The signed text and its signature: the very characters before ``&signature=``, which has to come last."""
    signed, mark, given = query.rpartition("&signature=")
    if not mark:
        if not query.startswith("signature="):
            raise no_signature()
        signed, given = "", query.removeprefix("signature=")
    if not given:
        raise no_signature()
    right = digest(secret, signed.encode("latin-1"), "sha256").hex()
    if not compare_digest(right.encode(), given.encode("latin-1")):
        raise wrong_signature()
    return signed, given


def parse_parameters(endpoint: Endpoint, signed: str) -> dict[str, str]:
    """The parameters by name; none twice, none empty, none unknown, none missing, nothing percent-encoded."""
    parameters: dict[str, str] = {}
    for pair in signed.split("&") if signed else ():
        name, _, value = pair.partition("=")
        if name in parameters:
            raise _invalid(endpoint, "a parameter is given twice")
        parameters[name] = value
    known = endpoint.parameters or {}
    for name in parameters:
        if name not in known and name not in ("timestamp", "recvWindow"):
            raise _invalid(endpoint, "a parameter is not known here")
    for name, required in known.items():
        if required and name not in parameters:
            raise _invalid(endpoint, f"{name} is required")
    _check_values(endpoint, parameters)
    return parameters


def check_clock(endpoint: Endpoint, parameters: Mapping[str, str], at_ms: int) -> None:
    """The timestamp must be there, in ms, no older than recvWindow and hardly ahead; recvWindow at most 5000."""
    recv_window = parameters.get("recvWindow", str(RECV_WINDOW_MS))
    if not _is_number(recv_window) or int(recv_window) > RECV_WINDOW_MS:
        raise _invalid(endpoint, f"recvWindow must be a number of at most {RECV_WINDOW_MS}")
    timestamp = parameters.get("timestamp", "")
    if not _is_number(timestamp) or not -AHEAD_MS <= at_ms - int(timestamp) <= int(recv_window):
        raise Refused(*endpoint.clock_error, fields=',"data":{}')


def _check_values(endpoint: Endpoint, parameters: Mapping[str, str]) -> None:
    account_type = parameters.get("accountType", "spot")
    if account_type != "spot" and account_type not in ACCOUNT_TYPES:
        raise _invalid(endpoint, "accountType")
    for name in ("pageIndex", "pageSize"):
        value = parameters.get(name, "1")
        if not _is_number(value) or int(value) < 1:
            raise _invalid(endpoint, name)
    if int(parameters.get("pageSize", "1")) > LARGEST_PAGE:
        raise _invalid(endpoint, f"pageSize must be at most {LARGEST_PAGE}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER


def _invalid(endpoint: Endpoint, what: str) -> Refused:
    return Refused(endpoint.parameter_error, f"Invalid parameters, err:{what}", fields=',"data":{}')
