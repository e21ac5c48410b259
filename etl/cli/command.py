"""What every command has: ``--config``, and code that is imported only when it is called."""

import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from etl.cli.exits import verdict
from etl.config.settings import Settings, read_log_format, read_settings
from etl.errors import EtlError, SettingsError
from etl.logs import configure

log = logging.getLogger(__name__)

ENDED = "ended"

CONFIG = "etl.config"


def _remember_config(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.meta[CONFIG] = value


def _config_option() -> click.Option:
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path, readable=False),  # what is wrong with it, the settings say
        expose_value=False,
        callback=_remember_config,
        help="The config file, instead of $BINGX_ETL_CONFIG or the one in the user's config directory.",
    )


def _only_one(_: click.Context, __: click.Parameter, names: tuple[str, ...]) -> str | None:
    if len(names) > 1:
        raise click.UsageError("--account is given more than once: name one, or none for all of them")
    return names[0] if names else None


account_option = click.option(
    "--account", metavar="NAME", multiple=True, callback=_only_one, help="Only this account, or all."
)
"""One account; of two, the first would be left out without a word."""


class Command(click.Command):
    """A command with ``--config``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_config_option())


class LoggedCommand(Command):
    """A command that keeps a log: where nobody is looking, what ends it is an event of that, not a line for people."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        """Run it; its exit code."""
        configure(read_log_format(ctx.meta.get(CONFIG)))
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if sys.stderr.isatty():
                raise
            code, text = verdict(error)
            trace = None if isinstance(error, EtlError | OSError) else error
            log.error(ENDED, extra={"fields": {"exit_code": code, "text": text}}, exc_info=trace)
            return code


class Group(click.Group):
    """A group with ``--config``, whose commands have it too."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_config_option())


class LazyGroup(Group):
    """A group that imports a command when it is called: cron starts us every five minutes."""

    def __init__(self, *args: Any, commands_at: dict[str, str], **kwargs: Any) -> None:
        """``commands_at``: by name, ``module:attribute``."""
        super().__init__(*args, **kwargs)
        self._commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a newcomer meets them."""
        del ctx
        return list(self._commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported."""
        del ctx
        if cmd_name not in self._commands_at:
            return None
        module, _, attribute = self._commands_at[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


def settings() -> Settings:
    """The settings that the running command goes by; the log follows them from here on."""
    read = read_settings_of(click.get_current_context().meta.get(CONFIG))
    configure(read.log_format, read.secrets)
    return read


def read_settings_of(config: Path | None) -> Settings:
    """All settings; a config file whose directory cannot even be looked into is a setting to mend as well."""
    try:
        return read_settings(config)
    except OSError as error:
        raise SettingsError(
            f"cannot read {error.filename}: {error.strerror}; mend its mode, or name another config file by --config"
        ) from None
