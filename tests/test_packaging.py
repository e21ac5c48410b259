"""The wheel as somebody else installs it, and the lock files against pyproject.toml and what is installed here.

Nothing in here needs a network: the wheel is built by the pinned hatchling, without isolation.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCKS = {name: ROOT / "requirements" / f"{name}.txt" for name in ("runtime", "dev", "build", "lock", "bench")}
PIN = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([0-9][A-Za-z0-9.+!]*)(?: ; ([^\\]+))? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
PROMISED = [
    {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
        "platform_machine": machine,
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for version in ("3.11", "3.12", "3.13")
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64"))
]


# --- the wheel -------------------------------------------------------------------------------------------------------


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints; a failure shows both of its streams."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BINGX_", "PYTHON", "PIP_"))}
    done = subprocess.run(
        command, cwd=cwd, env={**inherited, **environment}, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory, cwd=ROOT)
    [built] = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a new environment with the wheel, which sees the locked libraries but not the checkout."""
    environment = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=ROOT)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--isolated", "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=environment)
    # Not as a site directory, whose .pth files would bring the editable checkout along.
    [site_packages] = environment.glob("lib/python3*/site-packages")
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "libraries.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
    return environment / "bin"


def test_the_wheel_carries_the_migrations_and_the_configuration_of_alembic(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    home = "etl/db/_alembic"
    expected = {
        f"{home}/{path.relative_to(ROOT).as_posix()}"
        for path in [ROOT / "alembic.ini", *(ROOT / "migrations").rglob("*")]
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"{home}/alembic.ini", f"{home}/migrations/env.py"} < expected
    assert any(name.startswith(f"{home}/migrations/versions/") for name in expected)
    assert expected == {name for name in names if name.startswith(f"{home}/")}


def test_the_wheel_holds_the_program_its_types_and_its_licence_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    everything = [path for path in (ROOT / "etl").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    sources = {path.relative_to(ROOT).as_posix() for path in everything}
    assert {"etl/py.typed", "etl/report/assets/page.html"} <= sources <= names
    about = f"bingx_etl-{metadata_of(wheel)['Version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {"etl", about}
    assert f"{about}/licenses/LICENSE" in names
    assert [name for name in names if name.endswith((".pyc", ".db", ".toml"))] == []


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert {str(Requirement(text)) for text in metadata.get_all("Requires-Dist", [])} == {
        str(requirement) for requirement in direct("runtime")
    }


def metadata_of(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(archive.read(name).decode())


def test_the_installed_wheel_is_what_runs_outside_a_checkout(installed: Path, tmp_path: Path) -> None:
    found = run(installed / "python", "-c", "import etl; print(etl.__file__)", cwd=tmp_path)
    assert Path(found.strip()).is_relative_to(installed.parent)


@pytest.mark.parametrize("command", [("python", "-m", "etl"), ("bingx-etl",)], ids=["module", "script"])
def test_the_installed_wheel_answers_help(installed: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    program, *arguments = command
    output = run(installed / program, *arguments, "--help", cwd=tmp_path, HOME=str(tmp_path))
    assert "snapshot" in output
    assert list(tmp_path.iterdir()) == []


def test_the_installed_wheel_makes_its_own_database(installed: Path, tmp_path: Path) -> None:
    settings = {"HOME": str(tmp_path), "BINGX_ETL_STATE_DIR": str(tmp_path / "state")}
    run(installed / "bingx-etl", "db", "upgrade", cwd=tmp_path, **settings)
    run(installed / "bingx-etl", "db", "check", cwd=tmp_path, **settings)
    assert (tmp_path / "state" / "balances.db").is_file()


def test_the_source_archive_is_enough_to_build_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=ROOT)
    [archive] = tmp_path.glob("*.tar.gz")
    run("tar", "-xzf", archive, cwd=tmp_path)
    [unpacked] = (path for path in tmp_path.iterdir() if path.is_dir())
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=unpacked)
    [rebuilt] = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(rebuilt).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


# --- the lock files --------------------------------------------------------------------------------------------------


def direct(lock: str) -> list[Requirement]:
    """What pyproject.toml asks for, of which the lock is the answer."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    runtime: list[str] = project["project"]["dependencies"]
    groups: dict[str, list[str]] = project["dependency-groups"]
    asked = {"runtime": runtime, "dev": [*runtime, *groups["dev"]]}
    return [Requirement(text) for text in asked.get(lock, groups.get(lock, []))]


def pins(text: str) -> dict[str, tuple[Version, Marker | None]]:
    """Name → version and marker; a line that is neither a pin nor a SHA-256 is an error."""
    found: dict[str, tuple[Version, Marker | None]] = {}
    hashes: dict[str, int] = {}
    name = ""
    for line in text.splitlines():
        if pin := PIN.fullmatch(line):
            name = pin[1]
            assert name not in found, f"{name} is pinned twice"
            found[name] = Version(pin[2]), Marker(pin[3]) if pin[3] else None
        else:
            assert name, f"a line that is no pin: {line}"
            assert HASH.fullmatch(line), f"a line that is neither pin nor hash: {line}"
            hashes[name] = hashes.get(name, 0) + 1
    assert set(hashes) == set(found), "a pin without a hash"
    return found


def unmet(requirements: list[Requirement], locked: dict[str, tuple[Version, Marker | None]]) -> Iterator[str]:
    """Each requirement that some promised Python and platform needs and the lock does not give it."""
    for requirement in requirements:
        version, marker = locked.get(canonicalize_name(requirement.name), (None, None))
        for target in PROMISED:
            if requirement.marker is not None and not requirement.marker.evaluate(target):
                continue
            if version is None or (marker is not None and not marker.evaluate(target)):
                yield f"{requirement} is not pinned for {target['python_version']} on {target['sys_platform']}"
            elif not requirement.specifier.contains(version, prereleases=True):
                yield f"{requirement} is pinned to {version}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_holds_names_versions_and_hashes_and_nothing_else(lock: str) -> None:
    text = LOCKS[lock].read_text("utf-8")
    assert pins(text)
    assert "://" not in text
    assert "/" not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_pins_everything_that_the_project_asks_for(lock: str) -> None:
    assert list(unmet(direct(lock), pins(LOCKS[lock].read_text("utf-8")))) == []


@pytest.mark.parametrize("lock", ["runtime", "build"])
def test_two_lock_files_pin_the_same_version_of_what_they_have_in_common(lock: str) -> None:
    some, dev = (pins(LOCKS[name].read_text("utf-8")) for name in (lock, "dev"))
    assert {name: version for name, (version, _) in some.items()} == {name: dev[name][0] for name in some}


def test_a_lock_file_pins_what_the_installed_libraries_ask_for_in_turn() -> None:
    locked = pins(LOCKS["dev"].read_text("utf-8"))
    asked = [
        requirement
        for distribution in distributions()
        if canonicalize_name(distribution.metadata["Name"]) in locked
        for requirement in map(Requirement, distribution.requires or [])
        if not (requirement.marker and "extra" in str(requirement.marker))
    ]
    assert len(asked) > 20
    assert list(unmet(asked, locked)) == []


def test_no_promised_python_is_shut_out() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert all(f"{target['python_version']}.0" in SpecifierSet(project["requires-python"]) for target in PROMISED)


GOOD_LOCK = f"requests==2.32.4 ; sys_platform == 'linux' or sys_platform == 'darwin' \\\n    --hash=sha256:{'0' * 64}\n"


@pytest.mark.parametrize(
    "bad",
    [
        f"--index-{'url'} https://example.org/simple\n{GOOD_LOCK}",
        f"--find-links wheels\n{GOOD_LOCK}",
        f"# made on a machine\n{GOOD_LOCK}",
        f"{GOOD_LOCK}    # via x\n",
        "requests==2.32.4\n",
        GOOD_LOCK.replace("==", ">=", 1),
        GOOD_LOCK.replace("sha256", "md5"),
        GOOD_LOCK * 2,
    ],
)
def test_a_lock_file_with_anything_else_in_it_is_seen(bad: str) -> None:
    assert pins(GOOD_LOCK)
    with pytest.raises(AssertionError):
        pins(bad)


def test_a_lock_file_that_is_out_of_date_is_seen() -> None:
    locked = pins(GOOD_LOCK)
    assert list(unmet([Requirement("requests>=2.32.4")], locked)) == []
    assert list(unmet([Requirement("Requests>=3")], locked)) == ["Requests>=3 is pinned to 2.32.4"] * len(PROMISED)
    assert len(list(unmet([Requirement("rich")], locked))) == len(PROMISED)
    assert list(unmet([Requirement("rich; sys_platform == 'win32'")], locked)) == []
    linux_only = pins(GOOD_LOCK.replace(" or sys_platform == 'darwin'", ""))
    assert "requests is not pinned for 3.11 on darwin" in set(unmet([Requirement("requests")], linux_only))
