"""What the text of each kind of setting may look like, and its value. Each raises ValueError with what to write."""

import os
import re
import shlex
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from etl.config.secret_files import absolute
from etl.grid import parse_duration

HIGHEST_PORT = 65_535
# What is shorter may be a word, such as the name of a check, and must be left in other texts.
SHORTEST_ID = 16


def parse_base_url(text: str) -> str:
    """An https URL of a host, or http on loopback; raises ValueError."""
    parts = urlsplit(text)
    host = parts.hostname
    if parts.scheme not in {"https", "http"} or not host:
        raise ValueError("write a URL such as https://open-api.bingx.com")
    if parts.username or parts.password or parts.query or parts.fragment or parts.path not in {"", "/"}:
        raise ValueError("write scheme and host only, such as https://open-api.bingx.com")
    _ = parts.port  # raises ValueError where it is none
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("http:// would send the key in the clear: only https://, or http:// on loopback")
    return f"{parts.scheme}://{parts.netloc}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_database_url(text: str) -> str:
    """A SQLAlchemy URL of SQLite or PostgreSQL, as it stands; raises ValueError."""
    scheme = text.partition(":")[0].partition("+")
    if scheme[0] not in {"sqlite", "postgresql", "postgres"} or "://" not in text:
        raise ValueError("write sqlite:////absolute/path/balances.db or postgresql://user@host/database")
    if "\0" in text:
        raise ValueError("there is a NUL in it")
    if scheme[2] not in {"", "pysqlite", "psycopg"}:
        raise ValueError("the driver is chosen by this program: write sqlite:// or postgresql:// without one")
    if scheme[0] == "sqlite" and text.partition("://")[2].partition("?")[0] in {"", "/", "/:memory:"}:
        raise ValueError("a database in memory keeps nothing: write sqlite:////absolute/path/balances.db")
    return text


def parse_proxy(text: str) -> str:
    """The URL of a proxy; raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write a URL such as http://proxy.example:3128")
    return text


def parse_ping_url(text: str) -> str:
    """The address of a check, https, or http on loopback; raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in {"https", "http"} or not parts.hostname or not text.isascii() or not text.isprintable():
        raise ValueError("write the URL of a check, such as https://hc-ping.com/ and its id")
    if parts.username or parts.password or parts.fragment or " " in text:
        raise ValueError("a URL of scheme, host and path, such as https://hc-ping.com/ and its id")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("http:// would send the id in the clear: only https://, or http:// on loopback")
    _ = parts.port  # raises ValueError where it is none
    return text


def secrets_of_url(url: str) -> list[str]:
    """What of an address must not be told: as a whole, without its host, and each part that may be an id."""
    parts = urlsplit(url)
    behind_host = f"{parts.path}?{parts.query}" if parts.query else parts.path
    found = [url, behind_host, *re.split(r"[/?&=]", behind_host)]
    return [text for text in found if len(text) >= SHORTEST_ID]


def parse_readable_file(text: str) -> Path:
    """The path of a file that can be read; raises ValueError."""
    path = absolute(Path(text), "a file")
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValueError("there is no readable file of that name")
    return path


def parse_limit(text: str) -> tuple[int, float]:
    """``300/10s``: so many requests in so many seconds; raises ValueError."""
    requests, slash, window = text.partition("/")
    if not slash or not re.fullmatch(r"[1-9][0-9]{0,6}", requests.strip()):
        raise ValueError("write requests and window, such as 300/10s")
    seconds = parse_duration(window).total_seconds()
    if not seconds:
        raise ValueError("the window of a limit is longer than nothing, such as 300/10s")
    return int(requests), seconds


def parse_listen(text: str) -> tuple[str, int]:
    """``127.0.0.1:9477`` or ``[::1]:9477``: a host and a port on this machine itself; raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]+)):([0-9]{1,5})", text, re.ASCII)
    if match is None or int(match[3]) > HIGHEST_PORT:
        raise ValueError("write an address and a port, such as 127.0.0.1:9477 or [::1]:9477")
    host = match[1] or match[2]
    if not is_loopback(host):
        raise ValueError(
            "only an address of this machine itself, such as 127.0.0.1:9477, since nobody is asked who they are; "
            "a reverse proxy that does ask can serve it further"
        )
    return "127.0.0.1" if host == "localhost" else host, int(match[3])


def parse_textfile(text: str) -> Path:
    """The path of a file that node_exporter would read; raises ValueError."""
    path = absolute(Path(text), "metrics_textfile")
    if path.suffix != ".prom" or path.is_dir():
        raise ValueError("node_exporter reads files whose names end in .prom: write such as .../bingx-etl.prom")
    return path


def parse_seconds(least: float, most: float) -> Callable[[str], float]:
    """Reads a duration that is no shorter and no longer than so many seconds; raises ValueError."""

    def parse(text: str) -> float:
        seconds = parse_duration(text).total_seconds()
        if not least <= seconds <= most:
            raise ValueError(f"between {least:g} and {most:g} seconds")
        return seconds

    return parse


def parse_log_format(text: str) -> str:
    """``text`` or ``json``; raises ValueError."""
    if text not in {"text", "json"}:
        raise ValueError("write text or json")
    return text


def parse_yes_or_no(text: str) -> bool:
    """``yes`` or ``no``; raises ValueError."""
    if text not in {"yes", "no"}:
        raise ValueError("write yes or no")
    return text == "yes"


def parse_command(text: str) -> tuple[str, ...]:
    """A program by its absolute path, and its arguments, quoted as in a shell that is not there; raises ValueError."""
    arguments = shlex.split(text)  # raises ValueError where a quotation does not end
    if not arguments or "\0" in text or not arguments[0].startswith(("/", "~")):
        raise ValueError("write the absolute path of a program, and its arguments: /home/me/bin/tell-me --loud")
    return str(absolute(Path(arguments[0]), "a command")), *arguments[1:]


def parse_count(text: str) -> int:
    """A whole number from 1 on; raises ValueError."""
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise ValueError("write a whole number, 1 or more")
    return int(text)
