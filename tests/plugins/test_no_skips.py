import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPS = {
    "test_body.py": "import pytest\ndef test_a(): pytest.skip('in its body')\n",
    "test_mark.py": "import pytest\n@pytest.mark.skip(reason='by a mark')\ndef test_a(): pass\n",
    "test_fixture.py": "import pytest\n@pytest.fixture\ndef f(): pytest.skip('by a fixture')\ndef test_a(f): pass\n",
    "test_module.py": "import pytest\npytest.skip('the whole module', allow_module_level=True)\n",
}
PASSING = {
    "test_passing.py": "def test_a(): pass\n",
    "test_expected.py": "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_a(): assert False\n",
}
WAYS = pytest.mark.parametrize("arguments", [("-p", "no:xdist"), ("-n", "2")], ids=["here", "in workers"])


def run(directory: Path, sources: dict[str, str], arguments: tuple[str, ...]) -> tuple[int, str]:
    for name, source in sources.items():
        (directory / name).write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.plugins.no_skips", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


@WAYS
def test_a_skip_fails_the_session_and_is_named_with_its_reason(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, output = run(tmp_path, SKIPS | PASSING, arguments)
    assert code == 1, output
    _, listing = output.split("skipped, which is a failure here")
    assert "test_body.py::test_a: in its body" in listing
    assert "test_mark.py::test_a: by a mark" in listing
    assert "test_fixture.py::test_a: by a fixture" in listing
    assert listing.count("test_module.py: the whole module") == 1
    assert "test_passing" not in listing
    assert "test_expected" not in listing


@WAYS
def test_a_session_without_skips_passes(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, output = run(tmp_path, PASSING, arguments)
    assert code == 0, output
    assert "skipped" not in output
