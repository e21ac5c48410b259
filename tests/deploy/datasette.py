"""A Datasette that is really started, as deploy/README.md says, and what is fetched from it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.cli.program import eventually
from tests.docs.sql import ROOT

METADATA = ROOT / "deploy" / "datasette" / "metadata.yaml"
DATABASE: dict[str, Any] = yaml.safe_load(METADATA.read_text(encoding="utf-8"))["databases"]["balances"]


@dataclass(frozen=True, slots=True)
class Datasette:
    """One that answers."""

    url: str
    session: requests.Session

    def page(self, path: str, /, **parameters: str) -> requests.Response:
        """A page of the database, whatever its status."""
        return self.session.get(f"{self.url}/balances{path}", params=parameters, timeout=30)

    def rows(self, path: str, /, **parameters: str) -> list[list[Any]]:
        """The rows that a page shows."""
        answer = self.page(f"{path}.json", **parameters, _shape="arrays")
        assert answer.status_code == 200, answer.text
        found: list[list[Any]] = answer.json()["rows"]
        return found


def told(arguments: Mapping[str, Path]) -> list[str]:
    """The command in deploy/README.md, with paths of ours in the place of its own."""
    text = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    [line] = re.findall(r"^datasette (serve .+)$", text, re.MULTILINE)
    words: list[str] = line.split()
    assert set(arguments) <= set(words), line
    return [str(arguments.get(word, word)) for word in words]


@contextmanager
def serving(database: Path) -> Iterator[Datasette]:
    """Start one for a history, on a port of its own choice; at the end it is told to stop, and does."""
    assert database.name == "balances.db"
    arguments = told({"~/.local/share/bingx-etl/balances.db": database, "deploy/datasette/metadata.yaml": METADATA})
    log = database.parent / "datasette.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "datasette", *arguments, "--port", "0"],
            env={"PATH": os.environ["PATH"], "HOME": str(database.parent)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=database.parent,
        )
    try:
        with requests.Session() as session:
            session.trust_env = False
            yield Datasette(eventually(lambda: _address(log, process)) or "", session)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def _address(log: Path, process: "subprocess.Popen[bytes]") -> str | None:
    said = log.read_text(encoding="utf-8")
    assert process.poll() is None, said
    found = re.search(r"running on (http://127\.0\.0\.1:\d+)", said)
    return found[1] if found else None
