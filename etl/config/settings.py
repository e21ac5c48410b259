"""The only reader of environment, config file and credential files.

Command line, then environment, then config file, then the default, for each of :mod:`etl.config.table`. A message
names the setting and where its value came from, and never quotes a value that may hold a secret.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import platformdirs

from etl.config.forms import secrets_of_url
from etl.config.secret_files import absolute, is_private, read_secret_file
from etl.config.table import ACCOUNT_KEYS, BY_NAME, PREFIX, SETTINGS, VARIABLES, Setting
from etl.errors import SettingsError

__all__ = ["ACCOUNT_KEYS", "PREFIX", "PROGRAM", "SETTINGS", "VARIABLES", "Setting", "read_settings"]

PROGRAM = "bingx-etl"
# Of the environment, what a command of the user's needs. What else there is may be a secret of anybody's.
HARMLESS = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "STATE_DIRECTORY"),
    *("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of the contract but the keys, checked. ``origins`` says where each value came from.

    ``given`` is the text of what is not left to its default.
    """

    state_dir: Path
    interval_seconds: int
    base_url: str
    fallback_base_url: str | None
    ca_bundle: Path | None
    request_timeout_seconds: float
    retry_for_seconds: float
    recv_window_ms: int
    ip_limit: tuple[int, float]
    doubt_above: Decimal
    keep_stored_seconds: float
    log_format: str
    log_private: bool
    metrics_listen: tuple[str, int] | None
    metrics_textfile: Path | None
    missed_in_a_row: int
    spool_older_than_seconds: float
    origins: Mapping[str, str]
    config_file: Path | None
    database_url: str = field(repr=False)
    proxy: str | None = field(repr=False)
    ping_url: str | None = field(repr=False)
    on_change: tuple[str, ...] | None = field(repr=False)
    account_tables: Mapping[str, Mapping[str, str]] = field(repr=False)
    given: Mapping[str, str] = field(repr=False)

    @property
    def secrets(self) -> list[str]:
        """What the log must not say, besides the keys."""
        return secrets_of_url(self.ping_url) if self.ping_url else []


def default_config_file() -> Path:
    """Where the config file is looked for when nobody says where it is. Raises SettingsError for who has no home."""
    try:
        return platformdirs.user_config_path(PROGRAM) / f"{PROGRAM}.toml"
    except RuntimeError:
        raise SettingsError(
            "there is no home to keep a config file in: set HOME, or name the file by --config"
        ) from None


def read_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """All settings from all places; raises SettingsError at the first that is not right."""
    unknown = sorted(name for name in environ if name.startswith((PREFIX, "BINGX_API_")) and name not in VARIABLES)
    if unknown:
        meant = _meant(unknown[0], VARIABLES)
        said = f"unknown setting {unknown[0]} in the environment:{meant}"
        raise SettingsError(f"{said} see bingx-etl --help, or unset it")
    config_file, document = _read_config(config, environ)
    tables = _account_tables(document.pop("accounts", {}), config_file)
    texts = {setting.name: _text(setting, document, config_file, environ) for setting in SETTINGS}
    if unknown := sorted(document):
        meant = _meant(unknown[0], [*BY_NAME, "accounts"])
        said = f"unknown setting {unknown[0]!r} in {config_file}:{meant}"
        raise SettingsError(f"{said} bingx-etl --help names those there are")
    values = {name: _parse(BY_NAME[name], *found) for name, found in texts.items()}
    state_dir = values["state_dir"] or _default_state_dir(environ)
    return Settings(
        state_dir=state_dir,
        database_url=values["database_url"] or f"sqlite:///{quote(str(state_dir / 'balances.db'))}",
        interval_seconds=values["interval"],
        base_url=values["base_url"],
        fallback_base_url=values["fallback_base_url"],
        proxy=values["proxy"],
        ping_url=values["ping_url"],
        on_change=values["on_change"],
        ca_bundle=values["ca_bundle"],
        request_timeout_seconds=values["request_timeout"],
        retry_for_seconds=values["retry_for"],
        recv_window_ms=round(values["recv_window"] * 1000),
        ip_limit=values["ip_limit"],
        doubt_above=values["doubt_above"],
        keep_stored_seconds=values["keep_stored"],
        log_format=values["log_format"],
        log_private=values["log_private"],
        metrics_listen=values["metrics_listen"],
        metrics_textfile=values["metrics_textfile"],
        missed_in_a_row=values["missed_in_a_row"],
        spool_older_than_seconds=values["spool_older_than"],
        origins={name: origin for name, (_, origin) in texts.items()},
        config_file=config_file,
        account_tables=tables,
        given={name: text for name, (text, origin) in texts.items() if text and origin != "default"},
    )


@dataclass(frozen=True, slots=True)
class PingSettings:
    """What it takes to ping."""

    url: str | None = field(repr=False)
    proxy: str | None = field(repr=False)
    ca_bundle: Path | None


def read_ping_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> PingSettings | None:
    """As much of the settings as it takes to tell that others are wrong; None where that is among the wrong."""
    found = _read_some(("ping_url", "proxy", "ca_bundle"), config, environ)
    return None if found is None else PingSettings(found["ping_url"], found["proxy"], found["ca_bundle"])


