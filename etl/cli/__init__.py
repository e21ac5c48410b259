"""Arguments in, one call, words and an exit code out."""

import logging
import os
import sys
import traceback
from typing import NoReturn

import click

from etl.cli.command import LazyGroup
from etl.cli.exits import Exit
from etl.errors import EtlError
from etl.logs import Redactor, configure

log = logging.getLogger(__name__)

COMMANDS = {
    "demo": "etl.cli.demo:demo",
    "snapshot": "etl.cli.snapshot:snapshot",
    "init": "etl.cli.init:init",
    "status": "etl.cli.status:status",
    "account": "etl.cli.account:account",
    "report": "etl.cli.history:report",
    "gaps": "etl.cli.history:gaps",
    "spool": "etl.cli.spool:spool",
    "db": "etl.cli.db:db",
    "sandbox": "etl.cli.sandbox:sandbox",
}


@click.group(cls=LazyGroup, commands_at=COMMANDS)
@click.version_option(package_name="bingx-etl", prog_name="bingx-etl")
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

    \b
    Exit codes: 0 done, 1 a check found something, 2 usage, 65 answer not understood, 69 BingX unavailable, 70 a bug,
    73 cannot create a file, 74 disk, 75 try again later (the reading waits in the spool), 77 key refused, 78 settings.
    """


def main() -> NoReturn:
    """The program."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code: every error ends here, as one line with a remedy."""
    configure()
    try:
        result = cli.main(arguments, prog_name="bingx-etl", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except EtlError as error:
        return _say(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read us has read enough; the interpreter must not stumble over it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except OSError as error:
        return _say(f"{error.filename or 'input or output'}: {error.strerror}", Exit.DISK)
    except Exception:  # noqa: BLE001 - the last one: what nobody foresaw still ends in one line
        sys.stderr.write(Redactor()(traceback.format_exc()))
        return _say("this is a bug: please report the lines above. What was read is safe in the spool", Exit.BUG)
    return int(result or 0)


def _say(text: str, code: int) -> int:
    sys.stderr.write(Redactor()(f"bingx-etl: {text}\n"))
    return code
