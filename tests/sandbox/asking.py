"""A client as plain as can be: http.client, and signatures made by hand, so that the sandbox is judged from outside."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

from etl.sandbox.accounts import SandboxAccount
from etl.sandbox.exchange import Exchange
from etl.sandbox.server import SandboxServer

BALANCES = "/openApi/account/v1/allAccountBalance"
SERVER_TIME = "/openApi/swap/v2/server/time"
UID = "/openApi/account/v1/uid"
PERMISSIONS = "/openApi/v1/account/apiPermissions"
RESTRICTIONS = "/openApi/v1/account/apiRestrictions"
SUB_BALANCES = "/openApi/subAccount/v1/allAccountBalance"


@dataclass
class Clock:
    """The exchange's clock, moved by hand."""

    seconds: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is whatever comes
        return json.loads(self.body)

    @property
    def code(self) -> int:
        return int(self.json["code"])


def signed(secret: str, text: str) -> str:
    """A query string with its signature."""
    return f"{text}&signature={hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}"


class Client:
    """One keep-alive connection. Timestamps are those of the sandbox's clock, another one for each request."""

    _used: ClassVar[WeakKeyDictionary[Exchange, set[int]]] = WeakKeyDictionary()

    def __init__(self, server: SandboxServer) -> None:
        self._exchange: Exchange = server.exchange
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=10)

    def timestamp(self) -> int:
        # The clock may stand still: so far into the past that no two requests to one exchange are the same.
        used = self._used.setdefault(self._exchange, set())
        at_ms = int(self._exchange.now() * 1000)
        while at_ms in used:
            at_ms -= 1
        used.add(at_ms)
        return at_ms

    def raw(
        self, target: str, key: str | None = None, method: str = "GET", headers: dict[str, str] | None = None
    ) -> Response:
        sent = dict(headers or {}) | ({} if key is None else {"X-BX-APIKEY": key})
        self._connection.request(method, target, headers=sent)
        response = self._connection.getresponse()
        return Response(response.status, dict(response.headers), response.read())

    def post(self, path: str, content: object) -> Response:
        self._connection.request("POST", path, json.dumps(content))
        response = self._connection.getresponse()
        return Response(response.status, dict(response.headers), response.read())

    def ask(self, path: str = BALANCES, name: str = "main", parameters: str = "") -> Response:
        """A request as it should be, with these parameters (``a=1&``) before the timestamp."""
        account = self._exchange.account(name)
        query = signed(account.api_secret, f"{parameters}timestamp={self.timestamp()}")
        return self.raw(f"{path}?{query}", account.api_key)

    def ask_with(self, account: SandboxAccount, text: str, path: str = BALANCES) -> Response:
        """This very text, signed."""
        return self.raw(f"{path}?{signed(account.api_secret, text)}", account.api_key)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
