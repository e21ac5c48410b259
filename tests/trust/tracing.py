"""The program as a real process under ``strace``: what it asked of the system, in order, and faults put into that.

A fault names a system call, and which one of them in its thread: strace counts the calls of each thread by itself.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.program import Program, Ran

# What changes a file or a name, and what travels over a socket. A machine need not have them all: hence the "?".
CHANGES = (
    *("write", "writev", "pwrite64", "pwritev", "ftruncate", "fsync", "fdatasync", "mkdir", "mkdirat"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat"),
)
TALK = ("sendto", "sendmsg", "recvfrom", "recvmsg")
LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)", re.DOTALL)
RESULT = re.compile(r"\) += (-?\d+|\?)(?: [A-Z]+ \([^()]*\))?( \(INJECTED\))?$")
UNFINISHED = " <unfinished ...>"
ANSWERS_WITHIN = 60
STARTS_IN_NO_LESS_THAN = 0.02


@dataclass(slots=True)
class Call:
    """One system call: its line when it was made, its line when it returned (None: never), and what it returned."""

    thread: int
    name: str
    arguments: str
    began: int
    ended: int | None = None
    result: int | None = None
    injected: bool = False

    @property
    def path(self) -> str:
        """The file of its first argument, be that a descriptor or a name."""
        match = re.match(r'\d+<([^>]*)>|(?:AT_FDCWD(?:<[^>]*>)?, )?"([^"]*)"', self.arguments)
        return (match[1] or match[2] or "") if match else ""

    @property
    def target(self) -> str:
        """The new name that a rename gives."""
        return str(re.findall(r'"([^"]*)"', self.arguments)[-1])

    @property
    def succeeded(self) -> bool:
        """Whether it was really made and came to its end."""
        return self.ended is not None and self.result is not None and self.result >= 0 and not self.injected


@dataclass(frozen=True, slots=True)
class Traced:
    """A run, and its system calls in the order in which they were made."""

    ran: Ran
    calls: list[Call]

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.ran.code == -9

    @property
    def hit(self) -> bool:
        """Whether the fault met anything."""
        return self.killed or any(call.injected for call in self.calls)

    def named(self, *names: str) -> list[Call]:
        """The calls of these names."""
        return [call for call in self.calls if call.name in names]

    def most(self) -> Counter[str]:
        """How often each call was made by the thread that made most of them: as far as a fault can count."""
        most: Counter[str] = Counter()
        for (_, name), number in Counter((call.thread, call.name) for call in self.calls).items():
            most[name] = max(most[name], number)
        return most


def need_strace() -> None:
    """Skips the test where there is no strace, or none that may trace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run(["strace", "-f", "--seccomp-bpf", "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("strace may not trace here")


def run_traced(
    program: Program, *arguments: str, fault: str | None = None, letters: int = 32, **environ: str | None
) -> Traced:
    """Run the program to its end; ``fault`` as strace's inject has it, ``letters`` of each string are kept."""
    log = program.home / "trace"
    with subprocess.Popen(
        [*strace(log, fault, letters), sys.executable, "-m", "etl", *arguments],
        env=environment(program, environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=program.home,
    ) as process:
        try:
            out, err = process.communicate(timeout=ANSWERS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    text = log.read_text("utf-8", "replace")
    log.unlink()  # it quotes what was sent, signature included
    return Traced(Ran(process.returncode, out, err), parse(text.splitlines()))


@contextmanager
def daemon_traced(program: Program, fault: str, done: list[Traced]) -> Iterator["Tracee"]:
    """``run`` under strace; at the end of the block it is told to stop, and what it did is appended to ``done``."""
    trace, said = program.home / "trace", program.home / "said"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [*strace(trace, fault), sys.executable, "-m", "etl", "run"],
            env=environment(program, {}),
            stdout=stderr,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            cwd=program.home,
        )
    tracee = Tracee(process)
    try:
        yield tracee
        tracee.send(signal.SIGTERM)
        code = process.wait(ANSWERS_WITHIN)
        lines = trace.read_text("utf-8", "replace").splitlines()
        done.append(Traced(Ran(code, "", said.read_text("utf-8", "replace")), parse(lines)))
    finally:
        tracee.send(signal.SIGKILL)
        process.wait(ANSWERS_WITHIN)
        trace.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Tracee:
    """A process that strace has begun."""

    tracer: "subprocess.Popen[bytes]"

    @property
    def ended(self) -> bool:
        """Whether it has ended, and strace with it."""
        return self.tracer.poll() is not None

    def send(self, number: int) -> None:
        """Send it a signal, if it is still there: strace itself would keep it."""
        if self.ended:
            return
        children = Path(f"/proc/{self.tracer.pid}/task/{self.tracer.pid}/children")
        for child in children.read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), number)


def wait_for_new_slot(seconds: int = 1) -> None:
    """Until a run that starts now will ask in the next slot of so long: this is earlier than that, but not by much."""
    time.sleep(max(0.0, seconds - STARTS_IN_NO_LESS_THAN - time.time() % seconds))


def strace(log: Path, fault: str | None, letters: int = 32) -> list[str]:
    """The command before the command."""
    command = ["strace", "-f", "-y", "-o", str(log), "-s", str(letters)]
    command += ["-e", "signal=none", "-e", "trace=" + ",".join(f"?{name}" for name in (*CHANGES, *TALK))]
    if fault is not None:
        command += ["-e", f"inject={fault}"]
    # With the filter it is twice as fast, but then strace 6.1 forgets a signal that is not for the first call.
    return command if fault is not None and "signal=" in fault else [*command, "--seccomp-bpf"]


def environment(program: Program, changes: dict[str, str | None]) -> dict[str, str]:
    """As the program's, without the writing of compiled modules, which would be counted too."""
    merged = {**program.environ, "PYTHONDONTWRITEBYTECODE": "1", **changes}
    return {name: value for name, value in merged.items() if value is not None}


def parse(lines: Iterable[str]) -> list[Call]:
    """The calls in a log of strace's. What it killed, and what had not returned by then, has no end."""
    calls: list[Call] = []
    open_calls: dict[int, Call] = {}
    for number, line in enumerate(lines):
        match = LINE.fullmatch(line)
        if match is None:
            continue  # the end of a thread
        thread, resumed, name, rest = int(match[1]), match[2], match[3], match[4]
        if resumed:
            call = open_calls.pop(thread)
            call.arguments += rest
        else:
            call = Call(thread, name, rest.removesuffix(UNFINISHED), number)
            calls.append(call)
            if rest.endswith(UNFINISHED):
                open_calls[thread] = call
                continue
        _settle(call, rest, number)
    return calls


def _settle(call: Call, rest: str, number: int) -> None:
    found = RESULT.search(rest)
    if found is None:
        return
    call.injected = bool(found[2])
    if found[1] != "?":
        call.ended, call.result = number, int(found[1])
