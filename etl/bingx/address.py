"""Which hosts a key may be sent to, and which BingX answers there."""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from etl.errors import SettingsError
from etl.model import Environment


def is_loopback(host: str) -> bool:
    """``localhost``, 127.0.0.0/8 or ::1, by the text alone: no name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_base_url(url: str) -> str:
    """The address without a closing slash; raises SettingsError unless it is https, or http on loopback."""
    parts = _split(url, "base URL")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise SettingsError("the base URL must begin with https:// (http:// only for this very machine, as 127.0.0.1)")
    if parts.username is not None or parts.password is not None or "?" in url or "#" in url:
        raise SettingsError("the base URL is only scheme, host and port: https://open-api.bingx.com")
    return url.rstrip("/")


def check_proxy_url(url: str) -> str:
    """The proxy's address; raises SettingsError unless it is http or https. It may hold a user and a password."""
    if _split(url, "proxy").scheme not in ("http", "https"):
        raise SettingsError("the proxy must begin with http:// or https://")
    return url


def environment_of(base_url: str) -> Environment:
    """Which BingX answers at an address: the sandbox on loopback, the demo (VST), else the one with real money."""
    host = _split(base_url, "base URL").hostname or ""
    if is_loopback(host):
        return Environment.SANDBOX
    return Environment.VST if host.startswith("open-api-vst.bingx.") else Environment.LIVE


def _split(url: str, what: str) -> SplitResult:
    # The text is not quoted: an address may hold a password.
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise SettingsError(f"the {what} has characters that no address has")
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass  # a port that is no number, brackets that do not close
    raise SettingsError(f"the {what} is not an address: write it as https://host or https://host:port")
