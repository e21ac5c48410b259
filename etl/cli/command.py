"""What every command has: ``--config``, and code that is imported only when it is called."""

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from etl.errors import SettingsError
from etl.logs import configure
from etl.settings import Settings, read_settings

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


class Command(click.Command):
    """A command with ``--config``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_config_option())


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
