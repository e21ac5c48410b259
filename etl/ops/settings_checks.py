"""Which settings are in force and where each came from. What is secret is there or not, and never shown."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from etl.config.settings import SETTINGS, Settings
from etl.errors import SettingsError
from etl.ops.finding import MOST_NAMES, Finding, Verdict

_RELATIVE = re.compile(r"\s*(sqlite(\+\w+)?:///)?[^/~\s:]+(/|\?|\s*$)")


@dataclass(frozen=True, slots=True)
class Given:
    """A setting. ``value`` is ``present`` or ``absent`` where it is secret; ``origin`` names the variable or file."""

    name: str
    value: str
    origin: str


def given(settings: Settings) -> list[Given]:
    """Every setting but the keys."""
    shown = {each.name for each in fields(settings) if each.repr}
    return [
        Given(
            setting.name,
            _value(settings, setting.name, shown, is_secret=setting.secret, origin=settings.origins[setting.name]),
            settings.origins[setting.name],
        )
        for setting in SETTINGS
    ]


def _value(settings: Settings, name: str, shown: set[str], *, is_secret: bool, origin: str) -> str:
    if is_secret:
        return "absent" if origin == "default" else "present"
    for field, unit in ((name, ""), (f"{name}_seconds", " s"), (f"{name}_ms", " ms")):
        if field in shown:
            value = getattr(settings, field)
            return _text(value) + (unit if value is not None else "")
    return "absent" if origin == "default" else "present"


def _text(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case (str(host), int(port)):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case (requests, float(seconds)):
            return f"{requests}/{seconds:g}s"
        case _:
            return str(value)


def check_settings(settings: Settings | SettingsError) -> Iterator[Finding]:
    """Whether they can be understood, which are not the defaults, and what could be meant otherwise than it works."""
    check = "settings"
    if isinstance(settings, SettingsError):
        yield Finding(check, Verdict.PROBLEM, str(settings))
        return
    chosen = [f"{each.name} {each.value} ({each.origin})" for each in given(settings) if each.origin != "default"]
    file = f"config file {settings.config_file}" if settings.config_file else "no config file"
    yield Finding(check, Verdict.OK, "; ".join([file, *chosen, "all others are defaults"]))
    for name in ("state_dir", "database_url", "metrics_textfile"):
        if settings.origins[name] == str(settings.config_file) and _RELATIVE.match(settings.given.get(name, "/")):
            says = (
                f"{name} in {settings.config_file} is a relative path: another place, wherever the program is started"
            )
            yield Finding(check, Verdict.WARNING, says, "write it from the root, or from ~/")
    if settings.on_change:
        program = Path(settings.on_change[0])
        if not (program.is_file() and os.access(program, os.X_OK)):
            # Its path is not told: all of the setting is treated as a secret.
            why = "this user may not execute it" if program.is_file() else "there is no such file"
            says = f"the command of on_change cannot be run: {why}"
            yield Finding(check, Verdict.PROBLEM, says, "mend it, or on_change")


def check_places(
    places: Mapping[str, Mapping[str, list[str]]] | SettingsError, unusable: Mapping[str, SettingsError]
) -> Iterator[Finding]:
    """Whether each account has a key and a secret, and where from."""
    check = "keys"
    if isinstance(places, SettingsError):
        yield Finding(check, Verdict.PROBLEM, str(places))
        return
    if not places:
        says = "no account is set"
        yield Finding(check, Verdict.PROBLEM, says, "set BINGX_API_KEY and BINGX_API_SECRET, or run bingx-etl init")
    for account, by_key in places.items():
        if account in unusable:
            yield Finding(check, Verdict.PROBLEM, str(unusable[account]), accounts=(account,))
        else:
            names = " and ".join(place for given_by in by_key.values() for place in given_by)
            says = (
                f"key and secret are present ({names})" if len(places) <= MOST_NAMES else "key and secret are present"
            )
            yield Finding(check, Verdict.OK, says, accounts=(account,))
