"""Secrets that stand in files: read only where nobody else can read them."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from etl.errors import SettingsError

MAX_BYTES = 4096
DOCKER_SECRETS = Path("/run/secrets")


def is_private(path: Path) -> bool:
    """Whether only its owner can read a file."""
    return not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def absolute(path: Path, called: str) -> Path:
    """The path from the root, ``~`` understood. Raises SettingsError, with ``called`` for the name of the setting."""
    if "\0" in str(path):
        raise SettingsError(f"the path {str(path)!r} of {called} cannot be one: there is a NUL in it")
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise SettingsError(f"the path {str(path)!r} of {called} cannot be one: {error}") from None


def read_secret_file(path: Path, called: str, environ: Mapping[str, str]) -> str:
    """The one line in a secret file, without the white space around it.

    Whoever made ``$CREDENTIALS_DIRECTORY`` (systemd) or ``/run/secrets`` (Docker) answers for the modes there.
    Raises SettingsError, with ``called`` for the name of the setting.
    """
    path = absolute(path, called)
    try:
        # A FIFO would be waited for, for ever, if it were opened to be read in the ordinary way.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(f"cannot read the file {path} of {called}: {error.strerror}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise SettingsError(f"the file {path} of {called} is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) and not _is_kept_by_others(path, environ):
            raise SettingsError(f"others can read the file {path} of {called}: chmod 600 {path}")
        content = file.read(MAX_BYTES + 1)
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise SettingsError(f"the file {path} of {called} is not text") from None
    if not text:
        raise SettingsError(f"the file {path} of {called} is empty")
    if len(content) > MAX_BYTES or len(text.split()) > 1:
        raise SettingsError(f"the file {path} of {called} holds more than one secret on one line")
    return text


def _is_kept_by_others(path: Path, environ: Mapping[str, str]) -> bool:
    keepers = [DOCKER_SECRETS]
    if environ.get("CREDENTIALS_DIRECTORY"):
        keepers.append(Path(environ["CREDENTIALS_DIRECTORY"]))
    # The file may be a link, as Kubernetes has it; but its directory is what it is, whatever its path looks like.
    directory = path.parent.resolve()
    return any(directory.is_relative_to(keeper.resolve()) for keeper in keepers)
