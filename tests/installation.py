"""An installation of the program in a directory of one's choice: an environment that sees this checkout."""

import os
import stat
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def install(directory: Path) -> Path:
    """Make it; returns the command."""
    venv.create(directory, symlinks=True, with_pip=False)
    [site_packages] = directory.glob("lib/python3*/site-packages")
    paths = dict.fromkeys([str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site_packages / "checkout.pth").write_text("".join(f"{path}{os.linesep}" for path in paths))
    program = directory / "bin" / "bingx-etl"
    # As pip writes it where the path of the interpreter has spaces in it.
    program.write_text(f'#!/bin/sh\nexec "{directory / "bin" / Path(sys.executable).name}" -m etl "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return program
