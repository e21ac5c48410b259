"""The accounts that are to be read, each with its key: from the environment, the config file or systemd."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from etl.config.secret_files import read_secret_file
from etl.config.settings import ACCOUNT_KEYS, PREFIX, Settings
from etl.errors import SettingsError
from etl.model import ACCOUNT_NAME

DEFAULT_ACCOUNT = "main"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What signs the requests of one account."""

    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """One place that gives a secret."""

    place: str
    read: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Keys:
    """The accounts with a key, and those without one, with the reason: one account's trouble is no other's."""

    usable: Mapping[str, ApiKey]
    unusable: Mapping[str, SettingsError]


def read_every_key(settings: Settings, environ: Mapping[str, str] = os.environ) -> Keys:
    """Every account with its key, or why it has none. Raises SettingsError where the names cannot be understood."""
    usable: dict[str, ApiKey] = {}
    unusable: dict[str, SettingsError] = {}
    for name, sources in _sources(settings, environ).items():
        try:
            usable[name] = ApiKey(*(_secret(name, key, sources.get(key, [])) for key in ACCOUNT_KEYS))
        except SettingsError as error:
            unusable[name] = error
    return Keys(usable, unusable)


def read_keys(settings: Settings, environ: Mapping[str, str] = os.environ) -> Keys:
    """The same; raises SettingsError also where there is no account, or none with a usable key."""
    keys = read_every_key(settings, environ)
    if not keys.usable:
        raise why_none(settings, keys, environ)
    return keys


def why_none(settings: Settings, keys: Keys, environ: Mapping[str, str] = os.environ) -> SettingsError:
    """What to do where no account has a usable key."""
    if keys.unusable:
        return next(iter(keys.unusable.values()))
    if directory := environ.get("CREDENTIALS_DIRECTORY"):  # of systemd, or of a container
        return SettingsError(f"no account: there is no bingx_api_key or NAME.bingx_api_key in {directory}")
    file = settings.config_file
    where = f"uncomment [accounts.main] in {file}" if file else "write accounts into the file that bingx-etl init makes"
    return SettingsError(
        f"no account: set BINGX_API_KEY and BINGX_API_SECRET (a key with the permission Read is enough), or {where}"
    )


def account_names(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The accounts, with a usable key or without; no secret is read. Raises SettingsError."""
    return list(key_places(settings, environ))


def key_places(settings: Settings, environ: Mapping[str, str] = os.environ) -> dict[str, dict[str, list[str]]]:
    """By account, and by ``api_key`` and ``api_secret``: the places that give it. The same promises."""
    return {
        account: {key: [source.place for source in sources.get(key, [])] for key in ACCOUNT_KEYS}
        for account, sources in _sources(settings, environ).items()
    }


def _sources(settings: Settings, environ: Mapping[str, str]) -> dict[str, dict[str, list[Source]]]:
    """By account and key: every place that gives it."""
    found: dict[str, dict[str, list[Source]]] = {name: {} for name in settings.account_tables}
    for account, key, source in (
        *_from_environment(environ),
        *_from_credentials(environ),
        *_from_config(settings.account_tables, environ),
    ):
        found.setdefault(account, {}).setdefault(key, []).append(source)
    for account in found:
        if not ACCOUNT_NAME.fullmatch(account):
            raise SettingsError(
                f"account name {account!r}: at most 64 letters, digits, dots, dashes, underscores, no sign first"
            )
    return found


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, Source]]:
    for key in ACCOUNT_KEYS:
        variable = f"BINGX_{key.upper()}"
        if variable in environ:
            yield _single(environ), key, Source(variable, partial(environ.__getitem__, variable))
        if f"{variable}_FILE" in environ:
            yield _single(environ), key, _file(Path(environ[f"{variable}_FILE"]), f"{variable}_FILE", environ)


def _from_credentials(environ: Mapping[str, str]) -> Iterator[tuple[str, str, Source]]:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    try:
        files = sorted(Path(directory).iterdir()) if directory else []
    except OSError as error:
        raise SettingsError(f"cannot read $CREDENTIALS_DIRECTORY {directory}: {error.strerror}") from None
    for file in files:
        owner, _, key = file.name.rpartition("bingx_")
        if key in ACCOUNT_KEYS and (not owner or owner.endswith(".")):
            yield owner.removesuffix(".") or _single(environ), key, _file(file, f"credential {file.name}", environ)


def _from_config(
    tables: Mapping[str, Mapping[str, str]], environ: Mapping[str, str]
) -> Iterator[tuple[str, str, Source]]:
    for account, table in tables.items():
        for name, value in table.items():
            place = f"{name} in [accounts.{account}]"
            source = (
                _file(Path(value), place, environ) if name.endswith("_file") else Source(place, partial(str, value))
            )
            yield account, name.removesuffix("_file"), source


def _single(environ: Mapping[str, str]) -> str:
    return environ.get(f"{PREFIX}ACCOUNT", DEFAULT_ACCOUNT)


def _file(path: Path, place: str, environ: Mapping[str, str]) -> Source:
    return Source(place, lambda: read_secret_file(path, place, environ))


def _secret(account: str, key: str, sources: list[Source]) -> str:
    if not sources:
        raise SettingsError(
            f"account {account} has no {key}: set BINGX_{key.upper()} or BINGX_{key.upper()}_FILE, "
            f"or {key}_file in [accounts.{account}] of the config file"
        )
    if len(sources) > 1:
        places = " and ".join(source.place for source in sources)
        raise SettingsError(f"account {account} has its {key} from {places}: keep one")
    text = sources[0].read().strip()
    if not text:
        raise SettingsError(f"{sources[0].place} is empty")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(f"{sources[0].place} has characters that no key of BingX has")
    return text
