"""Arguments in, one call, words and an exit code out."""

import gc
import logging
import sys
import traceback
from textwrap import fill
from typing import NoReturn

import click

from etl.cli.command import LazyGroup
from etl.cli.exits import Exit, most_needing, verdict
from etl.cli.streams import patient_streams
from etl.config.settings import SETTINGS
from etl.errors import EtlError
from etl.logs import configure, redacted

log = logging.getLogger(__name__)

# A start makes some 200,000 objects that all stay: by default a hundred collections would look at them in vain.
COLLECT_AFTER_OBJECTS = 50_000

COMMANDS = {
    "demo": "etl.cli.demo:demo",
    "snapshot": "etl.cli.snapshot:snapshot",
    "run": "etl.cli.run:run",
    "init": "etl.cli.init:init",
    "status": "etl.cli.status:status",
    "account": "etl.cli.account:account",
    "report": "etl.cli.report:report",
    "gaps": "etl.cli.history:gaps",
    "export": "etl.cli.export:export",
    "import": "etl.cli.imports:import_",
    "void": "etl.cli.void:void",
    "unvoid": "etl.cli.void:unvoid",
    "spool": "etl.cli.spool:spool",
    "db": "etl.cli.db:db",
    "doctor": "etl.cli.doctor:doctor",
    "health": "etl.cli.health:health",
    "sandbox": "etl.cli.sandbox:sandbox",
}


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - for this alone

    try:
        click.echo(f"bingx-etl {version('bingx-etl')}")
    except PackageNotFoundError:
        click.echo("bingx-etl, of a checkout that is not installed")
    context.exit()


@click.group(
    cls=LazyGroup,
    commands_at=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"""\b
    Settings, in the config file; in the environment BINGX_ETL_INTERVAL and so on (bingx-etl init explains each):
{fill(", ".join(setting.name for setting in SETTINGS), 118, initial_indent="      ", subsequent_indent="      ")}

    \b
    Exit codes: 0 done, 1 a check found something, 2 usage, 65 answer not understood, 69 BingX unavailable, 70 a bug,
    73 cannot create a file, 74 disk, 75 try again later (the reading waits in the spool), 77 key refused, 78 settings.
    """,
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="The version.")
def cli() -> None:
    """Record, on a timer, what BingX accounts are worth, into a database of your own.

    \b
    First steps:
      bingx-etl demo          see it work, without a key
      bingx-etl init          write a config file, create the database
      bingx-etl snapshot      record now; from cron or a systemd timer, every slot
      bingx-etl report        what was recorded

    A key with the permission Read is enough: put it into BINGX_API_KEY and BINGX_API_SECRET, or into files that the
    config file names. Data goes to stdout, words to stderr.
    """


def main() -> NoReturn:
    """The program."""
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    with patient_streams() as streams:
        code = invoke(sys.argv[1:])
        sys.stdout.flush()
        if (refusal := streams.unwritten()) is not None:
            code = _worse(code, _say(f"stdout cannot be written: {refusal.strerror}", Exit.DISK))
    gc.freeze()  # the memory goes back as a whole: what is in it need not be searched for cycles
    sys.exit(code)


def invoke(arguments: list[str]) -> int:
    """Run one command and return its exit code: every error ends here, as one line with a remedy."""
    configure()
    try:
        result = cli.main(arguments, prog_name="bingx-etl", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one: what nobody foresaw still ends in one line
        if not isinstance(error, EtlError | OSError):
            sys.stderr.write(redacted(traceback.format_exc()))
        code, text = verdict(error)
        return _say(text, code)
    return int(result or 0)


def _worse(code: int, other: int) -> int:
    """Of two codes the one that most needs a person; one that tells of a signal stays."""
    return code if code >= Exit.INTERRUPTED else most_needing((code, other)) or other


def _say(text: str, code: int) -> int:
    sys.stderr.write(redacted(f"bingx-etl: {text}\n"))
    return code
