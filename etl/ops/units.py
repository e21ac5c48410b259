"""The units in ``deploy/systemd``, filled in for an installation: what `init --systemd` writes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from etl.errors import SettingsError
from etl.model import ACCOUNT_NAME
from etl.ops.on_calendar import on_calendar

ONESHOT, TIMER, DAEMON = "bingx-etl.service", "bingx-etl.timer", "bingx-etl-daemon.service"
CONFIG = "bingx-etl.toml"
# Where root puts what the services read, and what is theirs.
ETC, STATE = Path("/etc/bingx-etl"), Path("/var/lib/bingx-etl")
USER = "bingx-etl"
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
# A run ends so long before its slot does, so that it has ended when the next one is started.
MARGIN_SECONDS, LEAST_SECONDS = 15, 30

CONFIG_HEAD = """\
# The settings of the services; bingx-etl init without --systemd writes a file that explains each of them.
# Where the interval is changed, the timer has to be changed with it: bingx-etl init --systemd writes it anew.

"""
ACCOUNTS_HEAD = """
# The keys of the accounts come from systemd: LoadCredential= in the units. Here they would be a second source.
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """What the units are filled in with.

    ``program`` is the command, and ``parts`` all that it is made of. ``credentials`` are files by the name under which
    systemd hands them over, ``credential_settings`` the settings among them. ``settings`` go into the config file.
    ``reads`` and ``writes`` are files and directories elsewhere; those of ``writes_of_others`` are somebody else's.
    """

    program: Path
    parts: tuple[Path, ...]
    interval_seconds: int
    state_dir: Path = STATE
    accounts: tuple[str, ...] = ("main",)
    credentials: Mapping[str, Path] = field(default_factory=dict)
    credential_settings: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    writes_of_others: tuple[Path, ...] = ()


def template(name: str) -> str:
    """A unit as it lies in deploy/systemd, or as the wheel carries it."""
    carried = Path(__file__).parent / "_systemd"
    directory = carried if carried.is_dir() else Path(__file__).parents[2] / "deploy" / "systemd"
    return (directory / name).read_text(encoding="utf-8")


def units(installation: Installation) -> dict[str, str]:
    """Every file by its name. Raises SettingsError where a path cannot be written into a unit."""
    shared = {
        "LoadCredential": [
            f"LoadCredential={name}:{_rest_of_line(path)}" for name, path in installation.credentials.items()
        ],
        "SetCredential": [f"SetCredential={name}:\\n" for name in installation.credentials],
        "Environment": [
            f"Environment=BINGX_ETL_CONFIG={ETC / CONFIG}",
            *(f"Environment=BINGX_ETL_{name.upper()}_FILE=%d/{name}" for name in installation.credential_settings),
        ],
        **_files(installation),
    }
    seconds = max(installation.interval_seconds - MARGIN_SECONDS, LEAST_SECONDS)
    start = f"ExecStart={_word(installation.program)}"
    oneshot = {"ExecStart": [f"{start} snapshot"], "TimeoutStartSec": [f"TimeoutStartSec={seconds}s"]}
    due = [f"OnCalendar={expression}" for expression in on_calendar(installation.interval_seconds)]
    return {
        ONESHOT: filled_in(template(ONESHOT), {**shared, **oneshot}),
        TIMER: filled_in(template(TIMER), {"OnCalendar": due}),
        DAEMON: filled_in(template(DAEMON), {**shared, "ExecStart": [f"{start} run"]}),
        CONFIG: _config(installation),
    }


def filled_in(text: str, lines: Mapping[str, list[str]]) -> str:
    """The text with other lines for these settings, in the place of the first of each."""
    filled, placed = [], set()
    for line in text.splitlines():
        name = line.partition("=")[0]
        if name not in lines:
            filled.append(line)
        elif name not in placed:
            placed.add(name)
            filled += lines[name]
    if missing := set(lines) - placed:
        raise ValueError(f"the template has no {', '.join(sorted(missing))}")
    return "\n".join(filled) + "\n"


def _files(installation: Installation) -> dict[str, list[str]]:
    """What the services see and may write of the file system, besides what all of them see."""
    elsewhere = (*installation.writes, *installation.writes_of_others)
    hidden = [path for path in (installation.state_dir, *elsewhere) if is_in_a_home(path)]
    if hidden:
        raise SettingsError(
            f"{hidden[0]} is in somebody's home, which the services cannot see: move it, with what is in it, "
            f"to {STATE}, and leave its setting out"
        )
    shown = sorted({path for path in (*installation.parts, *installation.reads) if is_in_a_home(path)})
    state = installation.state_dir
    own = state.relative_to("/var/lib") if state.is_relative_to("/var/lib") and state != Path("/var/lib") else None
    writes = {path for path in (state, *elsewhere) if own is None or not path.is_relative_to(state)}
    return {
        "StateDirectory": [] if own is None else [f"StateDirectory={_word(own, but=':')}"],
        "ProtectSystem": [
            "ProtectSystem=strict",
            *(f"ReadWritePaths={_word(path, but=':')}" for path in sorted(writes)),
        ],
        # A home that is empty but for what the program is made of.
        "ProtectHome": ["ProtectHome=tmpfs", *(f"BindReadOnlyPaths={_word(path, but=':')}" for path in shown)]
        if shown
        else ["ProtectHome=yes"],
    }


def is_in_a_home(path: Path) -> bool:
    """Whether ProtectHome= hides it."""
    return any(path.is_relative_to(home) for home in HOMES)


def _config(installation: Installation) -> str:
    for account in installation.accounts:
        if not ACCOUNT_NAME.fullmatch(account):
            raise SettingsError(f"account name {account!r} cannot be one")
    settings = {"state_dir": str(installation.state_dir), **installation.settings}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items()]
    tables = [f"[accounts.{json.dumps(account)}]\n" for account in installation.accounts]
    return CONFIG_HEAD + "".join(lines) + ACCOUNTS_HEAD + "".join(tables)


def _rest_of_line(path: Path) -> str:
    """A path where a unit takes the line as it is: only % means something, and some characters would end the line."""
    text = str(path)
    if not path.is_absolute() or not text.isprintable() or "\\" in text or text != text.strip():
        raise SettingsError(f"the path {text!r} cannot be written into a unit of systemd: give the file a plainer one")
    return text.replace("%", "%%")


def _word(path: Path, *, but: str = "") -> str:
    """A path as one word among others. Quoted where it has to be; what quoting cannot help with is refused."""
    text = str(path)
    if not text.isprintable() or re.search(rf"[\\\"'${but}]", text):
        raise SettingsError(f"the path {text!r} cannot be written into a unit of systemd: use a plainer one")
    text = text.replace("%", "%%")
    return f'"{text}"' if re.search(r"[\s;]", text) or text.startswith(("-", "+", "@", "!")) else text
