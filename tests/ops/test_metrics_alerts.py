"""The alert rules, by promtool and against what there is: metrics, docs, and the program itself."""

import re
from pathlib import Path

import pytest

from etl.model import Reason
from etl.ops.exposition import text
from tests.ops.promtool import promtool
from tests.ops.test_exposition import samples, view

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "prometheus"
RULES = DEPLOY / "alerts.yaml"
PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")
OPERATING = ROOT / "docs" / "operating.md"
RULE = re.compile(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", re.DOTALL)
NAMES = {re.sub("_(bucket|sum|count)$", "", name) for name, _ in samples(text(view()))} | {
    "bingx_etl_quarantine_oldest_timestamp_seconds"  # absent from the example, in which the quarantine is empty
}


def rules() -> dict[str, str]:
    """The text of each rule, by the name of its alert."""
    return dict(RULE.findall(RULES.read_text("utf-8")))


def kebab(name: str) -> str:
    """``BingxEtlKeyRefused`` as ``bingx-etl-key-refused``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def test_promtool_takes_the_rules_and_the_scrape_config() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", RULES)
    config = (DEPLOY / "prometheus.yaml").read_text("utf-8")
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", DEPLOY / "prometheus.yaml")
    assert config.count("job_name:") == 2


def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    assert "SUCCESS" in promtool("test", "rules", DEPLOY / "alerts_test.yaml")


@pytest.mark.parametrize("name", sorted(rules()))
def test_each_alert_has_a_test_of_either_kind(name: str) -> None:
    tested = (DEPLOY / "alerts_test.yaml").read_text("utf-8")
    blocks = re.findall(rf"alertname: {name}\n(\s+exp_alerts:)?", tested)
    assert {bool(block) for block in blocks} == {True, False}


@pytest.mark.parametrize("broken", ["vector(1)", "vector(1) > 2"], ids=["always", "never"])
def test_rules_that_are_broken_turn_their_tests_red(broken: str, tmp_path: Path) -> None:
    text = re.sub(
        r"expr: (?:\|\n)?.*?\n(\s+(?:for|labels):)", rf"expr: {broken}\n\1", RULES.read_text("utf-8"), flags=re.DOTALL
    )
    assert text.count(f"expr: {broken}\n") == len(rules())
    (tmp_path / "alerts.yaml").write_text(text)
    (tmp_path / "alerts_test.yaml").write_text((DEPLOY / "alerts_test.yaml").read_text("utf-8"))
    said = promtool("test", "rules", tmp_path / "alerts_test.yaml", codes=(1,))
    assert set(re.findall(r"alertname: ?(\w+)", said)) == set(rules())


@pytest.mark.parametrize("name", sorted(rules()))
def test_each_alert_says_how_bad_it_is_what_it_is_and_what_to_do(name: str) -> None:
    rule = rules()[name]
    assert re.search(r"severity: (critical|warning|info)\n", rule)
    assert re.search(r"summary: \S", rule)
    assert re.search(rf"description: >-\n.*See\s+docs/operating\.md#{kebab(name)}\n", rule, re.DOTALL)
    assert f"runbook: docs/operating.md#{kebab(name)}" in rule


def test_the_page_lists_every_alert_with_its_severity_and_no_other() -> None:
    told = dict(re.findall(r"^\| `(BingxEtl\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert told == {name: re.findall(r"severity: (\w+)", rule)[0] for name, rule in rules().items()}


def test_the_operators_page_says_what_to_do_about_every_alert() -> None:
    if OPERATING.exists():
        headings = re.findall(r"^#+ (.+)$", OPERATING.read_text("utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
        anchors |= set(re.findall(r'<a (?:id|name)="([^"]+)"', OPERATING.read_text("utf-8")))
        assert {kebab(name) for name in rules()} <= anchors


def test_the_page_lists_every_metric_with_its_labels_and_no_other() -> None:
    told = {
        f"bingx_etl_{name}": set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `([a-z_]+)` \|([^|]*)\|", PAGE, re.MULTILINE)
    }
    there: dict[str, set[str]] = {name: set() for name in NAMES}
    for name, labels in samples(text(view())):
        there[re.sub("_(bucket|sum|count)$", "", name)] |= {key for key, _ in labels}
    assert told == there


def test_the_rules_ask_for_metrics_and_reasons_that_there_are() -> None:
    asked = set(re.findall(r"bingx_etl_\w+", RULES.read_text("utf-8")))
    assert asked <= NAMES
    assert len(asked) > 12
    reasons = set(re.findall(r'reason=~"([^"]+)"', RULES.read_text("utf-8")))
    assert len(reasons) == 1
    assert set(reasons.pop().split("|")) <= {reason.value for reason in Reason}