def read_log_format(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The same for the log."""
    found = _read_some(("log_format",), config, environ)
    return "text" if found is None else found["log_format"]


def _read_some(names: Iterable[str], config: Path | None, environ: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        config_file, document = _read_config(config, environ)
    except (SettingsError, OSError):
        config_file, document = None, {}
    try:
        return {name: _parse(BY_NAME[name], *_text(BY_NAME[name], document, config_file, environ)) for name in names}
    except (SettingsError, OSError):
        return None


def harmless_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a command of the user's may have of ours: what it takes to find programs, files and these settings."""
    secret = {setting.variable for setting in SETTINGS if setting.secret}
    ours = {name for name in VARIABLES - secret if name.startswith(PREFIX)}
    return {name: text for name, text in environ.items() if name in {*ours, *HARMLESS} or name.startswith("LC_")}


def named_config_file(config: Path | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The config file that the command line or the environment names."""
    given = config or (Path(environ[f"{PREFIX}CONFIG"]) if environ.get(f"{PREFIX}CONFIG") else None)
    return absolute(given, "the config file") if given else None


_REMEDIES: dict[type[OSError], str] = {
    FileNotFoundError: "; bingx-etl init writes one",
    PermissionError: "; call the program as the user whose file it is",
}


def _read_config(config: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, dict[str, Any]]:
    path = named_config_file(config, environ)
    if path is None:
        try:
            path = default_config_file()
        except SettingsError:  # a user who is known by a number alone, in a container
            return None, {}
        if not path.exists():
            return None, {}
    try:
        if path.exists() and not path.is_file():
            raise SettingsError(f"the config file {path} is not a regular file")
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        remedy = _REMEDIES.get(type(error), "")
        raise SettingsError(f"cannot read the config file {path}: {error.strerror}{remedy}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        where = re.search(r"\(at .*\)$", str(error))
        place = f" {where[0]}" if where else ""
        remedy = 'every value is in quotes, as in interval = "5m", and every name and [table] is there once'
        raise SettingsError(f"the config file {path} is not TOML{place}: {remedy}") from None
    return path, document


def _account_tables(accounts: object, config_file: Path | None) -> dict[str, dict[str, str]]:
    if not isinstance(accounts, dict) or not all(isinstance(table, dict) for table in accounts.values()):
        raise SettingsError(f"accounts in {config_file} are tables: write [accounts.main]")
    allowed = {name for key in ACCOUNT_KEYS for name in (key, f"{key}_file")}
    for name, table in accounts.items():
        if unknown := sorted(set(table) - allowed):
            remedy = (
                "it is not an account's: put it above the first [accounts.…]"
                if unknown[0] in BY_NAME
                else "an account has api_key_file and api_secret_file, or api_key and api_secret"
            )
            raise SettingsError(f"unknown setting {unknown[0]!r} in [accounts.{name}] of {config_file}: {remedy}")
        if not all(isinstance(value, str) for value in table.values()):
            raise SettingsError(f"the settings in [accounts.{name}] of {config_file} are strings: quote them")
        if config_file is not None and set(table) & set(ACCOUNT_KEYS):
            _require_private(config_file, f"[accounts.{name}] holds a secret")
    return accounts


def _meant(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - two milliseconds, which no run spends that has no typing error

    close = get_close_matches(name, known, n=1)
    return f" did you mean {close[0]}?" if close else ""


def _require_private(path: Path, why: str) -> None:
    if not is_private(path):
        raise SettingsError(f"{why}, and others can read {path}: chmod 600 {path}")


def _text(
    setting: Setting, document: dict[str, Any], config_file: Path | None, environ: Mapping[str, str]
) -> tuple[str | None, str]:
    """The text of a setting and where it came from; taken out of the document, so that what stays is unknown."""
    in_file = document.pop(setting.name, None)
    if setting.has_file and environ.get(f"{setting.variable}_FILE") is not None:
        if setting.variable in environ:
            raise SettingsError(f"{setting.variable} and {setting.variable}_FILE are both set: keep one")
        path = Path(environ[f"{setting.variable}_FILE"])
        return read_secret_file(path, f"{setting.variable}_FILE", environ), f"{setting.variable}_FILE"
    if setting.variable in environ:
        return environ[setting.variable], setting.variable
    if in_file is None:
        return setting.default, "default"
    if not isinstance(in_file, str):
        example = f'{setting.name} = "{setting.default or "…"}"'
        raise SettingsError(f"{setting.name} in {config_file} is a string: write {example}")
    if setting.secret and config_file is not None and (setting.name == "ping_url" or _holds_password(in_file)):
        _require_private(config_file, f"{setting.name} holds a secret")
    return in_file, str(config_file)


def _holds_password(url: str) -> bool:
    return bool(urlsplit(url).password) or "password=" in url.lower()


def _parse(setting: Setting, text: str | None, origin: str) -> Any:  # noqa: ANN401 - each setting has a type of its own
    if text is None or (text == "" and setting.default in {"", None}):
        return None
    _require_utf8(text, setting.name)
    try:
        return setting.parse(text.strip())
    except ValueError as error:
        said = "" if setting.secret or "@" in text else f" {text!r}"
        raise SettingsError(f"{setting.name}{said} ({origin}): {error}") from None


def _default_state_dir(environ: Mapping[str, str]) -> Path:
    # systemd gives a list with colons where a unit has several; the first is the unit's own.
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    try:
        found = Path(given) if given else platformdirs.user_data_path(PROGRAM)
    except RuntimeError:
        raise SettingsError("there is no home to keep readings in: set state_dir, or HOME") from None
    _require_utf8(str(found), "the directory for readings")
    return found


def _require_utf8(text: str, called: str) -> None:
    """What the environment has of other bytes comes as lone surrogates, which no database and no log takes."""
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise SettingsError(f"{called} has bytes that are no UTF-8: set it to what has none")
