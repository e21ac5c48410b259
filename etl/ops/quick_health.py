"""``bingx-etl health`` where everything is as plain as usual, without the libraries that take longer than the answer.

It reads the few settings that matter to it by itself. Whatever it does not know for certain, be it an option, the form
of a setting or an error, it leaves to the command, which reads them all: :func:`quick_health` then returns None.
"""

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence

from etl.db.last_snapshots import expected, of_file, sqlite_file
from etl.grid import parse_duration, parse_interval
from etl.ops.health import INTERVALS, as_json, as_text, is_healthy

PROGRAM = "bingx-etl"
PREFIX = "BINGX_ETL_"
USED = ("state_dir", "database_url", "interval")
# Settings that say nothing about where the history is, nor how often it is written.
UNUSED = (
    *("base_url", "fallback_base_url", "proxy", "ca_bundle", "request_timeout", "retry_for", "recv_window", "ip_limit"),
    *("doubt_above", "log_format", "log_private", "ping_url", "metrics_listen", "metrics_textfile"),
    *("on_change", "missed_in_a_row", "spool_older_than", "keep_stored"),
)
TABLE = ("api_key", "api_key_file", "api_secret", "api_secret_file")
KEYS = ("BINGX_API_KEY", "BINGX_API_KEY_FILE", "BINGX_API_SECRET", "BINGX_API_SECRET_FILE")
VARIABLES = {PREFIX + name.upper() for name in ("config", "account", "ping_url_file", *USED, *UNUSED)}.union(KEYS)
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Whoever sets one of these has directories that are worth a closer look.
ELSEWHERE = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "CREDENTIALS_DIRECTORY")


def quick_health(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int | None:
    """Say what the command would, and return its exit code; or say nothing and return None."""
    try:
        options = _options(arguments)
        config = options.get("--config") or environ.get(f"{PREFIX}CONFIG") or ""
        settings, names = _settings(config, environ)
        interval = parse_interval(settings["interval"])
        max_age = options.get("--max-age")
        seconds = INTERVALS * interval if max_age is None else parse_duration(max_age).total_seconds()
        path = sqlite_file(settings["database_url"])
        if path is None or not seconds:
            return None
        now = time.time()
        taken = expected(of_file(path, now), names)
        say = as_json if "--json" in options else as_text
        _write(say(taken, now, seconds).encode())
    except Exception:  # noqa: BLE001 - whatever it is, the command has the words for it
        return None
    return 0 if is_healthy(taken, now, seconds) else 1


class _Unusual(Exception):
    """Something that the command itself has to look at."""


def _require(*, usual: bool) -> None:
    if not usual:
        raise _Unusual


def _options(arguments: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name in {"--max-age", "--config"} and name not in found and (equals or rest):
            found[name] = value if equals else rest.pop(0)
        elif name == "--json" and not equals:
            found[name] = ""
        else:
            raise _Unusual
    return found


def _settings(config: str, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The settings of :data:`USED`, and the names of the accounts."""
    _require(usual=all(name in VARIABLES for name in environ if name.startswith((PREFIX, "BINGX_API_"))))
    _require(usual=sys.platform == "linux" and not any(environ.get(name) for name in ELSEWHERE) and "~" not in config)
    home = os.path.expanduser("~")  # noqa: PTH111 - pathlib takes as long as all the rest
    document = _document(config or f"{home}/.config/{PROGRAM}/{PROGRAM}.toml", is_named=bool(config))
    names = _named(document.pop("accounts", {}))
    if any(name in environ for name in KEYS):
        names.append(environ.get(f"{PREFIX}ACCOUNT", "main"))
    _require(usual=document.keys() <= {*USED, *UNUSED} and all(re.fullmatch(NAME, name) for name in names))
    given = {"interval": "5m"}
    for name in USED:
        value = environ.get(PREFIX + name.upper(), document.get(name))
        if value is not None:
            given[name] = _text(value)
    state = given.get("state_dir") or environ.get("STATE_DIRECTORY", "").partition(":")[0]
    state = os.path.join(os.getcwd(), state or f"{home}/.local/share/{PROGRAM}")  # noqa: PTH109, PTH118 - as above
    return {"database_url": f"sqlite:///{state}/balances.db", **given}, names


def _document(path: str, *, is_named: bool) -> dict[str, object]:
    if not os.path.isfile(path):  # noqa: PTH113 - as above
        _require(usual=not is_named and not os.path.exists(path))  # noqa: PTH110 - as above
        return {}
    import tomllib  # noqa: PLC0415 - only where there is a file

    with open(path, "rb") as file:  # noqa: PTH123 - as above
        return tomllib.loads(file.read().removeprefix(BYTE_ORDER_MARK).decode())


def _named(accounts: object) -> list[str]:
    if not isinstance(accounts, dict):
        raise _Unusual
    for table in accounts.values():
        _require(usual=isinstance(table, dict) and table.keys() <= {*TABLE})
    return list(accounts)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "~" in value:
        raise _Unusual
    return value.strip()


def _write(content: bytes) -> None:
    while content:
        content = content[os.write(1, content) :]
