"""Who may import whom, and the other agreements about the shape of the code that no linter knows.

Every rule is a function from source text to complaints. It is run over the repository, and over a snippet that breaks
it, so that a rule that can no longer see anything is noticed.
"""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

import etl.errors

ROOT = Path(__file__).parents[1]
LONGEST_MODULE = 300
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc"}

OUTSIDE = ("etl.bingx", "etl.db")  # the two ends of the pipe

# What ``who`` is (itself and everything below it), what it must not import although that stands on a lower floor of the
# map in CONTRIBUTING.md, and what would be lost.
FORBIDDEN: list[tuple[str, tuple[str, ...], str]] = [
    ("etl.errors", ("etl",), "the words of the project know nothing"),
    ("etl.model", ("etl",), "the words of the project know nothing"),
    ("etl.grid", ("etl",), "arithmetic on time knows nothing"),
    ("etl.bingx", ("etl.db",), "the exchange and the database never meet"),
    ("etl.db", ("etl.bingx",), "the exchange and the database never meet"),
    ("etl.extract", OUTSIDE, "it knows a Source, not BingX"),
    ("etl.extract", ("etl.load",), "what was answered is safe before anybody looks what it means"),
    ("etl.load", OUTSIDE, "it knows a Store, not SQL"),
    ("etl.spool", OUTSIDE, "outcomes on disk are nobody's in particular"),
    ("etl.recorder", OUTSIDE, "it knows a Source and a Store"),
    ("etl.watchers", OUTSIDE, "it knows outcomes"),
    ("etl.daemon", OUTSIDE, "it knows the clock and two functions"),
    ("etl.transfer", (*OUTSIDE, "etl.spool"), "lines are values and nothing else"),
    ("etl.report", OUTSIDE, "values in, pictures out"),
    (
        "etl.sandbox",
        (*OUTSIDE, "etl.extract", "etl.load", "etl.spool"),
        "what the client is tested against must not share its mistakes",
    ),
]

# One third-party library, one home.
HOMES: dict[str, tuple[str, ...]] = {
    "requests": ("etl.bingx",),
    "urllib3": ("etl.bingx",),
    "sqlalchemy": ("etl.db", "migrations"),
    "sqlite3": ("etl.db", "migrations"),
    "psycopg": ("etl.db",),
    "alembic": ("etl.db.migrate", "migrations"),
    "apscheduler": ("etl.daemon.daemon",),
    "click": ("etl.cli",),
    "jinja2": ("etl.report.page",),
    "plotly": ("etl.report.page",),
    "prometheus_client": ("etl.ops.exposition",),
    "rich": ("etl.cli", "etl.report"),
}

# Tests of a whole rather than of one module.
WHOLE: dict[str, str] = {
    "bingx/test_canary": "no secret in anything that the client says",
    "cli/test_bad_input": "whatever is wrong with what the program is given",
    "cli/test_main": "help, version and start of the program",
    "test_architecture": "the shape of the code",
    "test_fleet": "hundreds of accounts in one slot",
    "test_packaging": "the wheel and the lock files",
    "test_docs": "README, CHANGELOG and docs/ against the code",
}

# Who may look at the environment, besides the settings, and at what.
ENVIRONMENT: dict[str, str] = {
    "etl.config.settings": "the only reader of settings",
    "etl.config.keys": "the settings that are secret",
    "etl.ops.quick_health": "the few that `health` needs, where reading all would take longer than the answer",
    "etl.daemon.supervisor": "what systemd tells a service: $NOTIFY_SOCKET, $WATCHDOG_USEC",
}

Imports: TypeAlias = set[str]


def within(name: str, home: str) -> bool:
    return name == home or name.startswith(f"{home}.")


def imports_of(source: str, module: str, *, is_package: bool = False) -> Imports:
    """Everything that a source imports, at any depth and under any condition, as absolute dotted names.

    ``from a import b`` is both ``a`` and ``a.b``, since b may be a module.
    """
    found: Imports = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=base, names=names, level=level):
                if level:
                    package = module.split(".")[: None if is_package and level == 1 else (is_package - level)]
                    base = ".".join([*package, base] if base else package)
                assert base is not None
                found |= {base, *(f"{base}.{alias.name}" for alias in names)}
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                found.add(name)
            case _:
                pass
    return found


def reads_environment(source: str) -> bool:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" | "getenvb"):
                return True
            case ast.ImportFrom(module="os", names=names) if {alias.name for alias in names} & {"environ", "getenv"}:
                return True
            case _:
                pass
    return False


