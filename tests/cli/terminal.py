"""The program on a terminal, as a person sees it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from tests.cli.program import Program


def on_a_terminal(program: Program, *arguments: str, columns: int = 80) -> list[str]:
    """The lines that a person sees who has so many columns, without what makes letters bold."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {**program.environ, "PYTHONIOENCODING": "utf-8", "TERM": "xterm"}
    command = [sys.executable, "-m", "etl", *arguments]
    with subprocess.Popen(command, env=environ, stdout=theirs, stderr=subprocess.PIPE, cwd=program.home) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:  # Linux's way to say that it is over
                break
            if not more:
                break
            said += more
        assert process.wait(60) == 0
    os.close(ours)
    return re.sub("\x1b\\[[0-9;]*m", "", said.decode()).splitlines()
