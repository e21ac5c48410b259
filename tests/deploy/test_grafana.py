"""deploy/grafana: the SQL of every panel against known answers, on a real PostgreSQL and with no more than its rights.

Grafana itself is not started: of the dashboard's looks only the structure is tested.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from tests.db.recorded import at
from tests.deploy.grafana import DASHBOARD, GRAFANA, as_sent, targets
from tests.docs.answers import ANSWERS, APRIL, NOBODY
from tests.docs.histories import Histories
from tests.docs.sql import ROOT, ask, same

TARGETS = {(target.panel, target.ref): target for target in targets()}
BOTH = ("main", "second")
SHORT = at("03-28 00:00"), APRIL
LONG = at("01-01 00:00"), APRIL
ASSET = {row[1]: row[2] for row in ANSWERS["what is there now"] if row[0] == "main"}


@pytest.fixture(scope="module")
def reader(history: Histories) -> Iterator[str]:
    """The known history, for a role that has the rights that deploy/README.md grants."""
    url = history("history", "postgresql")
    text = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    [script] = re.findall(r"<<'SQL'\n(CREATE ROLE grafana .*?)^SQL$", text, re.MULTILINE | re.DOTALL)
    role = f"grafana_{secrets.token_hex(4)}"  # roles are of the whole server, which may not be ours alone
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(re.sub(r"\bgrafana\b", role, script).encode())
        try:
            there = make_url(url).set(username=role, password="choose-one")
            yield there.render_as_string(hide_password=False)
        finally:
            owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


Ask = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def shown(reader: str) -> Ask:
    def rows(
        panel: str, ref: str = "A", accounts: tuple[str, ...] = BOTH, time: tuple[datetime, datetime] = SHORT
    ) -> list[tuple[Any, ...]]:
        return ask(reader, as_sent(TARGETS[panel, ref].sql, accounts, *time))

    return rows


# --- over time ---


def test_equity_is_every_snapshot_with_a_null_where_a_gap_begins(shown: Ask) -> None:
    # At the partial snapshot, and at each gap among the hours: six in which nobody was there, one void, one failed.
    open_at = ["03-28 00:00", "03-28 13:00", "03-29 01:00", "03-30 01:00", "03-30 12:00", "03-30 13:00", "03-31 01:00"]
    open_at += ["03-31 13:00", "03-31 15:00"]
    totals: dict[str, float] = {
        "03-28 12:00": 1700,
        "03-28 23:00": 1480,
        "03-29 00:00": 1400,
        "03-29 22:00": 1344,
        "03-29 23:00": 1360,
    }
    totals |= {"03-30 00:00": 1380, "03-31 00:00": 1440, "03-31 12:00": 1450, "04-01 00:00": 1460.5}
    known = sorted((at(time), "main", total) for time, total in (totals | dict.fromkeys(open_at)).items())
    assert same(shown("Equity", accounts=("main",)), known)
    both = shown("Equity")
    assert same([row for row in both if row[1] == "main"], known)
    assert [row[0] for row in both] == sorted(row[0] for row in both), "Grafana wants them in order of time"
    second = [(at("03-28 12:00"), 650), (at("03-28 18:30"), 645), (at("03-29 00:00"), 640)]
    second += [(at("03-30 12:00"), 630), (at("03-31 12:00"), 620)]
    assert [(time, total) for time, name, total in both if name == "second" and total] == [*second, (APRIL, 600)]


def test_a_gap_that_began_before_what_is_shown_opens_the_line_at_its_edge(shown: Ask) -> None:
    edge = at("03-10 12:00")
    found = shown("Equity", accounts=("main",), time=(edge, at("03-27 00:00")))
    assert same(found, [(edge, "main", None), (at("03-27 00:00"), "main", 1600)])


def test_a_sum_is_drawn_only_where_every_account_has_a_figure(shown: Ask) -> None:
    found = shown("Equity", "B")
    sums = {"03-28 12:00": 2350, "03-29 00:00": 2040, "03-31 12:00": 2070, "04-01 00:00": 2060.5}
    assert same([row for row in found if row[1] is not None], [(at(time), total) for time, total in sums.items()])
    single = {time for time, _, _ in shown("Equity")}
    assert {time for time, total in found if total is None} == single - {at(time) for time in sums}
    assert shown("Equity", "B", accounts=("main",)) == [], "one account is its own sum"


def test_a_long_time_is_drawn_by_the_closes_of_its_days(shown: Ask) -> None:
    found = shown("Equity", time=LONG)
    assert [len([row for row in found if row[1] == name]) for name in BOTH] == [90, 33]
    closes = [(time, total) for time, name, total in found if name == "main" and total is not None]
    known: list[tuple[str, float]] = [
        ("02-01", 1100),
        ("02-27", 1200),
        ("02-28", 1250),
        ("03-01", 1300),
        ("03-27", 1600),
        ("03-29", 1400),
    ]
    known += [("03-30", 1380), ("03-31", 1440), ("04-01", 1460.5)]
    assert same(closes, [(at(f"{day} 00:00"), total) for day, total in known])
    together = [row for row in shown("Equity", "B", time=LONG) if row[1] is not None]
    sums: list[tuple[str, float]] = [("02-28", 1750), ("03-27", 2300), ("03-29", 2040), ("04-01", 2060.5)]
    assert same(together, [(at(f"{day} 00:00"), total) for day, total in sums])


def test_wallets_are_stacked_where_all_of_them_are_known(shown: Ask) -> None:
    found = shown("Wallets")
    times = {time for time, _, _ in found}
    assert len(found) == 3 * len(times), "each wallet at each time, so that the stack is whole"
    sums = {
        "03-28 12:00": (600, 150, 1600),
        "03-29 00:00": (400, 140, 1500),
        "03-31 12:00": (0, 520, 1550),
    }
    for time, amounts in sums.items():
        known = [(at(time), name, usdt) for name, usdt in zip(("USDTMPerp", "grid", "spot"), amounts, strict=True)]
        assert same([row for row in found if row[0] == at(time)], known, in_order=False), time
    whole = {*map(at, sums), APRIL}
    assert {time for time, _, usdt in found if usdt is not None} == whole
    assert times - whole == {time for time, _, _ in shown("Equity")} - whole


def test_an_imported_total_without_wallets_is_no_empty_stack(shown: Ask) -> None:
    found = shown("Wallets", accounts=("main",), time=LONG)
    assert {usdt for time, _, usdt in found if time == at("02-01 00:00")} == {None}
    assert same(
        [row for row in found if row[0] == at("03-29 00:00")],
        [(at("03-29 00:00"), name, usdt) for name, usdt in (("USDTMPerp", 400), ("grid", 100), ("spot", 900))],
        in_order=False,
    )


def test_drawdown_counts_from_the_peak_of_the_whole_history(shown: Ask) -> None:
    found = [
        (*row[:2], round(float(row[2]), 12)) for row in shown("Drawdown", accounts=("main",)) if row[2] is not None
    ]
    parts = [("03-29", -300), ("03-30", -320), ("03-31", -260), ("04-01", -239.5)]
    assert same(found, [(at(f"{day} 00:00"), "main", round(usdt / 1700, 12)) for day, usdt in parts])


def test_change_and_coverage_are_those_of_the_days(shown: Ask) -> None:
    changes = {at(f"{day} 00:00"): change for day, change in (("03-29", -20), ("03-30", 60), ("03-31", 20.5))}
    found = shown("Daily change", accounts=("main",))
    assert same(found, [(time, "main", changes.get(time)) for time in map(at, DAYS)])
    covered = shown("Coverage of each day", accounts=("main",))
    assert same(
        covered, [(at(day), "main", n / m) for day, n, m in zip(DAYS, (3, 3, 1, 2), (13, 24, 24, 24), strict=True)]
    )


DAYS = ("03-28 00:00", "03-29 00:00", "03-30 00:00", "03-31 00:00")

# --- at a glance ---


def test_the_total_is_that_of_the_last_slot_that_every_account_has(shown: Ask) -> None:
    assert same(shown("Total"), [(APRIL, 2060.5)])
    assert same(shown("Total", time=(SHORT[0], at("03-31 11:00"))), [(at("03-29 00:00"), 2040)])
    assert same(shown("Total", accounts=("main",), time=(SHORT[0], at("03-31 11:00"))), [(at("03-31 00:00"), 1440)])


def test_coverage_and_missed_slots_are_those_of_the_days_and_gaps_shown(shown: Ask) -> None:
    [(coverage,)] = shown("Coverage", accounts=("main",))
    assert float(coverage) == pytest.approx(9 / 85)
    [(coverage,)] = shown("Coverage", accounts=("second",))
    assert float(coverage) == pytest.approx(5 / 85), "without the imported one, which was not expected"
    assert same(shown("Slots missed", accounts=("main",)), [(10 + 21 + 11 + 1 + 11 + 11 + 2 + 9,)])


def test_age_is_told_of_every_account_that_is_not_retired(shown: Ask) -> None:
    expected = (datetime.now(UTC) - APRIL).total_seconds()
    found = shown("Age of the last snapshot")
    assert [name for name, _ in found] == ["main", "second"]
    assert all(abs(age - expected) < timedelta(minutes=1).total_seconds() for _, age in found)


def test_the_table_of_gaps_has_each_with_its_reason(shown: Ask) -> None:
    found = shown("Gaps", accounts=("main",), time=(at("03-30 06:00"), at("03-31 14:00")))
    known = [
        ("03-31 13:00", "03-31 14:00", 2, "unreachable"),
        ("03-31 01:00", "03-31 11:00", 11, NOBODY),
        ("03-30 13:00", "03-30 23:00", 11, NOBODY),
        ("03-30 12:00", "03-30 12:00", 1, "void"),
        ("03-30 01:00", "03-30 11:00", 11, NOBODY),
    ]
    assert found == [("main", at(first), at(last), missed, reason) for first, last, missed, reason in known]


def test_the_table_of_balances_has_every_digit(shown: Ask) -> None:
    found = shown("Latest balances", accounts=("main",))
    known = [("main", name, exact, "complete", "measured", APRIL) for name, exact in ASSET.items()]
    assert same(found, known, in_order=False)


def test_a_name_with_a_quote_in_it_breaks_nothing(shown: Ask) -> None:
    for panel, ref in TARGETS:
        if panel not in {"Coverage", "Slots missed"}:
            assert shown(panel, ref, accounts=("o'brien",)) == []


def test_the_reader_can_read_and_nothing_else(reader: str) -> None:
    with psycopg.connect(reader, autocommit=True) as connection:
        for statement in ("DELETE FROM annotation", "SELECT body FROM payload", "UPDATE account SET name = 'x'"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


# --- structure ---


def test_every_panel_is_whole_and_named_once() -> None:
    panels = DASHBOARD["panels"]
    assert DASHBOARD["schemaVersion"] >= 39
    assert len({panel["id"] for panel in panels}) == len(panels) == len({panel["title"] for panel in panels})
    for panel in panels:
        assert panel["description"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs
        assert len(refs) == len(set(refs))
        for target in panel["targets"]:
            assert target["rawSql"].strip()
            assert target["format"] == "time_series" or panel["type"] in {"table", "stat"}
            assert {target["datasource"]["uid"], panel["datasource"]["uid"]} == {"${datasource}"}
            assert "${account:sqlstring}" in target["rawSql"]


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert all(0 <= x < 24 for x, _ in cells)
        taken |= cells


def test_no_panel_bridges_a_gap() -> None:
    drawn = [panel for panel in DASHBOARD["panels"] if panel["type"] == "timeseries"]
    assert len(drawn) == 5
    for panel in drawn:
        assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False


def test_history_and_account_are_variables(reader: str) -> None:
    datasource, account = DASHBOARD["templating"]["list"]
    assert (datasource["name"], datasource["type"]) == ("datasource", "datasource")
    assert datasource["query"] == "grafana-postgresql-datasource"
    assert (account["name"], account["multi"], account["includeAll"]) == ("account", True, True)
    assert ask(reader, account["query"]) == [("main",), ("second",)]
    assert account["datasource"]["uid"] == "${datasource}"
    assert DASHBOARD["timezone"] == "utc"


def test_every_time_series_has_a_time_and_every_target_is_looked_at_above() -> None:
    source = (ROOT / "tests" / "deploy" / "test_grafana.py").read_text(encoding="utf-8")
    for target in TARGETS.values():
        asked = f'shown("{target.panel}", "{target.ref}"' if target.ref != "A" else f'shown("{target.panel}"'
        assert asked in source, target.panel
        if target.form == "time_series":
            assert '"time"' in target.sql


def test_what_is_provisioned_is_the_dashboard_and_a_history_in_postgresql() -> None:
    [history] = yaml.safe_load((GRAFANA / "provisioning/datasources/bingx-etl.yaml").read_text())["datasources"]
    assert history["type"] == DASHBOARD["panels"][0]["datasource"]["type"]
    assert history["secureJsonData"] == {"password": "$BINGX_ETL_GRAFANA_PASSWORD"}
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/bingx-etl.yaml").read_text())["providers"]
    readme = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    assert provider["options"]["path"] in readme
    assert f"CREATE ROLE {history['user']} " in readme
