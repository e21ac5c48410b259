"""``account``: the accounts of the history."""

import sys
from datetime import UTC, datetime

import click

from etl.bootstrap import build_accounts, build_history, build_loader, build_remembered
from etl.cli.command import Command, Group, settings
from etl.cli.output import format_option, write
from etl.errors import SettingsError, TryAgain
from etl.model import ACCOUNT_NAME

COLUMNS = ("account", "uid", "environment", "interval", "created_at", "retired_at")


@click.group(cls=Group, short_help="The accounts of the history: list, rename, retire, accept.")
def account() -> None:
    """The accounts of the history. An account is its BingX UID; its name is yours."""


@account.command("list", cls=Command)
@format_option
def list_(form: str) -> None:
    """Every account that the history knows, retired ones too."""
    rows = build_history(settings()).accounts()
    write(rows, COLUMNS, form, "no account yet: the first snapshot brings it")


@account.command(cls=Command)
@click.argument("name")
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Give an account another name; its history goes with it. Rename it in the config file as well."""
    if not ACCOUNT_NAME.fullmatch(new_name):
        raise SettingsError(f"account name {new_name!r}: at most 64 letters, digits, dots, dashes and underscores")
    if new_name == name:
        raise SettingsError(f"{name} has that name already")
    chosen = settings()
    loader = build_loader(chosen)
    loader.load()
    if any(entry.outcome.account == name for entry in loader.spool.read(loader.spool.names())):
        raise TryAgain(f"outcomes of {name} wait in the spool under that name: bingx-etl spool load says why")
    build_accounts(chosen).rename(name, new_name)
    build_remembered(chosen).forget(name)
    sys.stderr.write(f"{name} is {new_name} now: rename it in the settings too, or its next reading is refused\n")


@account.command(cls=Command)
@click.argument("name")
def retire(name: str) -> None:
    """Expect no more slots of an account. Its history stays; take it out of the settings as well."""
    build_accounts(settings()).retire(name, datetime.now(UTC))
    sys.stderr.write(
        f"{name} is retired: no slots are expected any more; a new reading would begin its schedule anew\n"
    )


@account.command(cls=Command)
@click.argument("name")
@click.argument("type_", metavar="TYPE")
def accept(name: str, type_: str) -> None:
    """Accept that a wallet is gone for good: snapshots without it are complete again."""
    build_accounts(settings()).accept(name, type_)
    sys.stderr.write(f"{type_} of {name} is no longer missed\n")
