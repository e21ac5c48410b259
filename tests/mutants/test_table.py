"""The table of mutants fits the code: nothing is run here, that is what ``make mutants`` does."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.table import Mutant, Stale, complaints, read_table
from tests.mutants.trial import Outcome, run_tests, try_mutant

NAMED_BY_THE_ISSUE = (
    "fsync", "ON CONFLICT", "signing", "cap on", "redaction", "deadline", "quarantine", "UID check", "exact sum",
)  # fmt: skip
HARMLESS = "etl/code.py"
SEEN = "import sys\nsys.path.insert(0, '')\nfrom etl.code import safe\ndef test_it():\n    assert safe\n"


@pytest.fixture
def mutant() -> Mutant:
    """A safeguard and its test, in a checkout as small as one can be."""
    return Mutant(
        "the guard", "it is safe", HARMLESS, (("safe = True", "safe = False"),), ("tests/test_it.py::test_it",)
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one promise."""
    root = tmp_path / "checkout"
    # With an __init__.py, or the package that is installed would come before it.
    files = {"etl/__init__.py": "", HARMLESS: "safe = True\n", "tests/test_it.py": SEEN, "pyproject.toml": ""}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_every_mutant_fits_the_code_and_its_tests_are_there() -> None:
    mutants = read_table()
    assert complaints(mutants) == []
    for mutant in mutants:
        assert mutant.file.startswith("etl/")
        assert mutant.promise
    assert len({mutant.name for mutant in mutants}) == len(mutants), "each has a name of its own"
    for word in NAMED_BY_THE_ISSUE:
        assert any(word in mutant.name for mutant in mutants), word


def test_a_text_that_is_gone_or_not_the_only_one_is_an_error(mutant: Mutant, checkout: Path) -> None:
    mutant.check(checkout)
    (checkout / HARMLESS).write_text("safe = 1\n")
    with pytest.raises(Stale, match="0 times"):
        mutant.check(checkout)
    (checkout / HARMLESS).write_text("safe = True\nsafe = True\n")
    with pytest.raises(Stale, match="2 times"):
        mutant.check(checkout)


def test_a_mutant_that_is_no_python_changes_nothing_or_has_no_test_is_an_error(mutant: Mutant, checkout: Path) -> None:
    for changed in (
        replace(mutant, changes=(("safe = True", "safe ="),)),
        replace(mutant, changes=(("safe = True", "safe = True"),)),
        replace(mutant, tests=()),
        replace(mutant, tests=("tests/test_it.py::test_another",)),
        replace(mutant, tests=("tests/test_nothing.py::test_it",)),
    ):
        with pytest.raises(Stale):
            changed.check(checkout)


def test_a_mutant_is_killed_by_a_failing_test_and_by_nothing_else(
    mutant: Mutant, checkout: Path, tmp_path: Path
) -> None:
    trial = try_mutant(mutant, checkout, tmp_path / "copy")
    assert (trial.outcome, trial.killed_by) == (Outcome.KILLED, mutant.tests[0]), trial
    assert (checkout / HARMLESS).read_text() == "safe = True\n", "only the copy was changed"
    assert not (tmp_path / "copy").exists()
    assert run_tests(mutant.tests, checkout).outcome is Outcome.SURVIVED
    (checkout / "tests/test_it.py").write_text("import pytest\ndef test_it():\n    pytest.skip('no tool')\n")
    assert run_tests(mutant.tests, checkout).outcome is Outcome.NOT_TRIED
    assert run_tests(["tests/test_nothing.py"], checkout).outcome is Outcome.BROKEN
    (checkout / "tests/test_it.py").write_text("import nothing_of_this_name\n")
    assert run_tests(["tests/test_it.py"], checkout).outcome is Outcome.BROKEN
