"""The program without the right to pass over the modes of files, whoever runs the tests."""

import subprocess
import sys

from tests.cli.program import Program, Ran

# Root may read and write whatever the modes say. Taken out of the bounding set, these two rights are gone with the next
# exec, and root is a user like any other: the owner of its files.
WITHOUT_OVERRIDE = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
if os.getuid() == 0:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            sys.exit("cannot drop a capability")
os.execv(sys.executable, [sys.executable, "-m", "etl", *sys.argv[1:]])
"""


def confined(program: Program, *arguments: str, **environ: str | None) -> Ran:
    """Run it to its end; a variable that is None is taken out of its environment."""
    merged: dict[str, str | None] = {**program.environ, **environ}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", WITHOUT_OVERRIDE, *arguments],
        env={name: value for name, value in merged.items() if value is not None},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=program.home,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
