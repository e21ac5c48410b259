"""``init --systemd``: the services, filled in from the present settings, and what to do with them."""

import os
import shlex
import sys
from pathlib import Path

import etl
from etl.bootstrap import database_file
from etl.config.keys import DEFAULT_ACCOUNT, account_names
from etl.config.secret_files import absolute
from etl.config.settings import ACCOUNT_KEYS, Settings
from etl.errors import CannotCreate
from etl.ops.units import CONFIG, DAEMON, ETC, ONESHOT, STATE, TIMER, USER, Installation, units

UNIT_DIRECTORY = Path("/etc/systemd/system")
# A timer starts the program anew for each slot, and passes over a slot in which the last run has not yet ended.
SHORT_SECONDS = 300


def write_services(directory: Path, chosen: Settings) -> None:
    """Write units and their config file into a directory, unless there is one of them. Says what to do next."""
    directory = directory.absolute()
    installation = _installation(chosen)
    paths = [directory / name for name in _write(directory, units(installation))]
    sys.stdout.write("".join(f"{path}\n" for path in paths))
    sys.stderr.write(_next(directory, installation))


def _installation(chosen: Settings) -> Installation:
    given = dict(chosen.given)
    state_dir = chosen.state_dir if "state_dir" in given else STATE
    accounts = tuple(account_names(chosen)) or (DEFAULT_ACCOUNT,)
    tables = chosen.account_tables
    credentials = {
        f"{account}.bingx_{key}": absolute(Path(path), f"{key}_file")
        if (path := tables.get(account, {}).get(f"{key}_file"))
        else ETC / f"{account}.bingx_{key}"
        for account in accounts
        for key in ACCOUNT_KEYS
    }
    file, rooted = database_file(chosen), _from_the_root(chosen)
    secret = [name for name in ("database_url", "ping_url") if name in given and (name != "database_url" or not file)]
    return Installation(
        program=_program(),
        parts=(Path(sys.prefix), Path(sys.base_prefix), Path(etl.__file__).parents[1]),
        interval_seconds=chosen.interval_seconds,
        state_dir=state_dir,
        accounts=accounts,
        credentials={**credentials, **{name: ETC / name for name in secret}},
        credential_settings=tuple(secret),
        settings={name: rooted.get(name, text) for name, text in given.items() if name not in {"state_dir", *secret}},
        reads=(
            *([chosen.ca_bundle] if chosen.ca_bundle else []),
            *([Path(chosen.on_change[0])] if chosen.on_change else []),
        ),
        writes=(file.parent,) if file is not None and "database_url" in given else (),
        writes_of_others=(chosen.metrics_textfile.parent,) if chosen.metrics_textfile else (),
    )


def _from_the_root(chosen: Settings) -> dict[str, str]:
    """Settings that hold a path, as the caller means them: a service has another home, and starts in another place."""
    paths = {"ca_bundle": chosen.ca_bundle, "metrics_textfile": chosen.metrics_textfile}
    command = {"on_change": shlex.join(chosen.on_change)} if chosen.on_change else {}
    return {name: str(path) for name, path in paths.items() if path} | command


def _program() -> Path:
    program = Path(sys.prefix) / "bin" / "bingx-etl"
    if not os.access(program, os.X_OK):
        raise CannotCreate(
            f"there is no {program}, which the services would start: install the program, and call the installed one"
        )
    return program


def _write(directory: Path, files: dict[str, str]) -> list[str]:
    """All of them, or none."""
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            # The units may be read by everybody; the config file may hold a password.
            mode = 0o600 if name == CONFIG else 0o644
            descriptor = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            written.append(directory / name)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError) and error.filename != str(directory):
            raise CannotCreate(
                f"{error.filename} is there already and stays as it is: name another directory"
            ) from None
        raise CannotCreate(f"cannot write {error.filename or directory}: {error.strerror}") from None
    return list(files)


def _next(directory: Path, installation: Installation) -> str:
    """The commands that come next."""
    missing = [path for path in installation.credentials.values() if path.parent == ETC]
    names = [ONESHOT, TIMER, DAEMON]
    short = installation.interval_seconds < SHORT_SECONDS
    timer, daemon = f"systemctl enable --now {TIMER}", f"systemctl enable --now {DAEMON}"
    first, other = (daemon, timer) if short else (timer, daemon)
    quoted = {name: shlex.quote(str(directory / name)) for name in (*names, CONFIG)}
    lines = [
        "look at them; then, as root:",
        f"  useradd --system --home-dir {STATE} --shell /usr/sbin/nologin {USER}",
        f"  install -D -m 600 -o {USER} {quoted[CONFIG]} {ETC / CONFIG}",
        *(f"  (umask 077; cat > {path})    # paste, Enter, Ctrl-D" for path in missing),
    ]
    if directory != UNIT_DIRECTORY:
        lines.append(f"  install -m 644 {' '.join(quoted[name] for name in names)} {UNIT_DIRECTORY}/")
    own = (installation.state_dir, *installation.writes)
    lines += [
        *(
            f"  install -d -m 700 -o {USER} {shlex.quote(str(path))}"
            for path in own
            if not path.is_relative_to("/var/lib")
        ),
        *(
            f"  setfacl -m u:{USER}:rwx {shlex.quote(str(path))}    # where metrics_textfile goes; package acl"
            for path in installation.writes_of_others
        ),
        "  systemctl daemon-reload",
        f"  systemctl start {ONESHOT}; journalctl -n 20 -u {ONESHOT}    # one slot, to see it work",
        f"  {first}",
        f"or, instead of the last{', though a timer is slow for so short an interval' if short else ''}:",
        f"  {other}",
    ]
    return "".join(f"{line}\n" for line in lines)
