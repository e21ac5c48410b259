"""The program: ``bingx-etl``, and ``python -m etl``."""

import os
import sys


def main() -> None:
    """Run a command. A check of the health that finds everything in its usual place imports no more than it needs."""
    if sys.argv[1:2] == ["health"]:
        from etl.ops.quick_health import quick_health  # noqa: PLC0415

        if (code := quick_health(sys.argv[2:])) is not None:
            os._exit(code)  # nothing is open or unwritten, and an orderly end takes as long as the answer
    from etl.cli import main as whole  # noqa: PLC0415

    whole()


if __name__ == "__main__":
    main()
