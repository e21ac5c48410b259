"""``doctor``: what is wrong with an installation, and what to do about it."""

import logging
import sys
from dataclasses import asdict
from typing import Any

import click
import msgspec

from etl.cli.command import Command, settings
from etl.cli.exits import Exit
from etl.config.keys import key_places
from etl.config.settings import Settings
from etl.errors import SettingsError
from etl.logs import configure, redacted
from etl.ops.finding import Finding, Verdict, overall
from etl.ops.settings_checks import check_settings, given


@click.command(cls=Command, short_help="What is wrong, and what to do about it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def doctor(*, as_json: bool) -> int:
    """Check everything that recording needs: one line per check, with a verdict and, where there is one, the remedy.

    Settings and where each came from, keys, permissions, addresses, the UID behind each key against the history; clock,
    database, schema, rights; spool, quarantine, space, modes, file system; and whether runs come as often as the
    interval says. Exit 1 if there is a problem, which is what needs a person; warnings, and what cannot be found out,
    are none.

    BingX is asked for its time, and about each key. Balances are not asked for. It ends within half a minute, whoever
    is silent, and shows no key, no UID and no amount.
    """
    from etl.checkup import build_doctor, keys_of  # noqa: PLC0415 - brings nearly all libraries there are

    try:
        chosen = settings()
    except SettingsError as error:
        findings = list(check_settings(error))
        _write(findings, None, as_json=as_json)
        return Exit.FOUND
    keys = keys_of(chosen)
    usable = {} if isinstance(keys, SettingsError) else keys.usable
    secrets = [text for key in usable.values() for text in (key.key, key.secret)]
    configure(chosen.log_format, secrets, logging.ERROR)  # what its parts warn of, it finds by itself
    findings = build_doctor(chosen, keys).findings()
    _write(findings, chosen, as_json=as_json)
    return Exit.FOUND if overall(findings) is Verdict.PROBLEM else Exit.DONE


def _write(findings: list[Finding], chosen: Settings | None, *, as_json: bool) -> None:
    if as_json:
        whole: dict[str, Any] = {
            "verdict": overall(findings).value,
            "findings": [asdict(finding) for finding in findings],
            "settings": None if chosen is None else [asdict(each) for each in given(chosen)],
            "keys": None if chosen is None else _places(chosen),
        }
        text = msgspec.json.encode(whole).decode() + "\n"
    else:
        text = "".join(f"{finding.line()}\n" for finding in findings)
    sys.stdout.write(redacted(text))


def _places(chosen: Settings) -> dict[str, dict[str, list[str]]] | None:
    try:
        return key_places(chosen)
    except SettingsError:
        return None  # a finding says why
