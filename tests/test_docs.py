"""The README cannot lie: commands, settings, exit codes, reasons, tables and views in it are the program's."""

import re
from pathlib import Path

import click
import pytest

from etl.cli import COMMANDS, cli
from etl.cli.exits import BY_NEED, BY_REASON, Exit
from etl.config.settings import SETTINGS, VARIABLES
from etl.db.schema import metadata
from etl.db.views import VIEWS
from etl.model import Reason

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = README.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_command_is_documented_and_no_other() -> None:
    said = set()
    for names, _ in rows("## Commands"):
        first, *others = re.findall(r"`([a-z ]+)`", names)
        group = first.split()[0]
        said |= {first} | {f"{group} {other}" if " " in first else other for other in others}
    context = click.Context(cli)
    there = set()
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            there |= {f"{name} {sub}" for sub in command.commands}
        else:
            there.add(name)
    assert said == there


def test_every_command_teaches_and_takes_a_config_file() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        every = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
        for each in every:
            assert each.help, f"{name} {each.name} has no help"
            assert "--config" in {option for param in each.params for option in param.opts}, f"{name} {each.name}"


def test_every_setting_is_documented_with_its_default() -> None:
    table = {cells[1].strip("`"): cells for cells in rows("## Settings")}
    for setting in SETTINGS:
        variable, _, default, _ = table[setting.name]
        assert f"`{setting.variable}`" in variable
        if setting.default:
            assert f"`{setting.default}`" == default
        elif setting.default == "":
            assert default == "none"


def test_every_variable_is_documented() -> None:
    for variable in VARIABLES:
        assert variable.removesuffix("_FILE") in README


def test_every_exit_code_is_documented_and_no_other() -> None:
    said = {int(code) for cells in rows("## Exit codes") for code in re.findall(r"\d+", cells[0])}
    assert said == set(Exit)
    assert ", ".join(map(str, BY_NEED)) in README


def test_every_reason_is_documented_and_no_other() -> None:
    said = {cells[0].strip("`") for cells in rows("## Why a slot has no snapshot")}
    assert said == {reason.value for reason in Reason} | {"void", "none"}
    assert set(BY_REASON) == set(Reason)


def test_every_table_and_view_is_documented() -> None:
    for name in [*metadata.tables, *VIEWS["sqlite"]]:
        assert f"`{name}`" in README


@pytest.mark.parametrize("word", ["deposits and withdrawals", "not a proof", "fund", "copy trading"])
def test_the_warnings_stand_in_front_of_users(word: str) -> None:
    assert word in README


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", *sorted(ROOT.glob("d[eo]*/**/*.md"))],
    ids=lambda page: f"{page.parent.name}/{page.name}",
)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    for target, _, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)\s]+))?\)", page.read_text(encoding="utf-8")):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, heading


def test_every_alert_has_a_place_that_says_what_to_do() -> None:
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8")
    names = re.findall(r"- alert: (\w+)", alerts)
    runbooks = re.findall(r"runbook: docs/operating\.md#(\S+)", alerts)
    assert len(names) == len(runbooks) > 5
    headings = re.findall(r"^### (.+)$", (ROOT / "docs" / "operating.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {heading.lower().replace(" ", "-") for heading in headings} >= set(runbooks)