class _WithoutFunctions(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        return ast.copy_location(ast.Pass(), node)


def at_load(source: str) -> str:
    """What of a module runs when it is imported: an import inside a function waits until it is called."""
    return ast.unparse(_WithoutFunctions().visit(ast.parse(source)))


def complaints_about_imports(module: str, imports: Imports) -> list[str]:
    return [
        f"{module} imports {name}: {why}"
        for who, forbidden, why in FORBIDDEN
        if within(module, who)
        for name in sorted(imports)
        if any(within(name, banned) for banned in forbidden) and not within(name, who)
    ] + [
        f"{module} imports {name}: {library} is at home in {' and '.join(homes)}"
        for library, homes in HOMES.items()
        for name in sorted(imports)
        if within(name, library) and not any(within(module, home) for home in homes)
    ]


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Some cycle of a directed graph, as the path around it; empty where there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node not in done:
            for successor in sorted(graph.get(node, ())):
                if cycle := visit(successor, [*path, node]):
                    return cycle
            done.add(node)
        return []

    return next((cycle for node in sorted(graph) if (cycle := visit(node, []))), [])


def drawn_tree(docstring: str) -> list[tuple[str, str | None, int | None]]:
    """The error tree as drawn: (name, parent's name, exit code where one is drawn), from top to bottom."""
    tree: list[tuple[str, str | None, int | None]] = []
    above: list[str] = []
    for line in textwrap.dedent(docstring.partition("\n")[2]).splitlines():
        if match := re.fullmatch(r"((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)(?: +(\d\d)\b)?(?: .*)?", line):
            depth = len(match[1]) // 4
            assert depth <= len(above), f"{match[2]} hangs in the air"
            del above[depth:]
            tree.append((match[2], above[-1] if above else None, int(match[3]) if match[3] else None))
            above.append(match[2])
    return tree


def complaints_about_drawing(docstring: str, classes: Mapping[str, type[BaseException]]) -> list[str]:
    """Where the drawing is not the code: names, nesting, order, exit codes.

    A class without a code of its own has that of the nearest class above it that has one; only a class that is never
    raised itself, because it has classes below, can be without any.
    """
    drawn = drawn_tree(docstring)
    if [name for name, *_ in drawn] != list(classes):
        return [f"drawn {[name for name, *_ in drawn]}, defined {list(classes)}"]
    parents = {name: parent for name, parent, _ in drawn}
    codes = {name: code for name, _, code in drawn}
    complaints = []
    for name, cls in classes.items():
        base = cls.__bases__[0].__name__
        if base != (parents[name] or "Exception"):
            complaints.append(f"{name} is drawn under {parents[name]}, but is a {base}")
        at: str | None = name
        while at is not None and codes[at] is None:
            at = parents[at]
        code = getattr(cls, "exit_code", None)
        if at is None and name not in parents.values():
            complaints.append(f"{name} is drawn without an exit code")
        elif at is not None and code != codes[at]:
            complaints.append(f"{name} is drawn with {codes[at]}, but has {code}")
    return complaints


def mirrors_something(test: Path, root: Path) -> bool:
    """tests/a/test_b.py and test_b_more.py stand for etl/a/b.py, etl/a/b/, tests/a/b.py or a/b at the top."""
    relative = test.relative_to(root / "tests")
    name = test.stem.removeprefix("test_")
    if relative.with_suffix("").as_posix() in WHOLE or relative.parts[0] == "trust":
        return True
    for home in (root / "etl", root / "tests", root):
        directory = home / relative.parent
        if directory.is_dir() and any(
            (name == found.stem or name.startswith(f"{found.stem.strip('_')}_"))
            for found in directory.iterdir()
            if (found.suffix == ".py" and not found.stem.startswith("test_")) or found.is_dir()
        ):
            return True
    # The tests of a package as a whole: tests/a/test_a.py.
    return (root / "etl" / relative.parent).is_dir() and name == relative.parent.name


def modules() -> Iterator[tuple[str, Path]]:
    for top in ("etl", "migrations"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


ALL = dict(modules())
IMPORTS = {
    module: imports_of(path.read_text("utf-8"), module, is_package=path.stem == "__init__")
    for module, path in ALL.items()
}


def test_the_rules_have_something_to_look_at() -> None:
    assert {"etl", "etl.model", "etl.errors", "etl.bingx.signing", "etl.load.load"} <= set(ALL)
    assert "etl.model.Outcome" in IMPORTS["etl.extract.extract"]


def test_nobody_imports_whom_it_must_not() -> None:
    assert [text for module, imports in IMPORTS.items() for text in complaints_about_imports(module, imports)] == []


def floors() -> list[set[str]]:
    """The map in CONTRIBUTING.md, from the top down: what stands on each floor."""
    section = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("\n## Where things are\n", 1)[1].split("\n## ", 1)[0]
    places = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [{f"etl.{name}" for name in re.findall(r"`(\w+)(?:/|\.py)`", place)} for place in places]


def complaints_about_floors(module: str, imports: Imports, floors: list[set[str]]) -> list[str]:
    """What it imports from above: ``module`` stands on the floor of its package, or on its own."""
    above = list(itertools.takewhile(lambda names: not any(within(module, name) for name in names), floors))
    higher = set().union(*above)
    return [f"{module} imports {name}" for name in sorted(imports) if any(within(name, place) for place in higher)]


def test_the_map_for_contributors_shows_everything_and_nothing_imports_what_stands_above_it() -> None:
    places = [f"etl.{found.parent.name}" for found in (ROOT / "etl").glob("*/__init__.py")]
    places += [f"etl.{found.stem}" for found in (ROOT / "etl").glob("[a-z]*.py")]
    assert sorted(itertools.chain(*floors())) == sorted(places)
    inside = {module: imports for module, imports in IMPORTS.items() if any(within(module, place) for place in places)}
    assert [text for at, imports in inside.items() for text in complaints_about_floors(at, imports, floors())] == []


def test_only_the_settings_read_the_environment() -> None:
    readers = {module for module, path in ALL.items() if reads_environment(path.read_text("utf-8"))}
    assert [module for module in sorted(readers) if not any(within(module, who) for who in ENVIRONMENT)] == []


def test_no_modules_need_each_other_in_a_circle_to_be_loaded() -> None:
    graph = {
        module: imports_of(at_load(path.read_text("utf-8")), module, is_package=path.stem == "__init__")
        & (set(ALL) - {module, "etl"})  # `from etl import x` names the package only as the way to x
        for module, path in ALL.items()
    }
    assert cycle_in(graph) == []


def test_modules_are_short_enough_to_read_in_one_sitting() -> None:
    lengths = {module: len(path.read_text("utf-8").splitlines()) for module, path in ALL.items()}
    assert {module: length for module, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_nothing_is_called_by_a_name_that_says_nothing() -> None:
    places = [*(ROOT / "etl").rglob("*"), *(ROOT / "tests").rglob("*"), *(ROOT / "migrations").rglob("*")]
    assert [str(place) for place in places if set(place.stem.removeprefix("test_").split("_")) & BANNED_NAMES] == []


def test_the_drawing_of_the_error_tree_is_the_code() -> None:
    classes = {
        name: cls
        for name, cls in vars(etl.errors).items()
        if inspect.isclass(cls) and cls.__module__ == "etl.errors" and issubclass(cls, BaseException)
    }
    assert len(classes) > 10
    assert complaints_about_drawing(etl.errors.__doc__ or "", classes) == []


def test_every_test_file_mirrors_something() -> None:
    tests = sorted((ROOT / "tests").rglob("test_*.py"))
    assert [str(test.relative_to(ROOT)) for test in tests if not mirrors_something(test, ROOT)] == []


# --- each rule, broken once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source", "imported"),
    [
        ("etl.errors", "from etl.model import Reason", "etl.model"),
        ("etl.model", "import etl.grid", "etl.grid"),
        ("etl.grid", "from etl import errors", "etl.errors"),
        ("etl.bingx.client", "from etl.db.store import SqlStore", "etl.db.store"),
        ("etl.bingx.client", "from ..db import store", "etl.db"),
        ("etl.db.store", "def f():\n    from etl.bingx import answers", "etl.bingx"),
        ("etl.extract.extract", "if TYPE_CHECKING:\n    from etl.bingx.client import BingX", "etl.bingx.client"),
        ("etl.load.load", "import importlib\nimportlib.import_module('etl.db.engine')", "etl.db.engine"),
        ("etl.load.load", "import etl.db", "etl.db"),
        ("etl.spool.spool", "import etl.db as d", "etl.db"),
        ("etl.daemon.daemon", "from ..bingx.client import BingX", "etl.bingx.client"),
        ("etl.sandbox.server", "from etl.bingx.signing import sign", "etl.bingx.signing"),
        ("etl.sandbox.server", "from etl.db.engine import engine", "etl.db.engine"),
        ("etl.sandbox.server", "from etl.extract.extract import extract", "etl.extract.extract"),
        ("etl.sandbox.server", "from etl.load.load import load", "etl.load.load"),
        ("etl.extract.job", "from etl.load.judge import judge", "etl.load.judge"),
        ("etl.transfer.portable", "from etl.db.export import pages", "etl.db.export"),
        ("etl.recorder", "from etl.bingx.client import BingX", "etl.bingx.client"),
        ("etl.extract.extract", "import requests", "requests"),
        ("etl.cli.snapshot", "from requests.exceptions import Timeout", "requests.exceptions"),
        ("etl.load.load", "from sqlalchemy import text", "sqlalchemy"),
        ("etl.db.store", "from alembic import command", "alembic"),
        ("etl.extract.extract", "from apscheduler.events import EVENT_ALL", "apscheduler.events"),
        ("etl.config.settings", "import click", "click"),
        ("etl.ops.doctor", "from rich.table import Table", "rich.table"),
    ],
)
def test_a_forbidden_import_is_seen(module: str, source: str, imported: str) -> None:
    complaints = complaints_about_imports(module, imports_of(source, module))
    assert any(text.startswith(f"{module} imports {imported}: ") for text in complaints), complaints


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("etl.bingx.client", "import requests\nfrom etl.bingx import signing\nfrom etl.model import Fetched"),
        ("etl.db.migrate", "from alembic import command\nfrom etl.db.schema import metadata\nimport sqlalchemy"),
        (
            "migrations.env",
            "from alembic import context\nfrom sqlalchemy import engine_from_config\nimport etl.db.schema",
        ),
        ("etl.cli.wiring", "import click\nfrom etl.bingx.client import BingX\nfrom etl.db.store import SqlStore"),
        ("etl.report.table", "from rich.table import Table"),
        ("etl.daemon.daemon", "from apscheduler.schedulers.background import BackgroundScheduler"),
        ("etl.extract.extract", "from etl.model import Fetched\nimport requests_like"),
    ],
)
def test_an_allowed_import_is_not_complained_about(module: str, source: str) -> None:
    assert complaints_about_imports(module, imports_of(source, module)) == []


