"""``python -m etl.sandbox``: the sandbox alone, without the command line's libraries."""

import sys
from argparse import ArgumentParser
from pathlib import Path

from etl.errors import EtlError
from etl.sandbox.serve import serve


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal; 128 plus its number, or the exit code of what went wrong."""
    parser = ArgumentParser(prog="python -m etl.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--accounts", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config-directory", type=Path)
    given = parser.parse_args(arguments)

    def announce(line: str) -> None:
        sys.stderr.write(line + "\n")

    try:
        return 128 + serve(given.port, given.accounts, given.seed, announce, given.config_directory)
    except EtlError as error:
        announce(str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
