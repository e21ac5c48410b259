"""The safeguards that are taken away, one at a time: read from mutants.toml, next to this file."""

import ast
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("mutants.toml")


class Stale(Exception):
    """A mutant that no longer fits the code: its text is not there exactly once, or its tests are gone."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One safeguard less. ``changes`` are exact old and new texts in ``file``; ``tests`` are those that must see it."""

    name: str
    promise: str
    file: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    def applied(self, source: str) -> str:
        """The text of the file without the safeguard. Raises Stale."""
        for old, new in self.changes:
            if (found := source.count(old)) != 1:
                raise Stale(f"{self.name}: its text is in {self.file} {found} times, and must be there once: {old!r}")
            source = source.replace(old, new)
        try:
            ast.parse(source)
        except SyntaxError as error:
            raise Stale(f"{self.name}: what it makes of {self.file} is no Python ({error.msg})") from None
        return source

    def check(self, root: Path = ROOT) -> None:
        """Raises Stale where it does not fit the code of this checkout."""
        if not self.tests:
            raise Stale(f"{self.name}: no test is named that should see it")
        if self.applied(source := (root / self.file).read_text("utf-8")) == source:
            raise Stale(f"{self.name}: it changes nothing")
        for test in self.tests:
            file, _, function = test.partition("::")
            if function.partition("[")[0] not in _functions(root / file):
                raise Stale(f"{self.name}: there is no test {test}")


def read_table(path: Path = TABLE) -> list[Mutant]:
    """Every mutant, in the order of the table."""
    return [
        Mutant(
            name=entry["name"],
            promise=entry["promise"],
            file=entry["file"],
            changes=tuple((change["old"], change["new"]) for change in entry.get("changes", [entry])),
            tests=tuple(entry["tests"]),
        )
        for entry in tomllib.loads(path.read_text("utf-8"))["mutant"]
    ]


def complaints(mutants: Iterable[Mutant], root: Path = ROOT) -> list[str]:
    """What does not fit the code, of each mutant the first."""
    found = []
    for mutant in mutants:
        try:
            mutant.check(root)
        except Stale as stale:
            found.append(str(stale))
    return found


def _functions(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