@pytest.mark.parametrize(
    "source",
    ["import os\nos.environ['X']", "import os\nos.getenv('X')", "from os import environ", "from os import getenv"],
)
def test_reading_the_environment_is_seen(source: str) -> None:
    assert reads_environment(source)
    assert not reads_environment("import os\nenviron = os.fspath('x')")


def test_an_import_from_above_is_seen() -> None:
    house = [{"etl.cli"}, {"etl.load", "etl.spool"}, {"etl.model"}]
    assert complaints_about_floors("etl.model", {"etl.spool.spool"}, house) == ["etl.model imports etl.spool.spool"]
    assert complaints_about_floors("etl.load.load", {"etl.cli"}, house) == ["etl.load.load imports etl.cli"]
    assert complaints_about_floors("etl.load.load", {"etl.spool", "etl.model", "os"}, house) == []


def test_a_circle_is_seen() -> None:
    source = "import etl.a\nclass C:\n    import etl.b\n    def f(self):\n        import etl.c\n"
    assert imports_of(at_load(source), "etl.x") == {"etl.a", "etl.b"}
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


DRAWING = """One tree.

    Root
    ├── Left          75  run again
    │   └── Leaf          now
    └── Right             by what it is
        └── Other     74  a file
"""


def test_a_drawing_that_is_not_the_code_is_seen() -> None:
    root = type("Root", (Exception,), {"exit_code": 70})
    left = type("Left", (root,), {"exit_code": 75})
    leaf = type("Leaf", (left,), {})
    right = type("Right", (root,), {"exit_code": 73})
    other = type("Other", (right,), {"exit_code": 74})
    good: dict[str, type[BaseException]] = {cls.__name__: cls for cls in (root, left, leaf, right, other)}
    assert complaints_about_drawing(DRAWING, good) == []
    assert complaints_about_drawing(textwrap.dedent(DRAWING), good) == []

    missing = {name: cls for name, cls in good.items() if name != "Leaf"}
    assert complaints_about_drawing(DRAWING, missing)
    elsewhere = good | {"Leaf": type("Leaf", (root,), {"exit_code": 75})}
    assert complaints_about_drawing(DRAWING, elsewhere) == ["Leaf is drawn under Left, but is a Root"]
    another_code = good | {"Leaf": type("Leaf", (left,), {"exit_code": 69})}
    assert complaints_about_drawing(DRAWING, another_code) == ["Leaf is drawn with 75, but has 69"]
    assert complaints_about_drawing(DRAWING.replace("74", "  "), good) == ["Other is drawn without an exit code"]
    assert complaints_about_drawing(DRAWING.replace("74", "65"), good) == ["Other is drawn with 65, but has 74"]


def test_a_test_file_that_mirrors_nothing_is_seen(tmp_path: Path) -> None:
    for name in ("etl/bingx/signing.py", "etl/cli/__init__.py", "tests/plugins/no_skips.py", "migrations/env.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    tests = tmp_path / "tests"
    for name in ("bingx/test_signing.py", "bingx/test_signing_vectors.py", "bingx/test_bingx.py", "test_cli.py"):
        assert mirrors_something(tests / name, tmp_path), name
    assert mirrors_something(tests / "plugins/test_no_skips.py", tmp_path)
    assert mirrors_something(tests / "test_packaging.py", tmp_path)
    for name in ("bingx/test_client.py", "test_signing.py", "db/test_signing.py", "bingx/test_packaging.py"):
        assert not mirrors_something(tests / name, tmp_path), name
