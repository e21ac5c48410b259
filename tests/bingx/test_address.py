import pytest

from etl.bingx.address import check_base_url, check_proxy_url, environment_of, is_loopback
from etl.errors import SettingsError
from etl.model import Environment


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://open-api.bingx.com", "https://open-api.bingx.com"),
        ("https://open-api.bingx.com/", "https://open-api.bingx.com"),
        ("https://gateway.example:8443/bingx/", "https://gateway.example:8443/bingx"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_a_base_url_is_https_or_on_loopback(url: str, checked: str) -> None:
    assert check_base_url(url) == checked


@pytest.mark.parametrize(
    "url",
    ["", "open-api.bingx.com", "http://open-api.bingx.com", "http://127.0.0.1.evil.example", "http://localhost.evil.com",
     "http://127.1", "ftp://127.0.0.1", "https://", "https://:443", "https://host:0", "https://host:99999",
     "https://host:x", "https://[::1", "https://user@host", "https://user:pass@host", "https://host?x=1", "https://host?",
     "https://host#x", "https://ho st", "https://host\r\nX: 1", "https://hôst", "http://10.0.0.1", "http://0.0.0.0"],
)  # fmt: skip
def test_another_base_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_base_url(url)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://proxy:3128", "https://user:pass@proxy.example"])
def test_a_proxy_is_http_or_https(url: str) -> None:
    assert check_proxy_url(url) == url


@pytest.mark.parametrize("url", ["", "proxy:3128", "socks5://proxy:1", "http://", "http://user:pass@"])
def test_another_proxy_is_refused_unquoted(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_proxy_url(url)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("https://open-api.bingx.com", Environment.LIVE),
        ("https://open-api.bingx.pro", Environment.LIVE),
        ("https://OPEN-API-VST.bingx.com", Environment.VST),
        ("https://open-api-vst.bingx.pro", Environment.VST),
        ("https://evil-open-api-vst.bingx.com", Environment.LIVE),
        ("http://127.0.0.1:1", Environment.SANDBOX),
        ("http://127.3.2.1:1", Environment.SANDBOX),
        ("http://[::1]:1", Environment.SANDBOX),
        ("http://LOCALHOST:1", Environment.SANDBOX),
        ("https://localhost.example", Environment.LIVE),
    ],
)
def test_the_environment_follows_from_the_host(url: str, environment: Environment) -> None:
    assert environment_of(url) is environment


def test_names_are_not_looked_up_to_call_them_loopback() -> None:
    assert not is_loopback("localhost.localdomain")
    assert not is_loopback("127.0.0.1.nip.io")
