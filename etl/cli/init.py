"""``init``: a config file to fill in, and the database."""

import os
import sys
from pathlib import Path

import click

from etl.bootstrap import build_spool, database_file, prepare_database
from etl.cli.command import CONFIG, Command, read_settings_of
from etl.config.settings import SETTINGS, Setting, default_config_file, named_config_file
from etl.errors import CannotCreate

HEAD = """\
# bingx-etl: what is recorded, how often, and where to.
# Command line, then environment, then this file, then the default. What is commented out has its default, which
# an empty text stands for where it depends on the machine.
# The environment has the same names: interval is BINGX_ETL_INTERVAL.

"""
ACCOUNTS = """\
# One table per account; the name is yours. A key with the permission Read is enough, and it should have no other.
# A secret file holds one line and must be readable by its owner only: chmod 600.

# [accounts.main]
# api_key_file = "/absolute/path/main.key"
# api_secret_file = "/absolute/path/main.secret"
"""


def config_text() -> str:
    """The commented config file, with every setting there is."""
    return HEAD + "".join(_commented(setting) + "\n" for setting in SETTINGS) + ACCOUNTS


def _commented(setting: Setting) -> str:
    return f'# {setting.help}\n# {setting.name} = "{setting.default or ""}"\n'


@click.command(cls=Command, short_help="Write a config file, create the database; or services of systemd.")
@click.option(
    "--systemd",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write services of systemd into DIR instead, filled in from your settings, and say what comes next.",
)
@click.pass_context
def init(context: click.Context, directory: Path | None) -> None:
    """Write a commented config file, readable by you only, and create the database where it is SQLite.

    The file goes where --config says, else to $BINGX_ETL_CONFIG, else into your config directory. An existing file is
    left as it is.

    With --systemd neither is touched: a service with its timer, the daemon as a service and their own config file are
    written. No secret is read or written; systemd hands the keys over.
    """
    if directory is not None:
        from etl.cli.services import write_services  # noqa: PLC0415

        write_services(directory, read_settings_of(context.meta.get(CONFIG)))
        return
    path = named_config_file(context.meta.get(CONFIG)) or default_config_file()
    if _create(path):
        sys.stderr.write(f"wrote {path}: name your accounts and their key files in it\n")
    else:
        sys.stderr.write(f"{path} is there already and stays as it is\n")
    chosen = read_settings_of(path)
    if (database := database_file(chosen)) is not None:
        build_spool(chosen).prepare()
        prepare_database(chosen)
        sys.stderr.write(f"the database is {database}\n")
    else:
        sys.stderr.write("the database is PostgreSQL: bingx-etl db upgrade creates its tables\n")
    sys.stdout.write(f"{path}\n")


def _create(path: Path) -> bool:
    """Write it, unless there is something of that name."""
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
    except OSError as error:
        raise CannotCreate(
            f"cannot create the directory {path.parent}: {error.strerror}; --config names another place"
        ) from None
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(config_text())
    except FileExistsError:
        return False
    except OSError as error:
        raise CannotCreate(f"cannot create {path}: {error.strerror}; --config names another place") from None
    return True
