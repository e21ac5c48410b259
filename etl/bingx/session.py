"""A session of requests without the habits that do harm here: redirects, cookies, ambient settings, lax TLS."""

import ssl
from collections.abc import Mapping
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3 import ProxyManager

from etl.bingx.network import POOLS, Line, WatchedPool


class _Adapter(HTTPAdapter):
    def __init__(self, tls: ssl.SSLContext | None, line: Line) -> None:
        self._tls = tls
        self._line = line
        super().__init__(pool_connections=4, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        manager = super().proxy_manager_for(proxy, **kwargs, ssl_context=self._tls, proxy_ssl_context=self._tls)
        manager.pool_classes_by_scheme = POOLS
        return cast("ProxyManager", manager)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> WatchedPool:
        pool = cast("WatchedPool", super().get_connection_with_tls_context(*args, **kwargs))
        pool.line = self._line
        return pool

    def cert_verify(self, conn: Any, *_: object) -> None:  # noqa: ANN401  # urllib3's pool of either kind
        # The context already holds the authorities; requests would read them from the disk for each connection.
        conn.cert_reqs = "CERT_REQUIRED"


class Session(requests.Session):
    """For one exchange at a time; ``line.deadline`` has to be that exchange's, ``used_at`` is for whoever keeps it."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self.line = Line()
        self.used_at = float("inf")
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(tls, self.line))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, always: even with redirects forbidden, requests reads a redirect's whole body to prepare the next."""

    def get_streamed(
        self, url: str, headers: Mapping[str, str], timeout: float, proxies: Mapping[str, str]
    ) -> requests.Response:
        """The answer to a GET of exactly this address, its body unread; raises what requests and urllib3 raise."""
        return self._send(_prepared("GET", url, headers), timeout, proxies)

    def post_streamed(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float, proxies: Mapping[str, str]
    ) -> requests.Response:
        """The same for a POST."""
        prepared = _prepared("POST", url, {**headers, "Content-Length": str(len(body))})
        prepared.body = body
        return self._send(prepared, timeout, proxies)

    def _send(
        self, prepared: requests.PreparedRequest, timeout: float, proxies: Mapping[str, str]
    ) -> requests.Response:
        return self.send(
            prepared, stream=True, timeout=timeout, allow_redirects=False, proxies=dict(proxies), verify=True
        )


def _prepared(method: str, url: str, headers: Mapping[str, str]) -> requests.PreparedRequest:
    # Not prepared by the session, which would merge in what is lying about: cookies, which one account was given and
    # the next would show, and ~/.netrc. And the address stays byte for byte what was signed.
    prepared = requests.PreparedRequest()
    prepared.method = method
    prepared.url = url
    prepared.headers = requests.structures.CaseInsensitiveDict(headers)
    return prepared
